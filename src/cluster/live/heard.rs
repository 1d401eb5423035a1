//! When a watch was last heard. kube's watcher keeps bookmarks and reconnections to itself, and a watch on which nothing
//! happens is as quiet as one whose network is gone; so the bytes are watched, below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::Response;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::{ClientBuilder, DynBody};
use tower::util::MapResponseLayer;

/// When something was last heard.
#[derive(Debug)]
pub(super) struct Heard {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicU64,
}

impl Heard {
    fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    fn now(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(elapsed, Ordering::Release);
    }

    /// For how long nothing was heard.
    pub(super) fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Acquire)))
    }
}

/// A client that notes whenever it hears something: the head of an answer that is no error, and each piece of its body.
pub(super) fn client(config: kube::Config) -> Result<(Client, Arc<Heard>), kube::Error> {
    let heard = Arc::new(Heard::new());
    let noting = heard.clone();
    let layer = MapResponseLayer::new(move |response: Response<Box<DynBody>>| {
        let counts = response.status().is_success();
        let noting = noting.clone();
        let note = move || {
            if counts {
                noting.now();
            }
        };
        note();
        response.map(|body| {
            body.map_frame(move |frame| {
                note();
                frame
            })
        })
    });
    let client = ClientBuilder::try_from(config)?.with_layer(&layer).build();
    Ok((client, heard))
}
