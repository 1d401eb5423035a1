//! A certificate, its key and its CA in a directory, under the names that cert-manager and Secrets use.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::dev::Pair;

/// The file of the certificate chain.
pub const CERTIFICATE: &str = "tls.crt";
/// The file of the key.
pub const KEY: &str = "tls.key";
/// The file of the CA.
pub const CA: &str = "ca.crt";

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("failed to read {0}: {1}; `ringfence certs --cert-dir DIR` makes a development certificate")]
    Read(String, std::io::Error),
    /// Not PEM.
    #[error("{0} is not PEM: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// rustls refuses it.
    #[error("the certificate and its key can't be served: {0}")]
    Refused(#[from] rustls::Error),
}

/// Whether any part of a pair is in the directory.
#[must_use]
pub fn any_in(directory: &Path) -> bool {
    [CERTIFICATE, KEY].iter().any(|name| directory.join(name).exists())
}

/// Reads the pair of a directory.
///
/// # Errors
/// [`CertificateError::Read`], with the file.
pub fn read(directory: &Path) -> Result<Pair, CertificateError> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| CertificateError::Read(path.display().to_string(), error))
    };
    Ok(Pair { certificate: read(CERTIFICATE)?, key: read(KEY)?, ca: read(CA).unwrap_or_default() })
}

/// What the server offers: TLS 1.2 and 1.3, the pair, and HTTP/1.1 alone. With a `url` in the webhook configuration the
/// API server negotiates HTTP/2 where it is offered (tried), and one connection would then carry every call.
///
/// # Errors
/// Where the pair is not PEM, or key and certificate do not belong together.
pub fn server_config(pair: &Pair) -> Result<ServerConfig, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Pem(CERTIFICATE, error))?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|error| CertificateError::Pem(KEY, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Refuses a key that is not the certificate's.
    let certified = CertifiedKey::from_der(chain, key, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
