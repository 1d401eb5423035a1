//! What is known of a connection beyond what hyper hands on: whether the length of a request is ambiguous, and how long
//! the request waited for its turn. And what hyper does not bound: how long a peer may take to read an answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::heads::Heads;
use super::turn::Turn;

/// A connection, as its requests see it. The place among the connections is given back with the last copy.
#[derive(Clone)]
pub(super) struct Connection(Arc<Known>);

struct Known {
    ambiguous: AtomicBool,
    /// Since when what was read last could have been read.
    readable: Mutex<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(place: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Known { ambiguous: AtomicBool::new(false), readable: Mutex::new(Instant::now()), _place: place }))
    }

    /// Whether a request on it came with two lengths, or one that can't be followed.
    pub(super) fn has_ambiguous_length(&self) -> bool {
        self.0.ambiguous.load(Ordering::Relaxed)
    }

    /// How long what was read last has waited to be read. Asked when a request's head is whole, that is how long the
    /// request has waited, since hyper hands it on in the same breath; a peer that is slow itself does not count.
    pub(super) fn waited(&self) -> Duration {
        self.0.readable.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn was_readable(&self, since: Instant) {
        *self.0.readable.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A stream whose requests' heads are watched, and whose peer has to read what it is sent.
pub(super) struct Watched<T> {
    inner: T,
    connection: Connection,
    heads: Heads,
    turn: Arc<Turn>,
    /// How long the handshake has waited for its turns, which the first request then has waited too.
    before: Duration,
    /// How long the peer may take to read what is ready for it.
    patience: Duration,
    /// Runs while something could not be written yet. Progress does not reset it: a peer that reads a byte at a time holds
    /// as much as one that reads nothing.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, connection: Connection, before: Duration, patience: Duration) -> Self {
        Self { inner, connection, heads: Heads::default(), turn: Turn::new(), before, patience, overdue: None }
    }

    /// Hands on how writing went, unless it has been going on for too long.
    fn in_time<O>(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<O>>) -> Poll<io::Result<O>> {
        if went.is_pending() {
            let patience = self.patience;
            let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if overdue.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read the answer")));
            }
        }
        went
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let filled = buf.filled().len();
        let since = this.turn.take();
        let read = this.turn.poll(cx, |cx| Pin::new(&mut this.inner).poll_read(cx, buf));
        if let Poll::Ready(Ok(())) = read {
            let now = Instant::now();
            let readable = since.unwrap_or(now);
            this.connection.was_readable(readable.checked_sub(std::mem::take(&mut this.before)).unwrap_or(readable));
            if this.heads.read(&buf.filled()[filled..]) {
                this.connection.0.ambiguous.store(true, Ordering::Relaxed);
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if flushed.is_ready() {
            self.overdue = None;
        }
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.in_time(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
