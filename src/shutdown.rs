//! When to stop.

/// Returns when the process is asked to stop, by SIGTERM or Ctrl-C.
pub async fn requested() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted => {}
            }
            return;
        }
    }
    // Where signals can't be had, there is nothing to wait for but the end of the process.
    if interrupted.await.is_err() {
        std::future::pending::<()>().await;
    }
}
