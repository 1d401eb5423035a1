//! Errors of a call, as HTTP says them. They are no decisions: with a status that is not 2xx the failurePolicy decides.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringfence_core::admission::warnings::cut;

/// An answer that is no decision.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    message: String,
    /// Whether the connection ends, because what is left of the request on it is not read.
    close: bool,
}

impl Refusal {
    /// What is wrong is often said with words of the request: they forge no line, and are not sent back by the megabyte.
    fn new(status: StatusCode, message: impl AsRef<str>) -> Self {
        Self { status, message: cut(message.as_ref()), close: false }
    }

    pub(super) fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Two lengths in one request, or one padded out of sight: a proxy could see another end of it than we do.
    pub(super) fn ambiguous_length() -> Self {
        let message =
            "the length of a request is ambiguous: send one short Content-Length or Transfer-Encoding, not both";
        Self { close: true, ..Self::bad_request(message) }
    }

    pub(super) fn truncated(problem: &dyn std::fmt::Display) -> Self {
        Self { close: true, ..Self::bad_request(format!("the body ended early: {problem}")) }
    }

    pub(super) fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes (limits.bodyBytes)");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, message) }
    }

    /// The body is read to its end, so the connection goes on.
    pub(super) fn too_much(limit: usize) -> Self {
        let message = format!(
            "what the object describes takes more than {limit} bytes of memory, 4 times the body and 16 MiB; make it smaller"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(super) fn unsupported(message: impl AsRef<str>) -> Self {
        Self { close: true, ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message) }
    }

    pub(super) fn slow() -> Self {
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "the body took too long") }
    }

    /// Shed. The connection goes on where the request was read to its end: a handshake costs as much as ten answers.
    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The same, at the end of the connection.
    pub(super) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(super) fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn internal(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here; reviews go to POST /mutate and POST /validate")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent with POST")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("ringfence: {}\n", self.message)).into_response();
        let headers = response.headers_mut();
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
