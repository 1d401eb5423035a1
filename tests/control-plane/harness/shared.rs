//! What several tests share: started by the first that asks, ended after the last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{Bed, lock};

/// Something that a static holds, and that therefore nobody drops.
pub(crate) struct Shared<T> {
    value: OnceLock<Option<T>>,
    start: fn() -> T,
}

/// What must be done at the end.
pub(crate) trait Ends {
    /// `failed`: whether a test did, so that logs stay.
    fn end(&self, failed: bool);
}

impl Ends for Bed {
    fn end(&self, failed: bool) {
        Self::end(self, failed);
    }
}

type End = Box<dyn FnOnce(bool) + Send>;

static ENDS: Mutex<Vec<End>> = Mutex::new(Vec::new());
static FAILED: AtomicBool = AtomicBool::new(false);

impl<T: Ends + Send + Sync> Shared<T> {
    pub(crate) const fn new(start: fn() -> T) -> Self {
        Self { value: OnceLock::new(), start }
    }

    /// Started where it is not. Where that failed once it is not tried again for each test: the first says why.
    pub(crate) fn get(&'static self) -> &'static T {
        let value = self.value.get_or_init(|| {
            let value = catch_unwind(AssertUnwindSafe(self.start)).ok();
            if value.is_some() {
                lock(&ENDS).push(Box::new(|failed| {
                    if let Some(Some(value)) = self.value.get() {
                        value.end(failed);
                    }
                }));
            }
            value
        });
        value.as_ref().expect("what the tests share could not be started: see above why")
    }
}

/// Remembers that a test failed, so that the logs of what it shared with others stay.
pub(crate) fn note_failure() {
    FAILED.store(true, Ordering::Relaxed);
}

/// Ends all that was shared. Call it after the last test.
pub(crate) fn stop_everything() {
    for end in lock(&ENDS).drain(..) {
        end(FAILED.load(Ordering::Relaxed));
    }
}
