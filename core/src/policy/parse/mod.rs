//! The one parser of NetworkPolicies: for the webhook, the controller, the audit and the command line.
//!
//! [`stream`] decodes as the API server does, except that duplicate keys are refused rather than guessed at, and compiles each
//! item of a list once it is read; [`validate`] applies the API's defaults and its validation (`k8s.io/kubernetes/pkg/apis/networking/v1` and
//! `.../validation`), and names the field of everything it rejects.

pub mod names;
mod stream;
mod unknown;
mod validate;
mod wire;

use std::fmt;
use std::marker::PhantomData;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;

use super::{Direction, NetworkPolicy};
use crate::meter::Exhausted;
use crate::object::{ObjectMeta, Suppression};
pub use unknown::{UnknownField, fields};

/// Where a policy comes from, which decides about what older API servers let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A cluster: what a current API server would not take may have been stored long ago. CIDRs with host bits are
    /// masked, and values in selectors that no label can have are left out.
    Cluster,
    /// A file: both are errors.
    File,
}

/// What a policy's meaning does not show any more of how it was written. The lints ([`super::lint`]) need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Whether `policyTypes` lists anything. The API server states them in what it stores.
    pub states_types: bool,
    /// Whether `egress` is written as an empty list.
    pub empties_egress: bool,
    /// The directions whose rules are inert, since `policyTypes` does not list them.
    pub inert: Vec<Direction>,
    /// The paths of entries of `ports` that leave the protocol out, at most [`NOTED`].
    pub implicit_protocols: Vec<String>,
    /// CIDRs that are not in their canonical form, at most [`NOTED`].
    pub noncanonical: Vec<Noncanonical>,
    /// Fields that the API does not have, of a policy in a manifest ([`written`]), at most [`NOTED`]. What an API server stores
    /// has none.
    pub unknown: Vec<UnknownField>,
    /// The lints that annotations of the policy switch off.
    pub suppressions: Vec<Suppression>,
}

/// How many places of a kind [`Notes`] lists: one more than a lint reports, so that it can tell that there are others.
pub const NOTED: usize = 21;

/// A CIDR that is not in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noncanonical {
    /// The path of the field.
    pub path: String,
    /// What is written.
    pub written: String,
    /// The canonical form of what it means.
    pub canonical: IpNet,
}

/// Something that the API server would reject, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field, such as `spec.ingress[0].from[1].ipBlock.cidr`.
    pub path: String,
    /// The value found there, as JSON where it is not plain text.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path)?;
        if !self.value.is_empty() {
            write!(f, "{:?}: ", self.value)?;
        }
        write!(f, "{}", self.problem)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// Why an object is not a NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not decode: a wrong type, a duplicate key.
    #[error("{path}: {problem}")]
    Malformed {
        /// The path of the field.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// It decodes, but the API server would reject it.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
}

/// How much of what is written is quoted, in characters.
const LONGEST: usize = 400;

/// A text that quotes what was written, cut where that is longer than anyone wants to read.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn list(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ParseError {
    /// The path of the first field that is wrong.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Malformed { path, .. } => path,
            Self::Invalid(errors) => errors.first().map_or("", |error| &error.path),
        }
    }
}

/// Decodes a value, and says where it failed.
///
/// # Errors
/// [`ParseError::Malformed`].
pub fn decode<'de, T, D>(deserializer: D) -> Result<T, ParseError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    decode_into(deserializer, PhantomData)
}

/// The same, into what a seed has at hand.
fn decode_into<'de, S, D>(deserializer: D, seed: S) -> Result<S::Value, ParseError>
where
    S: DeserializeSeed<'de>,
    D: Deserializer<'de>,
{
    let mut track = serde_path_to_error::Track::new();
    let decoded = seed.deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track));
    decoded.map_err(|error| {
        let path = track.path().to_string();
        ParseError::Malformed {
            path: if path == "." { String::new() } else { shortened(path) },
            problem: shortened(error.to_string()),
        }
    })
}

/// Parses a NetworkPolicy, as JSON or from any other serde source.
///
/// # Errors
/// [`ParseError`], with the path of every field that is wrong.
pub fn network_policy<'de, D>(deserializer: D, source: Source) -> Result<NetworkPolicy, ParseError>
where
    D: Deserializer<'de>,
{
    noted(deserializer, source).map(|(policy, _)| policy)
}

/// Parses a NetworkPolicy, and notes what the lints need of how it is written.
///
/// # Errors
/// As [`network_policy`].
pub fn noted<'de, D>(deserializer: D, source: Source) -> Result<(NetworkPolicy, Notes), ParseError>
where
    D: Deserializer<'de>,
{
    let mut object = stream::Object { metadata: ObjectMeta::default(), spec: stream::Spec::new(source) };
    decode_into(deserializer, stream::InObject(&mut object))?;
    understood(object)
}

/// From what is decoded to what it means.
fn understood(object: stream::Object<'_>) -> Result<(NetworkPolicy, Notes), ParseError> {
    let exhausted =
        |exhausted: Exhausted| ParseError::Malformed { path: String::new(), problem: exhausted.to_string() };
    validate::network_policy(object).map_err(exhausted)?.map_err(ParseError::Invalid)
}

/// Parses a NetworkPolicy of a manifest. What it means is what an API server would store; fields that one would drop are noted
/// besides.
///
/// # Errors
/// As [`network_policy`].
pub fn written(object: &Value) -> Result<(NetworkPolicy, Notes), ParseError> {
    let mut dropped = unknown::Dropped::default();
    let mut note = |path: serde_ignored::Path<'_>| dropped.note(&path);
    let mut decoded = stream::Object { metadata: ObjectMeta::default(), spec: stream::Spec::new(Source::File) };
    decode_into(serde_ignored::Deserializer::new(object, &mut note), stream::InObject(&mut decoded))?;
    let unknown = dropped.in_object(object);
    match understood(decoded) {
        Ok((policy, notes)) => Ok((policy, Notes { unknown, ..notes })),
        Err(ParseError::Invalid(mut errors)) => {
            unknown::explain(&mut errors, &unknown);
            Err(ParseError::Invalid(errors))
        }
        Err(malformed) => Err(malformed),
    }
}

/// Parses a NetworkPolicy that is at hand as JSON text.
///
/// # Errors
/// As [`network_policy`].
pub fn network_policy_json(json: &str, source: Source) -> Result<NetworkPolicy, ParseError> {
    noted_json(json, source).map(|(policy, _)| policy)
}

/// The same, noting what the lints need of how it is written.
///
/// # Errors
/// As [`network_policy`].
pub fn noted_json(json: &str, source: Source) -> Result<(NetworkPolicy, Notes), ParseError> {
    noted(&mut serde_json::Deserializer::from_str(json), source)
}
