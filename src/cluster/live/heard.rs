//! When a watch was last heard. kube's watcher keeps bookmarks and reconnections to itself, and a watch on which nothing
//! happens is as quiet as one whose network is gone; so the bytes are watched, below it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::Response;
use hyper::body::{Body, Bytes, Frame};
use kube::Client;
use kube::client::{ClientBuilder, DynBody};
use tower::util::MapResponseLayer;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How an event of a watch begins that is an error and no news: it comes with the status 200 all the same.
const ERROR: &[u8] = br#"{"type":"ERROR""#;

/// When something was last heard.
#[derive(Debug)]
pub(super) struct Heard {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicU64,
    /// Whether everything is being listed anew. Until that is complete the index is as old as before, however much is
    /// heard.
    listing: AtomicBool,
    /// Whether the last thing heard was an error: that the next watch begins well says nothing then.
    failed: AtomicBool,
}

impl Heard {
    fn new() -> Self {
        let (listing, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { begun: Instant::now(), last: AtomicU64::new(0), listing, failed }
    }

    fn now(&self) {
        if !self.listing.load(Ordering::Acquire) {
            let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.fetch_max(elapsed, Ordering::Release);
        }
    }

    /// Notes the beginning of an answer, or its proper end.
    fn edge(&self) {
        if !self.failed.load(Ordering::Acquire) {
            self.now();
        }
    }

    /// Notes a piece of an answer.
    fn piece(&self, data: &[u8]) {
        let failed = data.starts_with(ERROR);
        self.failed.store(failed, Ordering::Release);
        if !failed {
            self.now();
        }
    }

    /// Everything is about to be listed anew.
    pub(super) fn lists(&self) {
        self.listing.store(true, Ordering::Release);
    }

    /// A list is complete, and what it brought is known.
    pub(super) fn has_listed(&self) {
        self.listing.store(false, Ordering::Release);
        self.now();
    }

    /// For how long nothing was heard.
    pub(super) fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Acquire)))
    }
}

/// The body of an answer, noted as it is read.
struct Noted {
    body: Box<DynBody>,
    heard: Option<Arc<Heard>>,
}

impl Body for Noted {
    type Data = Bytes;
    type Error = <DynBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match (&self.heard, &frame) {
            (Some(heard), Some(Ok(frame))) => heard.piece(frame.data_ref().map_or(&[], |data| data)),
            (Some(heard), None) => heard.edge(),
            _ => {}
        }
        Poll::Ready(frame)
    }
}

/// A client for a watch, which notes what it hears: of an answer that is no error its beginning, each piece, and its end.
///
/// An answer that does not come, or does not go on, within `patience` never will. That must be said, since kube's watcher
/// waits without end for an answer to begin: one that was asked for on a connection whose other side is gone.
pub(super) fn client(mut config: kube::Config, patience: Duration) -> Result<(Client, Arc<Heard>), kube::Error> {
    bound(&mut config, patience);
    // A watch has waits of its own, which end; these double without end.
    config.default_retry = false;
    let heard = Arc::new(Heard::new());
    let noting = heard.clone();
    let layer = MapResponseLayer::new(move |response: Response<Box<DynBody>>| {
        let heard = response.status().is_success().then(|| noting.clone());
        if let Some(heard) = &heard {
            heard.edge();
        }
        response.map(|body| Noted { body, heard })
    });
    let client = ClientBuilder::try_from(config)?.with_layer(&layer).build();
    Ok((client, heard))
}

/// Gives up connections on which nothing comes for this long, also idle ones: where a network drops them without a word,
/// each that is left would cost a request its deadline.
pub(super) fn bound(config: &mut kube::Config, patience: Duration) {
    config.connect_timeout = Some(CONNECT.min(patience));
    config.read_timeout = Some(patience);
    // Counted from the request, not from the last answer on the same connection.
    config.reset_reader_on_write = true;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use axum::http::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Heard, client};

    /// Whether something counts as heard.
    fn counts(heard: &Heard, hear: impl FnOnce(&Heard)) -> bool {
        heard.last.store(0, Ordering::Release);
        std::thread::sleep(Duration::from_millis(2));
        hear(heard);
        heard.last.load(Ordering::Acquire) > 0
    }

    #[test]
    fn a_watch_that_only_ever_answers_with_errors_is_silent() {
        let heard = Heard::new();
        assert!(counts(&heard, Heard::edge));
        for _ in 0..3 {
            assert!(!counts(&heard, |heard| heard.piece(br#"{"type":"ERROR","object":{"code":500}}"#)));
            assert!(!counts(&heard, Heard::edge));
        }
        assert!(counts(&heard, |heard| heard.piece(br#"{"type":"BOOKMARK","object":{}}"#)));
        assert!(counts(&heard, Heard::edge));
    }

    #[test]
    fn a_list_counts_once_it_is_complete() {
        let heard = Heard::new();
        heard.lists();
        assert!(!counts(&heard, Heard::edge));
        assert!(!counts(&heard, |heard| heard.piece(br#"{"type":"ADDED","object":{}}"#)));
        assert!(counts(&heard, Heard::has_listed));
        assert!(counts(&heard, |heard| heard.piece(br#"{"type":"ADDED","object":{}}"#)));
    }
    #[tokio::test]
    async fn an_answer_that_does_not_begin_or_does_not_go_on_is_given_up() {
        const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in [&[][..], BEGUN] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer).await.unwrap();
                // They stay open, as they do where the network has forgotten them.
                open.push(stream);
            }
            std::future::pending::<()>().await;
        });
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let (client, _) = client(config, Duration::from_millis(100)).unwrap();
        for _ in 0..2 {
            let asked = client.request_text(Request::get("/api/v1/namespaces").body(Vec::new()).unwrap());
            let answer = tokio::time::timeout(Duration::from_secs(60), asked).await;
            assert!(answer.expect("it does not wait without end").is_err());
        }
        server.abort();
    }
}
