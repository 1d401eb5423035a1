//! The envelope: an AdmissionReview, borrowed from the bytes it came in, with the objects left as raw JSON until a
//! resource's own file asks for its few fields (`admission.k8s.io/v1`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Failure, Stop};
use crate::index::Namespace;
use crate::meter;
use crate::object::{counted, nullable};
use crate::policy::parse;

crate::object::from_map_only!(Envelope<'a>, Request<'a>, GroupVersionResource<'a>, UserInfo<'a>);

/// How deep a review may nest. The API server refuses objects that nest deeper than 10,000; none of the kinds that are
/// judged here comes near this. What is read of an object has `serde_json`'s own limit of 128 besides.
const DEPTH: usize = 1024;

/// How long a uid may be, in bytes. The API server's have 36.
const UID: usize = 128;

/// Why bytes are no review. Each is a 400: an error of the call, so that the failurePolicy decides.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not UTF-8.
    #[error("the body is not UTF-8 (at byte {0})")]
    Encoding(usize),
    /// Nested too deep.
    #[error("the body nests deeper than {DEPTH} levels")]
    TooDeep,
    /// Not JSON, or not of this form.
    #[error("the body is not an AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version or kind.
    #[error("apiVersion {0:?}, kind {1:?} is not served here; send admission.k8s.io/v1, AdmissionReview")]
    Version(String, String),
    /// No request.
    #[error("the review has no request")]
    NoRequest,
    /// No uid.
    #[error("the request has no uid")]
    NoUid,
    /// A uid that is none: it stands in the answer, which is small otherwise.
    #[error("the request's uid has {0} bytes; at most {UID} are accepted")]
    LongUid(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    api_version: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// What is asked (`admission.k8s.io/v1.AdmissionRequest`), as far as it is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Request<'a> {
    /// Identifies the call; the response echoes it.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub uid: Cow<'a, str>,
    /// The resource.
    #[serde(borrow, default, deserialize_with = "nullable")]
    resource: GroupVersionResource<'a>,
    /// The subresource; empty for the object itself.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub sub_resource: Cow<'a, str>,
    /// The name; empty with generateName and in a deletecollection.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Cow<'a, str>,
    /// The namespace; the name itself for a Namespace.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub namespace: Cow<'a, str>,
    /// What is done.
    pub operation: Operation,
    /// Who asks.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub user_info: UserInfo<'a>,
    /// The object as it would be; absent on DELETE.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is; absent on CREATE.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing is to be stored.
    #[serde(default, deserialize_with = "nullable")]
    pub dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct GroupVersionResource<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    group: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "nullable")]
    version: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "nullable")]
    resource: Cow<'a, str>,
}

/// The operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// An object is created.
    Create,
    /// An object is changed.
    Update,
    /// An object is deleted.
    Delete,
    /// A connection to an object is opened.
    Connect,
}

/// Who asks (`authentication.k8s.io/v1.UserInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, remote = "Self")]
pub struct UserInfo<'a> {
    /// The name.
    #[serde(borrow, deserialize_with = "nullable")]
    pub username: Cow<'a, str>,
    /// The id.
    #[serde(borrow, deserialize_with = "nullable")]
    pub uid: Cow<'a, str>,
    /// The groups.
    #[serde(deserialize_with = "counted")]
    pub groups: Vec<String>,
    /// What the authenticator adds.
    #[serde(deserialize_with = "nullable_lists")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Go writes a nil list as null, also inside a map.
fn nullable_lists<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    /// What an entry takes besides its texts, at most.
    const ENTRY: usize = 128;
    #[derive(Default)]
    struct Lists(BTreeMap<String, Vec<String>>);
    struct List(Vec<String>);
    impl<'de> Deserialize<'de> for List {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            counted(deserializer).map(Self)
        }
    }
    impl<'de> Deserialize<'de> for Lists {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Entries;
            impl<'de> Visitor<'de> for Entries {
                type Value = Lists;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a map")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut lists = Lists::default();
                    while let Some((key, List(list))) = map.next_entry()? {
                        meter::charge(ENTRY).map_err(serde::de::Error::custom)?;
                        lists.0.insert(key, list);
                    }
                    Ok(lists)
                }
            }
            deserializer.deserialize_map(Entries)
        }
    }
    nullable(deserializer).map(|Lists(lists)| lists)
}

/// What kind of thing a request is about, as far as Ringfence tells things apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A Namespace.
    Namespace,
    /// Its `status` or `finalize`.
    NamespaceSubresource,
    /// A NetworkPolicy.
    NetworkPolicy,
    /// A Pod.
    Pod,
    /// Its `status`.
    PodStatus,
    /// Something with a pod template.
    Workload,
    /// A namespaced object of a network plugin that can let traffic past the NetworkPolicies.
    Vendor,
    /// Anything else.
    Other,
}

