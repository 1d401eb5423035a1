//! Requests that kubectl would not send, or that are too many to start a process for each.

use axum::http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::harness::{ADMIN, Bed, TRIES, is_late_webhook};

const JSON: &str = "application/json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// What an API server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) warnings: Vec<String>,
    /// The object, or the Status that says why there is none.
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect_ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:#?}");
        self.body
    }

    /// Expects a denial of Ringfence's, for this reason.
    #[track_caller]
    pub(crate) fn expect_denied(&self, reason: &str) -> &str {
        let message = self.body["message"].as_str().unwrap_or_default();
        let ours = message.contains(".ringfence.dev\" denied the request");
        assert!(self.status >= 400 && ours && message.contains(reason), "not denied for {reason}: {self:#?}");
        message
    }

    /// Expects a denial of RBAC's, before Ringfence was asked.
    #[track_caller]
    pub(crate) fn expect_forbidden(&self) {
        let message = self.body["message"].as_str().unwrap_or_default();
        let ours = message.contains("denied the request");
        assert!(self.status == 403 && !ours, "not forbidden by RBAC: {self:#?}");
    }
}

/// A user's way to an API server.
pub(crate) struct Asker<'b> {
    bed: &'b Bed,
    client: Client,
    /// Whom the user impersonates.
    as_user: Option<&'static str>,
}

impl<'b> Asker<'b> {
    pub(crate) fn new(bed: &'b Bed, user: &str) -> Self {
        Self { bed, client: bed.client_as(0, user), as_user: None }
    }

    /// Whoever has this token, such as a service account's.
    pub(crate) fn with_token(bed: &'b Bed, token: &str) -> Self {
        Self { bed, client: bed.client_for(0, token), as_user: None }
    }

    /// Somebody whom no other test knows.
    pub(crate) fn impersonating(bed: &'b Bed, user: &'static str) -> Self {
        Self { as_user: Some(user), ..Self::new(bed, ADMIN) }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, JSON, &Value::Null).expect_ok()
    }

    /// An object, where there is one.
    pub(crate) fn find(&self, path: &str) -> Option<Value> {
        let answer = self.send(Method::GET, path, JSON, &Value::Null);
        (answer.status != 404).then(|| answer.expect_ok())
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::POST, path, JSON, object)
    }

    pub(crate) fn replace(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::PUT, path, JSON, object)
    }

    /// `kind` is one of the patches above.
    pub(crate) fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, kind, body)
    }

    pub(crate) fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, JSON, options)
    }

    fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Answer {
        self.bed.run(send_as(&self.client, self.as_user, method, path, kind, body))
    }
}

/// Sends one request, where several are to be sent at a time.
pub(crate) async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    send_as(client, None, method, path, JSON, body).await
}

async fn send_as(
    client: &Client,
    user: Option<&'static str>,
    method: Method,
    path: &str,
    kind: &str,
    body: &Value,
) -> Answer {
    let send = || {
        let mut request = request(method.clone(), path, kind, body);
        if let Some(user) = user {
            request.headers_mut().insert("Impersonate-User", HeaderValue::from_static(user));
        }
        answer(client, request)
    };
    let mut said = send().await;
    for _ in 1..TRIES {
        if !is_late_webhook(said.body["message"].as_str().unwrap_or_default()) {
            break;
        }
        said = send().await;
    }
    said
}

fn request(method: Method, path: &str, kind: &str, body: &Value) -> Request<Body> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Request::builder().method(method).uri(path).header("Content-Type", kind).body(Body::from(bytes)).unwrap()
}

async fn answer(client: &Client, request: Request<Body>) -> Answer {
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let warnings = response.headers().get_all("Warning").iter();
    let warnings = warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, warnings, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}
