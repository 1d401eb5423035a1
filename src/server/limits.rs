//! How much is held and worked on at one time: connections, reviews, and the bytes of their bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringfence_core::config::Limits;
use ringfence_core::meter::{Budget, Exhausted, Meter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::refusal::Refusal;
use crate::metrics::{Metrics, Shed};

/// What has waited longer for its turn than this is shed. Whoever gets an answer then has it within a second, and no pause
/// that is over at once sheds anything, such as a CPU quota's, whose period is 100 ms.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// What a handshake may wait: until the API server, which waits 5 s, has nearly given up. To close a connection is the worse
/// answer: the API server does not try again, while a 503 tells it when to. The call that comes after it has then waited as
/// long. (At 1 s, a burst of 40 namespaces with their pods on a busy machine had calls fail with EOF.)
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(4);

/// Bodies up to this size are small: they are read even where their call is shed, so that the connection lives on, and
/// large ones leave them a part of the budget. Larger ones are parsed where they keep nothing else waiting.
pub(super) const SMALL_BODY: usize = 256 * 1024;

/// Of the bytes in flight, large bodies leave one in so many to small ones.
const FOR_SMALL: usize = 8;

/// Of the memory for what is built, large bodies leave one in so many to small ones.
const BUILT_FOR_SMALL: usize = 4;

/// Places for connections.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    all: usize,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }
}

/// Of the memory for what is built, what outlives its review may take one in so many.
const BUILT_TO_LAST: usize = 4;

/// The memory for what is built from bodies, of which large ones leave a part to small ones.
struct Built {
    left: AtomicUsize,
    left_for_large: AtomicUsize,
    left_to_last: AtomicUsize,
}

/// What is built from one body takes it from here.
struct Share {
    built: Arc<Built>,
    large: bool,
}

impl Built {
    fn new(all: usize) -> Arc<Self> {
        let left_for_large = AtomicUsize::new(all - all / BUILT_FOR_SMALL);
        let left_to_last = AtomicUsize::new(all / BUILT_TO_LAST);
        Arc::new(Self { left: AtomicUsize::new(all), left_for_large, left_to_last })
    }
}

fn draw(from: &AtomicUsize, bytes: usize) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

impl Budget for Share {
    fn take(&self, bytes: usize) -> bool {
        if self.large && !draw(&self.built.left_for_large, bytes) {
            return false;
        }
        if draw(&self.built.left, bytes) {
            return true;
        }
        if self.large {
            self.built.left_for_large.fetch_add(bytes, Ordering::Relaxed);
        }
        false
    }

