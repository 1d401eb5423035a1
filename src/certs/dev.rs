//! Development certificates: a CA whose key is thrown away, and one leaf.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::files::{CA, CERTIFICATE, KEY};

/// Certificate, key and CA, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The leaf.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The CA that signed it.
    pub ca: String,
}

/// For how long development certificates are valid.
const VALID: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far back they begin, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The names that a client may reach the server by: loopback, and the Service in its short and long forms.
const NAMES: [&str; 6] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "ringfence.ringfence-system.svc",
    "ringfence.ringfence-system",
    "ringfence.ringfence-system.svc.cluster.local",
];

/// Issues a fresh pair.
///
/// # Errors
/// Where keys can't be made or a certificate can't be signed.
pub fn issue() -> Result<Pair, rcgen::Error> {
    let now = std::time::SystemTime::now();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Ringfence development CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = (now - BACKDATED).into();
    ca.not_after = (now + VALID).into();
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    leaf.distinguished_name.push(DnType::CommonName, "ringfence");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = (now - BACKDATED).into();
    leaf.not_after = (now + VALID).into();
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem(), ca: ca_certificate.pem() })
}

/// Writes a pair into a directory, made where it is not there. The key is readable by its owner alone.
///
/// # Errors
/// Where a file can't be written.
pub fn write(pair: &Pair, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let key = directory.join(KEY);
    // A file that is there already keeps its mode; a new one gets ours from the start.
    match std::fs::remove_file(&key) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => options.open(&key)?.write_all(pair.key.as_bytes())?,
    }
    std::fs::write(directory.join(CERTIFICATE), &pair.certificate)?;
    std::fs::write(directory.join(CA), &pair.ca)
}
