//! What the Secret says: everything that a rotation needs to know, so that any leader can go on where another one ended.
//!
//! | key | |
//! |---|---|
//! | `tls.crt`, `tls.key` | what every replica serves |
//! | `next.crt`, `next.key` | what is to be served once every API server trusts its CA; absent between rotations |
//! | `ca.crt` | the CAs that the API servers are to trust: of what is served, of what was, and of what will be |
//!
//! The keys of the CAs are nowhere.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::certs::files::{CA, CERTIFICATE, KEY};
use crate::certs::pair::Pair;
use crate::certs::trust::as_pem;

const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

/// Certificates on their way through a rotation.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    /// What is served, with its CA.
    pub serving: Pair,
    /// What is served next, with its CA.
    pub next: Option<Pair>,
    /// CAs of what was served before.
    pub retired: Vec<String>,
}

/// The Secret's contents.
#[derive(Clone, PartialEq, Eq)]
pub enum Stored {
    /// There is no Secret, or nothing in it.
    Missing,
    /// It can't be used, and why.
    Broken(String),
    /// It can.
    Good(Box<State>),
}

impl State {
    /// Where nothing of before can be gone on with. `trusted` are CAs that the API servers trust: somebody may still serve
    /// by them.
    #[must_use]
    pub fn fresh(serving: Pair, trusted: Vec<String>) -> Self {
        Self { serving, next: None, retired: trusted }
    }

    /// All CAs that the API servers are to trust, as PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.ca);
        [&self.serving.ca].into_iter().chain(&self.retired).chain(next).map(String::as_str).collect()
    }

    /// The same with another pair to be served next. The one that was to be is forgotten.
    #[must_use]
    pub fn announcing(&self, next: Pair) -> Self {
        Self { next: Some(next), ..self.clone() }
    }

    /// The same with the next pair served, where there is one.
    #[must_use]
    pub fn switched(&self) -> Option<Self> {
        let next = self.next.clone()?;
        let retired = [self.serving.ca.clone()].into_iter().chain(self.retired.clone()).collect();
        Some(Self { serving: next, next: None, retired })
    }

    /// The same without the CAs of what was served before.
    #[must_use]
    pub fn cleaned(&self) -> Self {
        Self { retired: Vec::new(), ..self.clone() }
    }

    /// What the Secret is to hold.
    #[must_use]
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = vec![(CERTIFICATE, &self.serving.certificate), (KEY, &self.serving.key)];
        if let Some(next) = &self.next {
            data.extend([(NEXT_CERTIFICATE, &next.certificate), (NEXT_KEY, &next.key)]);
        }
        let bundle = self.bundle();
        data.push((CA, &bundle));
        data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))).collect()
    }
}

impl Stored {
    /// Reads a Secret.
    #[must_use]
    pub fn of(secret: Option<&Secret>) -> Self {
        let Some(data) = secret.and_then(|secret| secret.data.as_ref()).filter(|data| !data.is_empty()) else {
            return Self::Missing;
        };
        match read(data) {
            Ok(state) => Self::Good(Box::new(state)),
            Err(problem) => Self::Broken(problem),
        }
    }
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> Result<&'a str, String> {
    let bytes = data.get(key).ok_or_else(|| format!("{key} is missing"))?;
    std::str::from_utf8(&bytes.0).map_err(|_| format!("{key} is not text"))
}

fn read(data: &BTreeMap<String, ByteString>) -> Result<State, String> {
    let cas = pem::parse_many(text(data, CA)?).map_err(|error| format!("{CA}: {error}"))?;
    let mut cas: Vec<String> = cas.iter().map(as_pem).collect();
    let mut pair = |certificate: &str, key: &str| {
        let mut pair = Pair {
            certificate: text(data, certificate)?.to_owned(),
            key: text(data, key)?.to_owned(),
            ca: String::new(),
        };
        pair.certified().map_err(|error| format!("{certificate} and {key}: {error}"))?;
        let signer = cas.iter().position(|ca| pair.is_signed_by(ca));
        pair.ca = cas.remove(signer.ok_or_else(|| format!("no certificate in {CA} has signed {certificate}"))?);
        Ok::<_, String>(pair)
    };
    let serving = pair(CERTIFICATE, KEY)?;
    let has_next = [NEXT_CERTIFICATE, NEXT_KEY].iter().any(|key| data.contains_key(*key));
    let next = has_next.then(|| pair(NEXT_CERTIFICATE, NEXT_KEY)).transpose()?;
    Ok(State { serving, next, retired: cas })
}
