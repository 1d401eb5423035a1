//! When to stop.

/// Listens for SIGTERM and Ctrl-C from the moment it is made: one that comes before anybody waits is not lost, and does
/// not end the process.
#[cfg(unix)]
pub struct Requests {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Requests {
    /// Begins to listen. Call it inside a runtime.
    ///
    /// # Errors
    /// Where signals can't be had.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when the process is asked to stop.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Listens for Ctrl-C.
#[cfg(not(unix))]
pub struct Requests;

#[cfg(not(unix))]
impl Requests {
    /// Begins to listen.
    ///
    /// # Errors
    /// Never.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Returns when the process is asked to stop.
    pub async fn next(&mut self) {
        // Where signals can't be had, there is nothing to wait for but the end of the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
