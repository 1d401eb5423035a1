//! Logs: text on a terminal, JSON elsewhere, to standard error. `RUST_LOG` filters.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. A second call does nothing, so that tests can run commands one after another.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever came first keeps logging.
    let _ = if std::io::stderr().is_terminal() {
        logs.try_init().map_err(drop)
    } else {
        logs.json().try_init().map_err(drop)
    };
}
