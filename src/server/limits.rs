//! How much is worked on at one time: reviews, and the bytes of their bodies.

use ringfence_core::config::Limits;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::refusal::Refusal;

/// Lets a request in, or sheds it. Nothing queues here: the API server's deadline runs, and it retries a 503.
pub(super) struct Gate {
    reviews: Semaphore,
    bytes: Semaphore,
    largest: u64,
}

/// A place for one request; given back when it is dropped.
pub(super) struct Place<'a> {
    _review: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
    /// The most that its body may have.
    pub(super) body: usize,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        // The configuration keeps both well below what a semaphore can count.
        let bytes = usize::try_from(limits.bytes_in_flight).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            reviews: Semaphore::new(limits.concurrent_reviews),
            bytes: Semaphore::new(bytes),
            largest: limits.body_bytes,
        }
    }

    /// Takes a place for a body of the announced length; one that is not announced is taken for the largest.
    pub(super) fn enter(&self, announced: Option<u64>) -> Result<Place<'_>, Refusal> {
        if announced.is_some_and(|length| length > self.largest) {
            return Err(Refusal::too_large(self.largest));
        }
        let length = announced.unwrap_or(self.largest);
        let review = self.reviews.try_acquire().map_err(|_| Refusal::busy("too many reviews at one time"))?;
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        let bytes = self.bytes.try_acquire_many(permits).map_err(|_| Refusal::busy("too many bytes in flight"))?;
        let body = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Place { _review: review, _bytes: bytes, body })
    }
}
