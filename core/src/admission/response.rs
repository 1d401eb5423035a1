//! From a decision to the bytes that the API server reads (`admission.k8s.io/v1.AdmissionResponse`).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Serialize;

use super::warnings::{cut, lines};
use super::{Decision, Reason};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The response to a request: `patch` and `patchType` both or neither, a denial's code never below 400.
///
/// # Errors
/// Where serde can't write it, which no decision is known to bring about.
pub fn render(uid: &str, decision: &Decision) -> Result<Vec<u8>, serde_json::Error> {
    let patch = if decision.patch.is_empty() { None } else { Some(ByteString(serde_json::to_vec(&decision.patch)?)) };
    let (code, reason) = if decision.reason == Reason::Invalid { (422, "Invalid") } else { (403, "Forbidden") };
    let status = (!decision.allowed).then(|| Status {
        code,
        reason,
        message: cut(&format!("{}: {}", decision.reason, decision.message)),
    });
    serde_json::to_vec(&Review {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: Response {
            uid,
            allowed: decision.allowed,
            status,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            audit_annotations: decision.audit.iter().map(|(key, value)| (*key, cut(value))).collect(),
            warnings: lines(&decision.warnings),
        },
    })
}
