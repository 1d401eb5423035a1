//! See `src/http.rs`.

#![no_main]

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A write to a connection that the peer has closed is an error, as it is in every program that begins with Rust's own
/// main, which libfuzzer's do not.
fn outlive_broken_pipes() {
    static HANDLER: OnceLock<(Runtime, Signal)> = OnceLock::new();
    HANDLER.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handler = runtime.block_on(async { signal(SignalKind::pipe()) }).unwrap();
        (runtime, handler)
    });
}

libfuzzer_sys::fuzz_target!(init: outlive_broken_pipes(), |data: &[u8]| ringfence_fuzz::http::run(data));
