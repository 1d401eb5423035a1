//! `POST /mutate` and `POST /validate`: from bytes to a review, from a decision to bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use ringfence_core::admission::review::Request as Review;
use ringfence_core::admission::{Decision, Webhook, response};
use tower_http::catch_panic::CatchPanicLayer;

use super::App;
use super::connection::Connection;
use super::deciding::Deciding;
use super::limits::{PATIENCE, Reserved, SMALL_BODY};
use super::refusal::Refusal;
use crate::metrics::Shed;

/// How long the API server waits where it does not say: what the chart registers.
const WAITS: Duration = Duration::from_secs(5);

pub(super) fn router(app: Arc<App>) -> Router {
    let review = |webhook| post(move |State(app): State<Arc<App>>, request| handle(app, webhook, request));
    let routes = Router::new()
        .route("/mutate", review(Webhook::Mutate).fallback(method_not_allowed))
        .route("/validate", review(Webhook::Validate).fallback(method_not_allowed))
        .fallback(not_found);
    finished(routes, app)
}

/// What surrounds every handler.
fn finished(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes.layer(CatchPanicLayer::custom(panicked)).layer(from_fn_with_state(app.clone(), finish)).with_state(app)
}

async fn method_not_allowed() -> Refusal {
    Refusal::method_not_allowed()
}

async fn not_found() -> Refusal {
    Refusal::not_found()
}

/// A bug of ours is a 500, so that the failurePolicy decides, and never an answer. (By value, as the layer asks for it.)
#[allow(clippy::needless_pass_by_value)]
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Refusal::internal("an internal error; see the server's log").into_response()
}

/// What every answer gets: while draining, the end of its connection, and so after a body in chunks, whose end is not
/// followed ([`Connection`]); and errors are counted.
async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = next.run(request).await;
    if !response.status().is_success() {
        app.metrics.refused(response.status().as_u16());
    }
    if chunked || app.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn handle(app: Arc<App>, webhook: Webhook, request: Request) -> Response {
    match review(&app, webhook, request).await {
        Ok(body) => (StatusCode::OK, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
            .into_response(),
        Err(refusal) => {
            tracing::debug!(?refusal, "call refused");
            refusal.into_response()
        }
    }
}

async fn review(app: &App, webhook: Webhook, request: Request) -> Result<Vec<u8>, Refusal> {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<Connection>();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let late = connection.is_some_and(|connection| connection.waited() > PATIENCE);
    if connection.is_some_and(Connection::has_ambiguous_length) {
        return Err(Refusal::ambiguous_length());
    }
    expect_plain_json(&parts.headers)?;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    app.gate.admits(announced)?;
    if late {
        let shed = app.gate.shed(Shed::Late, "the call waited too long for its turn");
        let small = announced.is_some_and(|length| length <= SMALL_BODY as u64);
        let read_whole = small && read(app, body, announced).await.is_ok();
        return Err(if read_whole { shed } else { shed.closing() });
    }
    let (body, _reserved) = read(app, body, announced).await?;
    let _place = app.gate.enter()?;
    let waits = waits(parts.uri.query().unwrap_or_default());
    // A call that it gives up on has an error that explains nothing. What takes long here is asking the API server.
    match tokio::time::timeout(waits * 4 / 5, answer(app, webhook, &body, peer, Instant::now())).await {
        Ok(answer) => answer,
        Err(_) => Err(Refusal::unavailable("the API server did not answer in time what the decision hangs on")),
    }
}

/// How long the API server waits for the answer, which it says as `?timeout=5s`.
fn waits(query: &str) -> Duration {
    let said = query.split('&').find_map(|part| part.strip_prefix("timeout=")?.strip_suffix('s')?.parse().ok());
    said.filter(|seconds| (1..=30).contains(seconds)).map_or(WAITS, Duration::from_secs)
}

/// Runs what takes long for a large body where it does not keep other requests of the same thread waiting.
pub(super) fn aside<T>(body: &[u8], work: impl FnOnce() -> T) -> T {
    if body.len() <= SMALL_BODY { work() } else { tokio::task::block_in_place(work) }
}

/// The API server sends `application/json`, never compressed. What says otherwise is not inflated or guessed at.
fn expect_plain_json(headers: &HeaderMap) -> Result<(), Refusal> {
    // A header may stand there more than once.
    let all = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let media_types: Vec<&str> =
        all(header::CONTENT_TYPE).map(|value| value.split(';').next().unwrap_or_default().trim()).collect();
    if media_types.is_empty()
        || media_types.iter().any(|media_type| !media_type.eq_ignore_ascii_case("application/json"))
    {
        let media_types = media_types.join(", ");
        return Err(Refusal::unsupported(format!("Content-Type {media_types:?} is not application/json")));
    }
    if all(header::CONTENT_ENCODING).any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::unsupported("compressed bodies are not accepted; send it without Content-Encoding"));
    }
    Ok(())
}