impl<'a> Request<'a> {
    /// Reads a review.
    ///
    /// # Errors
    /// [`ReviewError`]; nothing of the review has been acted upon.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        let text = std::str::from_utf8(body).map_err(|error| ReviewError::Encoding(error.valid_up_to()))?;
        // Values that nobody asks for are skipped without recursion, so depth has to be looked at apart.
        if nests_deeper(text.as_bytes(), DEPTH) {
            return Err(ReviewError::TooDeep);
        }
        let envelope: Envelope<'a> = serde_json::from_str(text)?;
        if envelope.api_version != "admission.k8s.io/v1" || envelope.kind != "AdmissionReview" {
            return Err(ReviewError::Version(envelope.api_version.into_owned(), envelope.kind.into_owned()));
        }
        let request = envelope.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::NoUid);
        }
        if request.uid.len() > UID {
            return Err(ReviewError::LongUid(request.uid.len()));
        }
        Ok(request)
    }

    /// What kind of thing the request is about.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let resource: &str = &self.resource.resource;
        match (self.resource.group.as_ref(), resource, self.sub_resource.as_ref()) {
            ("", "namespaces", "") => Resource::Namespace,
            ("", "namespaces", "status" | "finalize") => Resource::NamespaceSubresource,
            ("networking.k8s.io", "networkpolicies", "") => Resource::NetworkPolicy,
            ("", "pods", "") => Resource::Pod,
            ("", "pods", "status") => Resource::PodStatus,
            ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets", "")
            | ("batch", "jobs" | "cronjobs", "")
            | ("", "replicationcontrollers", "") => Resource::Workload,
            // The chart registers the same list (`ringfence.vendorPolicies` in its `_helpers.tpl`).
            ("cilium.io", "ciliumnetworkpolicies" | "ciliumlocalredirectpolicies" | "ciliumenvoyconfigs", "")
            | ("projectcalico.org" | "crd.projectcalico.org", "networkpolicies" | "networksets", "")
            | ("crd.antrea.io", "networkpolicies" | "groups", "")
            | ("k8s.cni.cncf.io", "network-attachment-definitions" | "multi-networkpolicies", "") => Resource::Vendor,
            _ => Resource::Other,
        }
    }

    /// The resource as the user knows it, for messages: `jobs.batch`.
    #[must_use]
    pub fn resource_name(&self) -> String {
        match self.resource.group.as_ref() {
            "" => self.resource.resource.clone().into_owned(),
            group => format!("{}.{group}", self.resource.resource),
        }
    }

    /// The namespace that the request concerns: the Namespace itself, or the one that the object is in.
    #[must_use]
    pub fn namespace_concerned(&self) -> &str {
        match self.resource() {
            Resource::Namespace | Resource::NamespaceSubresource if !self.name.is_empty() => &self.name,
            _ => &self.namespace,
        }
    }

    /// Whether the decision hangs on what is known of the namespace. For a Namespace itself the review holds all that it
    /// needs.
    #[must_use]
    pub fn hangs_on_namespace(&self) -> bool {
        !matches!(self.resource(), Resource::Namespace | Resource::NamespaceSubresource | Resource::Other)
    }

    /// Whether the decision depends on which pods are in the namespace: the policies of one that terminates may go once
    /// none may run.
    #[must_use]
    pub fn hangs_on_pods(&self, namespace: &Namespace) -> bool {
        namespace.terminating && self.resource() == Resource::NetworkPolicy && self.operation == Operation::Delete
    }

    /// The version of the resource, checked: the fields that are judged are those of `v1`.
    pub(super) fn expect_v1(&self) -> Result<(), Stop> {
        if self.resource.version == "v1" {
            return Ok(());
        }
        let problem = format!(
            "{} in version {:?} is not understood; the webhook must be registered for v1",
            self.resource_name(),
            self.resource.version
        );
        Err(Stop::Failed(Failure::BadReview(problem)))
    }

    /// `object`, read as what is needed of it.
    pub(super) fn new_as<T: Deserialize<'a>>(&self) -> Result<T, Stop> {
        read(self.object, "object")
    }

    /// `oldObject`, read as what is needed of it.
    pub(super) fn old_as<T: Deserialize<'a>>(&self) -> Result<T, Stop> {
        read(self.old_object, "oldObject")
    }
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, field: &str) -> Result<T, Stop> {
    let bad = |problem: String| Stop::Failed(Failure::BadReview(problem));
    let raw = raw.ok_or_else(|| bad(format!("request.{field} is absent")))?;
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    parse::decode(&mut deserializer).map_err(|error| bad(format!("request.{field}.{error}")))
}

fn nests_deeper(text: &[u8], limit: usize) -> bool {
    // Nothing nests deeper than it opens brackets. Counting them settles it for nearly every review, and is many times
    // faster than following them where the compiler can count in bytes, many at a time: hence the short chunks, and one
    // bit masked out, by which the two brackets differ.
    let opens = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(byte & 0xdf == b'[')).sum::<u8>();
    if text.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(opens(chunk))).sum::<usize>() <= limit {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}
