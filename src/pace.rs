//! How often the same is written again to an object that somebody else may write, too.

use std::time::Duration;

use tokio::time::Instant;

/// Between two writes of the same, which doubles so many times.
const FIRST: Duration = Duration::from_secs(1);
const DOUBLINGS: u32 = 6;

/// What was written last, and when, and how often the same had been written not long before.
#[derive(Debug)]
pub(crate) struct Pace<W> {
    wrote: Option<(W, Instant)>,
    again: u32,
}

impl<W> Default for Pace<W> {
    fn default() -> Self {
        Self { wrote: None, again: 0 }
    }
}

impl<W> Pace<W> {
    fn pause(&self) -> Duration {
        FIRST * 2_u32.pow(self.again.min(DOUBLINGS))
    }

    /// What is left of the time in which the same is not written again.
    pub(crate) fn left(&self, what: &W, is_same: impl Fn(&W, &W) -> bool) -> Option<Duration> {
        let (_, wrote) = self.wrote.as_ref().filter(|(written, _)| is_same(what, written))?;
        self.pause().checked_sub(wrote.elapsed()).filter(|left| !left.is_zero())
    }

    /// Notes that this was written just now.
    pub(crate) fn note(&mut self, what: W, is_same: impl Fn(&W, &W) -> bool) {
        let soon = 4 * self.pause();
        let again = self.wrote.as_ref().is_some_and(|(written, at)| is_same(&what, written) && at.elapsed() < soon);
        self.again = if again { self.again.saturating_add(1) } else { 0 };
        self.wrote = Some((what, Instant::now()));
    }
}