/// The whole body, and what it holds of the bytes in flight. What is announced decides nothing but how the memory grows.
async fn read(app: &App, mut body: Body, announced: Option<u64>) -> Result<(Vec<u8>, Reserved<'_>), Refusal> {
    let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    let reading = async {
        let (mut whole, mut reserved) = (Vec::new(), app.gate.reserve());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::truncated(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            reserved.more(data.len())?;
            let needed = whole.len() + data.len();
            if needed > whole.capacity() {
                // Doubled, but never beyond what is to come.
                whole.reserve_exact((needed * 2).min(announced.max(needed)) - whole.len());
            }
            whole.extend_from_slice(&data);
        }
        Ok((whole, reserved))
    };
    let patience = app.cluster.config().limits.body_timeout.to_std();
    tokio::time::timeout(patience, reading).await.map_err(|_| Refusal::slow())?
}

async fn answer(
    app: &App,
    webhook: Webhook,
    body: &[u8],
    peer: Option<IpAddr>,
    began: Instant,
) -> Result<Vec<u8>, Refusal> {
    let mut meter = app.gate.meter(body.len());
    let parsed = aside(body, || meter.run(|| Review::parse(body)));
    if let Some(why) = meter.exhausted() {
        return Err(app.gate.exhausted(why));
    }
    let request = parsed.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let (decision, reserved) = Deciding::new(app, webhook, &request, body, peer, meter).decide().await?;
    let rendered = response::render(&request.uid, &decision)
        .map_err(|error| Refusal::internal(format!("failed to write the response: {error}")))?;
    if webhook == Webhook::Validate && decision.allowed && !request.dry_run {
        app.cluster.store(&request, reserved.as_ref());
    }
    app.metrics.decided(webhook, request.resource(), request.operation, &decision, began.elapsed());
    log(webhook, &request, &decision);
    Ok(rendered)
}

/// How many characters of a name are logged: as many as a name of an object can have. And how many of a message, which names
/// what it is about.
const NAME: usize = 253;
const MESSAGE: usize = 2000;

/// Names come from whoever sent the request, so they are written with escapes and cut; objects are never logged.
fn log(webhook: Webhook, request: &Review<'_>, decision: &Decision) {
    fn cut(text: &str, most: usize) -> &str {
        text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
    }
    macro_rules! event {
        ($level:ident, $text:literal) => {
            tracing::$level!(
                ?webhook,
                uid = ?cut(&request.uid, NAME),
                user = ?cut(&request.user_info.username, NAME),
                operation = ?request.operation,
                resource = ?cut(&request.resource_name(), NAME),
                namespace = ?cut(&request.namespace, NAME),
                name = ?cut(&request.name, NAME),
                dry_run = request.dry_run,
                reason = decision.reason.as_str(),
                message = ?cut(&decision.message, MESSAGE),
                $text
            )
        };
    }
    if decision.allowed {
        event!(debug, "allowed");
    } else {
        event!(info, "denied");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use ringfence_core::config::Config;
    use tower::ServiceExt;

    use super::{App, WAITS, finished, waits};
    use crate::cluster::Cluster;

    async fn panics() -> &'static str {
        panic!("as a bug would")
    }

    #[tokio::test]
    async fn case_53_a_panic_in_a_handler_is_a_500_that_is_counted_and_the_next_call_is_answered() {
        let app = Arc::new(App::new(Arc::new(Cluster::embedded(Config::default()))));
        let routes = Router::new().route("/panics", get(panics)).route("/works", get(async || "ok"));
        let routes = finished(routes, app.clone());
        for (path, status) in [("/works", 200), ("/panics", 500), ("/works", 200), ("/panics", 500)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(routes.clone().oneshot(request).await.unwrap().status(), status, "{path}");
        }
        let metrics = app.metrics_text().unwrap();
        assert!(metrics.contains("ringfence_http_refusals_total{code=\"500\"} 2"), "{metrics}");
    }

    #[test]
    fn the_api_server_says_how_long_it_waits() {
        assert_eq!(waits("timeout=2s").as_secs(), 2);
        assert_eq!(waits("a=b&timeout=30s").as_secs(), 30);
        for odd in ["", "timeout=", "timeout=0s", "timeout=99999999999999999999s", "timeout=1m0s", "timeout=-1s"] {
            assert_eq!(waits(odd), WAITS, "{odd}");
        }
    }
}
