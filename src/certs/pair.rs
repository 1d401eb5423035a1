//! A certificate, its key, and the CA that signed it: whether they belong together, until when they hold, and whether
//! whoever trusts a bundle of CAs would accept them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How far back certificates begin, for clocks that are behind.
pub const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Certificate, key and CA, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The leaf, and what leads from it to the CA.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The CA that signed it, or several. Empty where it is not known.
    pub ca: String,
}

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("failed to read {0}: {1}; `ringfence certs --cert-dir DIR` makes a development certificate")]
    Read(String, std::io::Error),
    /// Not PEM.
    #[error("{0} is not PEM: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// The key is not PEM. What the parser says would repeat it.
    #[error("the key is not PEM: put it there as it is, beginning with -----BEGIN PRIVATE KEY-----")]
    Key,
    /// PEM, but of nothing.
    #[error("{0} has no certificate in it: put the PEM of one there, beginning with -----BEGIN CERTIFICATE-----")]
    Empty(&'static str),
    /// Not a certificate.
    #[error("{0} is not an X.509 certificate: {1}")]
    NotACertificate(&'static str, String),
    /// rustls refuses it.
    #[error("the certificate and its key can't be served: {0}")]
    Refused(#[from] rustls::Error),
    /// No verifier can be made of the CA of clients.
    #[error("the CA of clients can't be used: {0}")]
    Clients(rustls::server::VerifierBuilderError),
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whether it holds at a time.
    #[must_use]
    pub fn holds_at(&self, at: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }
}

/// The one provider of cryptography of this program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM text. `what` is what the text is called, for errors.
pub(super) fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| CertificateError::Pem(what, error))?;
    if all.is_empty() { Err(CertificateError::Empty(what)) } else { Ok(all) }
}

/// From when to when the first certificate of a PEM text holds.
pub(super) fn validity(what: &'static str, pem: &str) -> Result<Validity, CertificateError> {
    let wrong = |problem: String| CertificateError::NotACertificate(what, problem);
    let first = certificates(what, pem.as_bytes())?.swap_remove(0);
    let (_, certificate) = X509Certificate::from_der(&first).map_err(|error| wrong(error.to_string()))?;
    let at = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| wrong(error.to_string()))
    };
    let validity = certificate.validity();
    Ok(Validity { not_before: at(validity.not_before)?, not_after: at(validity.not_after)? })
}

