//! How long something that could go on has waited until it was its turn.
//!
//! Under load nothing queues where it could be counted: connections with something to read wait in the runtime's run
//! queue. What they are woken by knows since when.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use futures::task::AtomicWaker;

/// The time since which a future can go on: since it was woken. One that was not polled yet could always.
#[derive(Debug)]
pub(super) struct Turn {
    woken: Mutex<Option<Instant>>,
    task: AtomicWaker,
}

impl Turn {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { woken: Mutex::new(Some(Instant::now())), task: AtomicWaker::new() })
    }

    /// Polls something, which wakes this from now on.
    pub(super) fn poll<T>(self: &Arc<Self>, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.task.register(cx.waker());
        let waker = Waker::from(self.clone());
        poll(&mut Context::from_waker(&waker))
    }

    /// Since when it can go on, until it is woken again; `None` where it can't, or was asked already.
    pub(super) fn take(&self) -> Option<Instant> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until it can go on, and says since when it can.
    pub(super) async fn come(&self) -> Instant {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            self.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::Turn;

    #[test]
    fn a_wait_is_counted_from_the_first_wake_and_only_once() {
        let turn = Turn::new();
        assert!(turn.take().is_some(), "what was never polled can go on");
        assert!(turn.take().is_none());
        let mut inner = None;
        let _: Poll<()> = turn.poll(&Context::from_waker(Waker::noop()), |cx| {
            inner = Some(cx.waker().clone());
            Poll::Pending
        });
        assert!(turn.take().is_none(), "nothing woke it");
        let inner = inner.unwrap();
        inner.wake_by_ref();
        std::thread::sleep(Duration::from_millis(20));
        inner.wake_by_ref();
        assert!(turn.take().unwrap().elapsed() >= Duration::from_millis(20));
        assert!(turn.take().is_none());
    }
}
