//! Certificates in files, under the names that cert-manager and Secrets use: whoever issues them replaces the files.
//!
//! The contents are read again and again. The kubelet replaces a mounted Secret by moving one symbolic link (`..data`),
//! which watches of the files themselves do not see.

use std::path::Path;
use std::time::Duration;

use super::pair::{CertificateError, Pair};
use super::serving::{Serving, Source};

/// The file of the certificate chain.
pub const CERTIFICATE: &str = "tls.crt";
/// The file of the key.
pub const KEY: &str = "tls.key";
/// The file of the CA.
pub const CA: &str = "ca.crt";

/// How often files are read.
const EVERY: Duration = Duration::from_secs(2);

/// Whether any part of a pair is in the directory.
#[must_use]
pub fn any_in(directory: &Path) -> bool {
    [CERTIFICATE, KEY].iter().any(|name| directory.join(name).exists())
}

/// Reads a file.
///
/// # Errors
/// [`CertificateError::Read`], with the file.
pub fn read_file(path: &Path) -> Result<String, CertificateError> {
    std::fs::read_to_string(path).map_err(|error| CertificateError::Read(path.display().to_string(), error))
}

/// Reads the pair of a directory. The CA may be missing.
///
/// # Errors
/// [`CertificateError::Read`], with the file.
pub fn read(directory: &Path) -> Result<Pair, CertificateError> {
    let read = |name: &str| read_file(&directory.join(name));
    Ok(Pair { certificate: read(CERTIFICATE)?, key: read(KEY)?, ca: read(CA).unwrap_or_default() })
}

/// Serves what is in a directory, as it changes. It never returns.
pub async fn follow(serving: &Serving, directory: &Path) {
    poll(serving, Source::Files, || serving.offer(read(directory)?)).await;
}

/// Accepts clients by the CAs of a file, as it changes. It never returns.
pub async fn follow_clients(serving: &Serving, path: &Path) {
    poll(serving, Source::ClientCa, || serving.offer_clients(read_file(path)?)).await;
}

/// Takes something in again and again.
async fn poll(serving: &Serving, source: Source, take_in: impl Fn() -> Result<bool, CertificateError>) {
    // One file may be read before, the next one after they are replaced: only what is wrong twice is wrong.
    let mut was_wrong = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let taken = take_in();
        let wrong = taken.is_err();
        if !wrong || was_wrong {
            serving.note_source(source, &taken);
        }
        was_wrong = wrong;
    }
}