impl Pair {
    /// Issues a fresh certificate for these names, by a CA that signs nothing else: its key is thrown away.
    ///
    /// # Errors
    /// Where a key can't be made, a name is none, or a certificate can't be signed.
    pub fn issue(names: &[String], validity: SignedDuration, now: Timestamp) -> Result<Self, rcgen::Error> {
        let not_before = std::time::SystemTime::from(now.saturating_sub(BACKDATED).unwrap_or(now));
        let not_after = std::time::SystemTime::from(now.saturating_add(validity).unwrap_or(now));
        let mut ca = CertificateParams::default();
        // Each has a name of its own, so that people can tell them apart.
        ca.distinguished_name.push(DnType::CommonName, format!("Ringfence CA of {now:.0}"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (ca.not_before, ca.not_after) = (not_before.into(), not_after.into());
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;

        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "ringfence");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = (not_before.into(), not_after.into());
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), ca: ca_certificate.pem() })
    }

    /// From when to when the leaf holds.
    ///
    /// # Errors
    /// Where it is no certificate.
    pub fn validity(&self) -> Result<Validity, CertificateError> {
        validity("the certificate", &self.certificate)
    }

    /// The pair as rustls serves it. It refuses a key that is not the certificate's.
    pub(super) fn certified(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = certificates("the certificate", self.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| CertificateError::Key)?;
        Ok(CertifiedKey::from_der(chain, key, &provider())?)
    }

    /// Whether a CA, as PEM, has signed the certificate (or the last of what leads to it), whatever the time.
    pub(super) fn is_signed_by(&self, ca: &str) -> bool {
        let signed = || -> Option<bool> {
            let ca = certificates("the CA", ca.as_bytes()).ok()?;
            let chain = certificates("the certificate", self.certificate.as_bytes()).ok()?;
            let (_, ca) = X509Certificate::from_der(ca.first()?).ok()?;
            let (_, last) = X509Certificate::from_der(chain.last()?).ok()?;
            Some(last.issuer() == ca.subject() && last.verify_signature(Some(ca.public_key())).is_ok())
        };
        signed().unwrap_or(false)
    }

    /// Whether a client that trusts these CAs accepts the leaf under this name at this time, as an API server does.
    ///
    /// # Errors
    /// Why it does not.
    pub fn accepted_by(&self, bundle: &[u8], name: &str, at: Timestamp) -> Result<(), CertificateError> {
        let mut roots = RootCertStore::empty();
        // An API server leaves out what it can't read, too.
        roots.add_parsable_certificates(certificates("the CA bundle", bundle)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let name = ServerName::try_from(name.to_owned()).map_err(|error| rustls::Error::General(error.to_string()))?;
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let chain = certificates("the certificate", self.certificate.as_bytes())?;
        let Some((leaf, between)) = chain.split_first() else { return Err(CertificateError::Empty("the certificate")) };
        verifier.verify_server_cert(leaf, between, &name, &[], at)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use rcgen::{CertificateParams, DnType, Issuer, KeyPair};

    use super::Pair;

    const NAME: &str = "ringfence.ringfence-system.svc";

    fn issued() -> (Pair, Timestamp) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        (Pair::issue(&[NAME.to_owned()], SignedDuration::from_hours(24), now).unwrap(), now)
    }

    #[test]
    fn case_41_a_clock_that_is_an_hour_behind_or_ahead_accepts_what_was_just_issued() {
        let (pair, now) = issued();
        for minutes in [-60, -59, 0, 60] {
            let at = now + SignedDuration::from_mins(minutes);
            pair.accepted_by(pair.ca.as_bytes(), NAME, at).unwrap();
        }
        for hours in [-2, 25] {
            let at = now + SignedDuration::from_hours(hours);
            assert!(pair.accepted_by(pair.ca.as_bytes(), NAME, at).is_err(), "{hours}");
        }
    }

    #[test]
    fn a_certificate_is_accepted_under_its_name_by_whoever_trusts_its_own_ca_and_nobody_else() {
        let ((one, now), (two, _)) = (issued(), issued());
        let both = format!("{}{}", two.ca, one.ca);
        one.accepted_by(both.as_bytes(), NAME, now).unwrap();
        assert!(one.accepted_by(two.ca.as_bytes(), NAME, now).is_err());
        assert!(one.accepted_by(one.ca.as_bytes(), "ringfence.elsewhere.svc", now).is_err());
        assert!(one.accepted_by(b"", NAME, now).is_err());
    }

    #[test]
    fn whoever_has_the_leaf_s_key_can_not_sign_other_certificates() {
        let (one, now) = issued();
        let other = |issuer: Issuer<'_, KeyPair>| {
            let key = KeyPair::generate().unwrap();
            let mut leaf = CertificateParams::new(vec!["other.svc".to_owned()]).unwrap();
            leaf.not_before = std::time::SystemTime::from(now).into();
            leaf.not_after = std::time::SystemTime::from(now + SignedDuration::from_hours(1)).into();
            let certificate = leaf.signed_by(&key, &issuer).unwrap().pem() + &one.certificate;
            Pair { certificate, key: key.serialize_pem(), ca: one.ca.clone() }
        };
        let mut like_the_leaf = CertificateParams::default();
        like_the_leaf.distinguished_name.push(DnType::CommonName, "ringfence");
        let signed = other(Issuer::new(like_the_leaf, KeyPair::from_pem(&one.key).unwrap()));
        assert!(signed.accepted_by(one.ca.as_bytes(), "other.svc", now).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_repeating_it() {
        let (pair, _) = issued();
        let body: String = pair.key.lines().filter(|line| !line.starts_with("-----")).collect();
        let one_line = pair.key.replace('\n', "");
        for key in [one_line, body.clone(), format!("-----BEGIN {body}"), pair.key.replace("-----END", "")] {
            let said = format!("{0} {0:?}", Pair { key, ..pair.clone() }.certified().unwrap_err());
            let numbers = body.as_bytes()[..8].iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            assert!(!said.contains(&body[..8]) && !said.contains(&numbers), "{said}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((one, _), (two, _)) = (issued(), issued());
        assert!(one.certified().is_ok());
        assert!(Pair { key: two.key, ..one.clone() }.certified().is_err());
        assert!(Pair { key: String::new(), ..one.clone() }.certified().is_err());
        assert!(Pair { certificate: String::new(), ..one }.certified().is_err());
    }
}
