//! The server's certificate, and whose certificates clients may show: read from PEM files, and read anew when they change.
//!
//! A client need not show any. One that shows a certificate of an authority that is not in `client_ca`, or one whose time
//! is over, is refused in the handshake: it means to be somebody, and would not understand why it is nobody.

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM of its kind.
    #[error("{path} holds no usable {what} in PEM form: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The two do not belong together, or the key's kind is not supported.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[source] rustls::Error),
}

/// The files of a TLS configuration, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own certificate first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose certificates clients may show; `None`: clients are not asked for any.
    pub client_ca: Option<PathBuf>,
}

/// A TLS configuration that follows its files.
#[derive(Debug)]
pub struct TlsReloader {
    files: TlsFiles,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    pem: Pem,
}

/// The files' bytes, to see a change whatever the clock of the file system says.
#[derive(PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

impl TlsReloader {
    /// Reads a certificate chain and its key, and the authorities of clients.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let pem = Pem::read(&files)?;
        let config = Arc::new(server_config(&files, &pem)?);
        Ok(Self { files, current: RwLock::new(Loaded { config, pem }) })
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Reads the files again; says whether they had changed. Files that cannot be used leave the old ones in force.
    ///
    /// # Errors
    /// [`TlsError`]; the old configuration stays.
    pub fn reload_now(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).pem == pem {
            return Ok(false);
        }
        // With it goes what was kept of sessions, so none goes on by an authority that is not there any more.
        let config = Arc::new(server_config(&self.files, &pem)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Loaded { config, pem };
        Ok(true)
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let client_ca = files.client_ca.as_deref().map(read).transpose()?;
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)?, client_ca })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn fault(path: &Path, what: &'static str, reason: impl Display) -> TlsError {
    TlsError::Pem { path: path.to_owned(), what, reason: reason.to_string() }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(path, "certificate", error))?;
    if all.is_empty() { Err(fault(path, "certificate", "there is none")) } else { Ok(all) }
}

fn server_config(files: &TlsFiles, pem: &Pem) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.cert, &pem.cert)?;
    let private = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| fault(&files.key, "private key", error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = match (&files.client_ca, &pem.client_ca) {
        (Some(path), Some(pem)) => client_verifier(path, pem, &provider)?,
        _ => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, private))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes certificates of these authorities, and clients without any.
fn client_verifier(
    path: &Path,
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, pem)? {
        roots.add(authority).map_err(|error| fault(path, "certificate", error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| fault(path, "certificate", error))
}