    fn give(&self, bytes: usize) {
        self.built.left.fetch_add(bytes, Ordering::Relaxed);
        if self.large {
            self.built.left_for_large.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// The same, for what outlives its review.
struct Lasting(Share);

impl Budget for Lasting {
    fn take(&self, bytes: usize) -> bool {
        let left = &self.0.built.left_to_last;
        if !draw(left, bytes) {
            return false;
        }
        let taken = self.0.take(bytes);
        if !taken {
            left.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    fn give(&self, bytes: usize) {
        self.0.give(bytes);
        self.0.built.left_to_last.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Lets a request in, or sheds it. Nothing queues here: the API server's deadline runs, and it retries a 503.
pub(super) struct Gate {
    reviews: Semaphore,
    bytes: Semaphore,
    all_bytes: usize,
    large: Semaphore,
    largest: u64,
    built: Arc<Built>,
    all_built: usize,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        // The configuration keeps it well below what a semaphore can count.
        let bytes = usize::try_from(limits.bytes_in_flight).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let largest = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
        let large = (bytes - bytes / FOR_SMALL).max(largest.min(bytes));
        let built = usize::try_from(limits.review_bytes).unwrap_or(usize::MAX);
        Self {
            reviews: Semaphore::new(limits.concurrent_reviews),
            bytes: Semaphore::new(bytes),
            all_bytes: bytes,
            large: Semaphore::new(large),
            largest: limits.body_bytes,
            built: Built::new(built),
            all_built: built,
            metrics,
        }
    }

    /// Refuses a body of which it is announced that it is too large.
    pub(super) fn admits(&self, announced: Option<u64>) -> Result<(), Refusal> {
        if announced.is_some_and(|length| length > self.largest) {
            return Err(Refusal::too_large(self.largest));
        }
        Ok(())
    }

    /// Begins to count the bytes of a body. Nothing is reserved by announcing it: whoever sends nothing holds nothing.
    pub(super) fn reserve(&self) -> Reserved<'_> {
        Reserved { gate: self, length: 0, bytes: None, large: None }
    }

    /// A place for a review whose body is whole.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.reviews.try_acquire().map_err(|_| self.shed(Shed::Reviews, "too many reviews at one time"))
    }

    /// Counts what is shed, and says why.
    pub(super) fn shed(&self, why: Shed, message: &str) -> Refusal {
        self.metrics.shed(why);
        Refusal::busy(message)
    }

    /// Counts what is built from a body of this length.
    pub(super) fn meter(&self, length: usize) -> Meter {
        Meter::new(length, Some(self.budget(length)))
    }

    /// What is built from a body of this length takes its memory from here.
    pub(super) fn budget(&self, length: usize) -> Arc<dyn Budget> {
        Arc::new(Share { built: self.built.clone(), large: length > SMALL_BODY })
    }

    /// The same, for what is kept after its review has been answered.
    pub(super) fn lasting_budget(&self, length: usize) -> Arc<dyn Budget> {
        Arc::new(Lasting(Share { built: self.built.clone(), large: length > SMALL_BODY }))
    }

    /// What to answer where no more may be built from a body.
    pub(super) fn exhausted(&self, why: Exhausted) -> Refusal {
        match why {
            Exhausted::Own(limit) => Refusal::too_much(limit),
            Exhausted::Shared => self.shed(Shed::Memory, "other reviews take the memory that there is for reviews"),
        }
    }

    /// How much memory is taken for what is built from bodies, in bytes.
    pub(super) fn built(&self) -> usize {
        self.all_built.saturating_sub(self.built.left.load(Ordering::Relaxed))
    }

    /// How many bytes of bodies are held.
    pub(super) fn bytes_in_flight(&self) -> usize {
        self.all_bytes.saturating_sub(self.bytes.available_permits())
    }
}

/// The bytes of one body, counted as they come; given back when this is dropped.
pub(super) struct Reserved<'a> {
    gate: &'a Gate,
    length: usize,
    bytes: Option<SemaphorePermit<'a>>,
    large: Option<SemaphorePermit<'a>>,
}

impl Reserved<'_> {
    /// Counts more of them. What is left of a body that is refused is not read.
    pub(super) fn more(&mut self, count: usize) -> Result<(), Refusal> {
        let gate = self.gate;
        self.length = self.length.saturating_add(count);
        if self.length as u64 > gate.largest {
            return Err(Refusal::too_large(gate.largest));
        }
        let full = || gate.shed(Shed::Bytes, "too many bytes in flight").closing();
        if self.length > SMALL_BODY {
            let whole = if self.large.is_some() { count } else { self.length };
            take(&gate.large, whole, &mut self.large).ok_or_else(full)?;
        }
        take(&gate.bytes, count, &mut self.bytes).ok_or_else(full)
    }
}

fn take<'a>(from: &'a Semaphore, count: usize, to: &mut Option<SemaphorePermit<'a>>) -> Option<()> {
    let more = from.try_acquire_many(u32::try_from(count).ok()?).ok()?;
    match to {
        Some(taken) => taken.merge(more),
        None => *to = Some(more),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(body_bytes: u64, bytes_in_flight: u64) -> Gate {
        let limits = Limits { body_bytes, bytes_in_flight, ..ringfence_core::config::Config::default().limits };
        Gate::new(&limits, Arc::default())
    }

    #[test]
    fn a_body_holds_what_came_of_it_and_gives_it_back() {
        let gate = gate(1 << 20, 4 << 20);
        let mut body = gate.reserve();
        assert_eq!(gate.bytes_in_flight(), 0);
        for _ in 0..16 {
            body.more(1 << 16).unwrap();
        }
        assert_eq!(gate.bytes_in_flight(), 1 << 20);
        assert_eq!(body.more(1).unwrap_err().status, 413);
        drop(body);
        assert_eq!(gate.bytes_in_flight(), 0);
        assert_eq!(gate.large.available_permits(), (4 << 20) - (4 << 20) / FOR_SMALL);
    }

    #[test]
    fn large_bodies_leave_an_eighth_to_small_ones_where_one_of_the_largest_fits_beside_it() {
        for (largest, all, expected) in [(1 << 20, 8 << 20, 7), (8 << 20, 8 << 20, 8)] {
            let gate = gate(largest, all);
            let mut large: Vec<_> = (0..8).map(|_| gate.reserve()).collect();
            let taken = large.iter_mut().filter_map(|body| body.more(1 << 20).ok()).count();
            assert_eq!(taken, expected);
            let mut small = gate.reserve();
            assert_eq!(small.more(SMALL_BODY).is_ok(), expected < 8);
        }
    }

    #[test]
    fn what_large_bodies_build_leaves_a_quarter_to_small_ones() {
        let built = Built::new(1000);
        let share = |large| Share { built: built.clone(), large };
        assert!(!share(true).take(751));
        assert!(share(true).take(750));
        assert!(!share(true).take(1));
        assert!(share(false).take(250));
        assert!(!share(false).take(1));
        share(false).give(250);
        share(true).give(750);
        assert!(share(true).take(750) && share(false).take(250));
    }

    #[test]
    fn what_outlives_its_review_takes_a_quarter_and_no_more_than_is_left() {
        let built = Built::new(1000);
        let lasting = || Lasting(Share { built: built.clone(), large: false });
        assert!(lasting().take(250));
        assert!(!lasting().take(1));
        lasting().give(250);
        let share = Share { built: built.clone(), large: false };
        assert!(share.take(900));
        assert!(!lasting().take(101));
        assert!(lasting().take(100));
        share.give(900);
        lasting().give(100);
        assert!(lasting().take(250));
    }
}
