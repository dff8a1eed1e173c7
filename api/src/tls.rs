//! TLS by rustls, when a certificate is configured: 1.2 and 1.3 with rustls' own choice of ciphers, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! The files are read again once a minute, so that a renewed certificate is served without a restart; connections that are
//! open keep theirs. New files that can't be used change nothing but the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// What clients and server agree on, the most wanted first.
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The `http.tls` section of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// PEM file of the certificate, then of those that lead to the root. Empty: no TLS.
    pub certificate: PathBuf,
    /// PEM file of its private key (PKCS #8, SEC 1 or PKCS #1), not encrypted.
    pub key: PathBuf,
    /// Time between two looks at the files, milliseconds.
    pub reload_ms: u64,
    /// A client that takes longer for its handshake is cut, milliseconds.
    pub handshake_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            reload_ms: 60_000,
            handshake_timeout_ms: 10_000,
        }
    }
}

impl Options {
    /// Whether connections are encrypted.
    pub(crate) fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty() || !self.key.as_os_str().is_empty()
    }
}

/// Why the certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the two files isn't configured.
    #[error("{option} is missing: TLS needs both http.tls.certificate and http.tls.key")]
    Missing {
        /// The option.
        option: &'static str,
    },
    /// A file can't be read.
    #[error("{option}: {} can't be read", path.display())]
    Read {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file has not what it should.
    #[error("{option}: {} has no {wanted} in PEM", path.display())]
    Pem {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should have.
        wanted: &'static str,
        /// What the parser says.
        #[source]
        source: pem::Error,
    },
    /// The two don't belong together, or are of a kind that isn't supported.
    #[error("the certificate in {} can't be used with the key in {}", certificate.display(), key.display())]
    Rejected {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

/// What the two files have.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in force.
pub(crate) struct Tls {
    options: Options,
    acceptor: RwLock<TlsAcceptor>,
    /// The files of the start, so that no change between it and the first look goes unseen.
    first: Files,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) async fn load(options: &Options) -> Result<Tls, Error> {
        let missing = |option, path: &Path| match path.as_os_str().is_empty() {
            true => Err(Error::Missing { option }),
            false => Ok(()),
        };
        missing("http.tls.certificate", &options.certificate)?;
        missing("http.tls.key", &options.key)?;
        let first = Files::read(options).await?;
        let acceptor = RwLock::new(acceptor(&first, options)?);
        Ok(Tls { options: options.clone(), acceptor, first })
    }

    /// Encrypts a connection. The error says why there is none.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().clone();
        let limit = Duration::from_millis(self.options.handshake_timeout_ms);
        match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Takes over changed files, until `cancel`.
    pub(crate) async fn watch(self: Arc<Tls>, cancel: CancellationToken) {
        let pause = Duration::from_millis(self.options.reload_ms.max(1));
        let mut seen = None;
        let mut complained = None;
        while cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            match Files::read(&self.options).await {
                Ok(files) if *seen.as_ref().unwrap_or(&self.first) == files => complained = None,
                Ok(files) => {
                    complained = None;
                    self.take(&files);
                    seen = Some(files);
                }
                // Once, not each minute.
                Err(error) => {
                    let text = error.to_string();
                    if complained.as_ref() != Some(&text) {
                        keeps_the_old_one(&error);
                        complained = Some(text);
                    }
                }
            }
        }
    }

    fn take(&self, files: &Files) {
        match acceptor(files, &self.options) {
            Ok(acceptor) => {
                *self.acceptor.write() = acceptor;
                tracing::info!(file.path = %self.options.certificate.display(), "a new certificate is in force");
            }
            Err(error) => keeps_the_old_one(&error),
        }
    }
}

/// Whether the client of a connection speaks HTTP/2.
pub(crate) fn speaks_http_2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

fn keeps_the_old_one(error: &Error) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        error = %error,
        error.cause = cause,
        "the new certificate can't be used; the one before stays in force"
    );
}

impl Files {
    async fn read(options: &Options) -> Result<Files, Error> {
        let read = async |option, path: &Path| {
            let failed = |source| Error::Read { option, path: path.to_owned(), source };
            tokio::fs::read(path).await.map_err(failed)
        };
        Ok(Files {
            certificate: read("http.tls.certificate", &options.certificate).await?,
            key: read("http.tls.key", &options.key).await?,
        })
    }
}

fn acceptor(files: &Files, options: &Options) -> Result<TlsAcceptor, Error> {
    let not_pem = |option, path: &Path, wanted| {
        let path = path.to_owned();
        move |source| Error::Pem { option, path, wanted, source }
    };
    let chain = CertificateDer::pem_slice_iter(&files.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.and_then(|chain| match chain.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(chain),
    });
    let chain = chain.map_err(not_pem("http.tls.certificate", &options.certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(not_pem(
        "http.tls.key",
        &options.key,
        "unencrypted private key",
    ))?;
    let rejected = |source| Error::Rejected {
        certificate: options.certificate.clone(),
        key: options.key.clone(),
        source,
    };
    // Named, since a process has several providers when a crate beside us brings another.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(rejected)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(rejected)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
