//! Whether the API server reaches the webhooks: a namespace that is created as a dry run comes back changed by them.

use anyhow::{Context, Result};
use axum::http::Request;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use ringfence_core::vocabulary::{ISOLATED, MODE, PROFILE};
use serde_json::{Value, json};

/// More than the API server answers with: a namespace, or an error.
const LARGEST: usize = 1024 * 1024;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Probe {
    /// The webhooks were called, and what they changed is there.
    Reached,
    /// They were not, for this reason as far as it is known.
    NotReached(String),
}

/// Creates a namespace as a dry run: nothing is stored. It carries the label that the webhook takes off with a warning,
/// which is seen also where another webhook refuses the namespace in the end.
///
/// # Errors
/// Where the API server does not answer.
pub async fn probe(client: &Client) -> Result<Probe> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "generateName": "ringfence-probe-", "labels": { (ISOLATED): "true" } },
    });
    let request = Request::post("/api/v1/namespaces?dryRun=All")
        .header("Content-Type", "application/json")
        .body(Body::from(namespace.to_string().into_bytes()))?;
    let response = client.send(request).await.context("failed to create a namespace as a dry run")?;
    let warned = response.headers().get_all("Warning").iter().any(|warning| {
        String::from_utf8_lossy(warning.as_bytes()).contains(&format!("the label {ISOLATED} was dropped"))
    });
    let created = response.status().is_success();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}")).context("failed to read the answer to a dry run")?;
    Ok(judge(created, warned, &serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
}

fn judge(created: bool, warned: bool, answer: &Value) -> Probe {
    let label = |key: &str| answer["metadata"]["labels"][key].is_string();
    match created {
        true if label(PROFILE) && label(MODE) && !label(ISOLATED) => Probe::Reached,
        true => Probe::NotReached("a namespace came back without labels".to_owned()),
        // Somebody else's webhook comes later, and has refused it.
        false if warned => Probe::Reached,
        false => Probe::NotReached(answer["message"].as_str().unwrap_or("a namespace was refused").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_webhook_did_counts() {
        let answer = |labels: Value| json!({ "metadata": { "labels": labels } });
        let ours = answer(json!({ PROFILE: "standard", MODE: "enforce", "other": "x" }));
        assert_eq!(judge(true, true, &ours), Probe::Reached);
        for (created, warned, answer) in [
            (true, false, answer(json!({ ISOLATED: "true" }))),
            (true, false, answer(json!({ ISOLATED: "true", PROFILE: "standard", MODE: "enforce" }))),
            (true, false, answer(json!({ PROFILE: "standard" }))),
            (true, false, Value::Null),
            (false, false, json!({ "message": "denied by somebody" })),
        ] {
            assert!(matches!(judge(created, warned, &answer), Probe::NotReached(_)), "{answer}");
        }
        // Refused by another webhook, after ours.
        assert_eq!(judge(false, true, &json!({ "message": "a label is missing" })), Probe::Reached);
    }
}
