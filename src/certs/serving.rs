//! The certificate that is served now, and what it is replaced by while connections go on.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};

use super::pair::{CertificateError, Pair, certificates, provider, validity};
use crate::metrics::Metrics;

/// Where something that is served comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The files of a directory.
    Files,
    /// The Secret of certificates that Ringfence issues itself.
    Secret,
    /// The file with the CAs of clients.
    ClientCa,
}

impl Source {
    /// The word for it, as metrics and logs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Secret => "secret",
            Self::ClientCa => "client_ca",
        }
    }
}

/// What is served. New connections get what was last accepted; those that are there keep theirs.
pub struct Serving {
    tls: RustlsConfig,
    served: Mutex<Served>,
    /// Sources whose contents can't be used now.
    bad: Mutex<Vec<Source>>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, PartialEq, Eq)]
struct Served {
    pair: Pair,
    /// The CAs of clients, as PEM, where clients need a certificate.
    clients: Option<String>,
}

impl Served {
    fn config(&self) -> Result<ServerConfig, CertificateError> {
        server_config(&self.pair, self.clients.as_deref())
    }
}

impl Serving {
    /// Begins with a pair. With `clients`, the PEM of one or more CAs, a connection needs a certificate that one of them
    /// signed.
    ///
    /// # Errors
    /// Where either can't be used.
    pub fn new(pair: Pair, clients: Option<String>, metrics: Arc<Metrics>) -> Result<Self, CertificateError> {
        let served = Served { pair, clients };
        let tls = RustlsConfig::from_config(Arc::new(served.config()?));
        let serving = Self { tls, served: Mutex::new(served), bad: Mutex::default(), metrics };
        serving.note(&serving.lock());
        Ok(serving)
    }

    /// What the server accepts connections with.
    #[must_use]
    pub fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// The pair that is served.
    #[must_use]
    pub fn pair(&self) -> Pair {
        self.lock().pair.clone()
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes a pair in, if it is another than the one that is served, and says whether it was.
    ///
    /// # Errors
    /// Where it can't be served: the one before is kept.
    pub fn offer(&self, pair: Pair) -> Result<bool, CertificateError> {
        self.replace(|served| served.pair = pair)
    }

    /// Takes other CAs of clients in.
    ///
    /// # Errors
    /// Where they can't be used: those before are kept.
    pub fn offer_clients(&self, clients: String) -> Result<bool, CertificateError> {
        self.replace(|served| served.clients = Some(clients))
    }

    /// Notes whether what a source has now can be used. Where it can't, what was before is served on, and that is an alarm.
    pub fn note_source<T>(&self, source: Source, taken: &Result<T, impl Display>) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let was_bad = bad.contains(&source);
        bad.retain(|other| *other != source);
        match taken {
            Ok(_) if was_bad => tracing::info!(source = source.as_str(), "the certificate's source is good again"),
            Ok(_) => {}
            Err(error) => {
                bad.push(source);
                if !was_bad {
                    let source = source.as_str();
                    tracing::error!(source, %error, "what is to be served can't be; what was before is served on");
                }
            }
        }
        self.metrics.certificate_source(source, taken.is_ok());
    }

    fn replace(&self, change: impl FnOnce(&mut Served)) -> Result<bool, CertificateError> {
        let mut served = self.lock();
        let mut changed = served.clone();
        change(&mut changed);
        if changed == *served {
            return Ok(false);
        }
        self.tls.reload_from_config(Arc::new(changed.config()?));
        *served = changed;
        self.note(&served);
        Ok(true)
    }

    fn note(&self, served: &Served) {
        let until = served.pair.validity().map(|validity| validity.not_after).ok();
        // Where the CA is not known, there is nothing to say of it.
        let ca = validity("the CA", &served.pair.ca).map(|validity| validity.not_after).ok();
        self.metrics.certificate_loaded(Timestamp::now(), until, ca);
        tracing::info!(until = until.map(tracing::field::display), "serving a certificate");
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        // It is replaced as a whole.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server offers: TLS 1.2 and 1.3, the pair, and HTTP/1.1 alone. With a `url` in the webhook configuration the
/// API server negotiates HTTP/2 where it is offered (tried), and one connection would then carry every call.
///
/// # Errors
/// Where the pair is not PEM, key and certificate do not belong together, or the CAs of clients can't be used.
pub fn server_config(pair: &Pair, clients: Option<&str>) -> Result<ServerConfig, CertificateError> {
    let certified = pair.certified()?;
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            for ca in certificates("the CA of clients", clients.as_bytes())? {
                roots.add(ca)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            config.with_client_cert_verifier(verifier.build().map_err(CertificateError::Clients)?)
        }
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
