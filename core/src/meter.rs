//! How much memory is built from what a client sent.
//!
//! The bytes of a body say little about that: `{},` can become a rule of fifty bytes. So what reads a body charges what it is
//! about to allocate to the meter of its thread, where there is one ([`Meter::run`]), and stops where that is used up. Charges
//! are estimates from above. Without a meter, as for what an API server sends of its own store, nothing is counted.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// What is drawn from the shared budget at one time, in bytes.
const CHUNK: usize = 256 * 1024;

/// What a review may take whatever its size, in bytes.
pub const BASE: usize = 16 << 20;

/// How many times its own size a review may take besides [`BASE`].
pub const FACTOR: usize = 4;

/// A budget that reviews share.
pub trait Budget: Send + Sync {
    /// Takes so many bytes; `false` where they are not left.
    fn take(&self, bytes: usize) -> bool;

    /// Gives so many back.
    fn give(&self, bytes: usize);
}

/// A budget that never ends, where memory is not counted.
#[must_use]
pub fn unlimited() -> Arc<dyn Budget> {
    struct Unlimited;
    impl Budget for Unlimited {
        fn take(&self, _: usize) -> bool {
            true
        }

        fn give(&self, _: usize) {}
    }
    Arc::new(Unlimited)
}

/// Why nothing more may be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The limit of this one body, in bytes: the same body will never fit.
    Own(usize),
    /// The budget that all share: it will be free again.
    Shared,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(limit) => write!(f, "what the body describes takes more than {limit} bytes of memory"),
            Self::Shared => f.write_str("too much memory is in use by other reviews"),
        }
    }
}

impl std::error::Error for Exhausted {}

/// Counts what one review takes; what it took from the shared budget is given back with it.
pub struct Meter {
    limit: usize,
    used: usize,
    drawn: usize,
    budget: Option<Arc<dyn Budget>>,
    exhausted: Option<Exhausted>,
    /// What was used before the first of the runs that replace each other.
    kept: Option<usize>,
}

impl Meter {
    /// For a body of so many bytes, and a budget that is shared, where there is one.
    #[must_use]
    pub fn new(body: usize, budget: Option<Arc<dyn Budget>>) -> Self {
        let limit = body.saturating_mul(FACTOR).saturating_add(BASE);
        Self { limit, used: 0, drawn: 0, budget, exhausted: None, kept: None }
    }

    /// Why nothing more may be built, once that is so.
    #[must_use]
    pub fn exhausted(&self) -> Option<Exhausted> {
        self.exhausted
    }

    /// Runs something that charges this meter, on this thread.
    pub fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also where something panics.
        struct Back<'a>(&'a mut Meter, Option<Meter>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                let before = self.1.take();
                if let Some(meter) = METER.with_borrow_mut(|current| std::mem::replace(current, before)) {
                    *self.0 = meter;
                }
            }
        }
        let empty = Self { limit: 0, used: 0, drawn: 0, budget: None, exhausted: None, kept: None };
        let meter = std::mem::replace(self, empty);
        let before = METER.with_borrow_mut(|current| current.replace(meter));
        let _back = Back(self, before);
        run()
    }

    /// The same, for what is built once more in place of what an earlier run has built and dropped.
    pub fn run_again<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let kept = *self.kept.get_or_insert(self.used);
        self.used = kept;
        self.run(run)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if let Some(exhausted) = self.exhausted {
            return Err(exhausted);
        }
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            self.exhausted = Some(Exhausted::Own(self.limit));
            return Err(Exhausted::Own(self.limit));
        }
        if used > self.drawn {
            let more = (used - self.drawn).max(CHUNK);
            if self.budget.as_ref().is_some_and(|budget| !budget.take(more)) {
                self.exhausted = Some(Exhausted::Shared);
                return Err(Exhausted::Shared);
            }
            self.drawn += more;
        }
        self.used = used;
        Ok(())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give(self.drawn);
        }
    }
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Counts bytes that are about to be allocated.
pub(crate) fn charge(bytes: usize) -> Result<(), Exhausted> {
    METER.with_borrow_mut(|meter| meter.as_mut().map_or(Ok(()), |meter| meter.charge(bytes)))
}

/// Takes back a charge, for what is free again.
pub(crate) fn release(bytes: usize) {
    METER.with_borrow_mut(|meter| {
        if let Some(meter) = meter {
            meter.used = meter.used.saturating_sub(bytes);
        }
    });
}

/// What is charged so far.
pub(crate) fn used() -> usize {
    METER.with_borrow(|meter| meter.as_ref().map_or(0, |meter| meter.used))
}

/// Takes back what was charged since, for what is all free again.
pub(crate) fn release_to(mark: usize) {
    release(used().saturating_sub(mark));
}

/// Adds to a list that grows by half, and counts what that takes.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Exhausted> {
    reserve_one(list)?;
    list.push(item);
    Ok(())
}

/// Makes room for one more.
pub(crate) fn reserve_one<T>(list: &mut Vec<T>) -> Result<(), Exhausted> {
    if list.len() == list.capacity() {
        let (old, new) = (list.capacity(), (list.capacity() + list.capacity() / 2).max(4));
        // While it is moved, both are there.
        charge(new * size_of::<T>())?;
        list.reserve_exact(new - list.len());
        release(old * size_of::<T>());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{BASE, Budget, CHUNK, Exhausted, FACTOR, Meter, charge, push, release_to, used};

    struct Shared(AtomicUsize);

    impl Budget for Shared {
        fn take(&self, bytes: usize) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
        }

        fn give(&self, bytes: usize) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_past_its_limit_is_stopped_and_everything_is_given_back() {
        let shared = Arc::new(Shared(AtomicUsize::new(2 * BASE)));
        let mut meter = Meter::new(10, Some(shared.clone()));
        meter.run(|| charge(BASE + FACTOR * 10).unwrap());
        assert!(shared.0.load(Ordering::Relaxed) < BASE);
        assert_eq!(meter.run(|| charge(1)), Err(Exhausted::Own(BASE + FACTOR * 10)));
        assert_eq!(meter.exhausted(), Some(Exhausted::Own(BASE + FACTOR * 10)));
        drop(meter);
        assert_eq!(shared.0.load(Ordering::Relaxed), 2 * BASE);
        charge(usize::MAX).unwrap();
    }

    #[test]
    fn the_shared_budget_stops_a_body_that_is_within_its_own_limit() {
        let shared = Arc::new(Shared(AtomicUsize::new(CHUNK)));
        let mut meter = Meter::new(1 << 20, Some(shared));
        meter.run(|| charge(CHUNK).unwrap());
        assert_eq!(meter.run(|| charge(1)), Err(Exhausted::Shared));
    }

    #[test]
    fn a_list_is_counted_by_its_room_and_what_is_free_again_is_not() {
        let mut meter = Meter::new(0, None);
        let mut list = Vec::new();
        meter.run(|| {
            for number in 0..1000u64 {
                push(&mut list, number).unwrap();
            }
            assert_eq!(used(), list.capacity() * 8);
            release_to(0);
            assert_eq!(used(), 0);
        });
    }

    #[test]
    fn a_panic_leaves_no_meter_behind() {
        let caught = std::panic::catch_unwind(|| Meter::new(0, None).run(|| panic!("as a bug would")));
        assert!(caught.is_err());
        charge(usize::MAX).unwrap();
    }
}
