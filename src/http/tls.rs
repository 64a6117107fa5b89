//! The server's certificate: read from PEM files, and read anew when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// A TLS configuration that follows its files.
#[derive(Debug)]
pub struct TlsReloader {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// The files' bytes, to see a change whatever the clock of the file system says.
    pem: (Vec<u8>, Vec<u8>),
}

impl TlsReloader {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn open(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let pem = (read(&cert)?, read(&key)?);
        let config = Arc::new(server_config(&cert, &key, &pem)?);
        Ok(Self { cert, key, current: RwLock::new(Loaded { config, pem }) })
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Reads the files again; says whether they had changed. A pair that cannot be used leaves the old one in force.
    ///
    /// # Errors
    /// [`TlsError`]; the old pair stays.
    pub fn reload_now(&self) -> Result<bool, TlsError> {
        let pem = (read(&self.cert)?, read(&self.key)?);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).pem == pem {
            return Ok(false);
        }
        let config = Arc::new(server_config(&self.cert, &self.key, &pem)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Loaded { config, pem };
        Ok(true)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn server_config(cert: &Path, key: &Path, pem: &(Vec<u8>, Vec<u8>)) -> Result<ServerConfig, TlsError> {
    let fault = |path: &Path, what, reason: String| TlsError::Pem { path: path.to_owned(), what, reason };
    let chain = CertificateDer::pem_slice_iter(&pem.0)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(cert, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(fault(cert, "certificate", "there is none".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&pem.1).map_err(|error| fault(key, "private key", error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
