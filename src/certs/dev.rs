//! Certificates for development: for loopback and the Service, written into a directory.

use std::io::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::files::{CA, CERTIFICATE, KEY};
use super::pair::Pair;

/// For how long development certificates are valid.
const VALID: SignedDuration = SignedDuration::from_hours(90 * 24);

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
    Pair::issue(&NAMES.map(str::to_owned), VALID, Timestamp::now())
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
