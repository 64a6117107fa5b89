//! The one place that names concrete drivers: configuration in, a registry out.
//!
//! A server holds its data folder alone; the verbs of the command line open the same folder beside it, and leave the
//! schema as it is.

mod folder;
mod greeting;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy, Timestamp};
use crate::config::{Config, Durability};
use crate::http::Metrics;
use crate::http::tls::TlsError;
use crate::metadata::MetadataError;
use crate::metadata::sqlite::{SqliteOptions, SqliteStore};
use crate::registry::{Registry, RegistryError};
use crate::storage::fs::{self, FsOptions, FsStore};
use crate::storage::layers::{Instrumented, Observe, Operation, Outcome};
use crate::storage::{BlobStore, StorageError};
use crate::telemetry;

pub use folder::{DataFolder, FolderError};
pub use serve::{Bound, Ending};

/// How far back blobs are read again after an unclean stop without strict durability: the kernel writes back what is
/// older than half a minute, so this is ample.
const UNCLEAN_WINDOW: Duration = Duration::from_mins(10);

/// Why the parts cannot be put together; one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder cannot be had.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database cannot be opened.
    #[error("{path}: the database cannot be opened: {}", telemetry::chain(source))]
    Database {
        /// Its file.
        path: String,
        /// What the driver says.
        source: MetadataError,
    },
    /// The blobs cannot be opened.
    #[error("{path}: the blobs cannot be opened: {}", telemetry::chain(source))]
    Storage {
        /// Their folder.
        path: String,
        /// What the driver says.
        source: StorageError,
    },
    /// The kernel does not say which run of the machine this is.
    #[error("the boot id of this machine cannot be read: {0}")]
    BootId(#[source] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with {choose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
        /// The flag or key that chooses it.
        choose: &'static str,
    },
    /// The certificate or its key cannot be used.
    #[error("HTTPS cannot be spoken: {}", telemetry::chain(.0))]
    Tls(#[from] TlsError),
    /// The check after an unclean stop failed.
    #[error("the blobs cannot be read again after the unclean stop: {}", telemetry::chain(.0))]
    Recheck(#[source] RegistryError),
}

/// Puts the parts together.
#[derive(Debug)]
pub struct AppBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A registry over the configured drivers.
#[derive(Debug)]
pub struct App {
    config: Config,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    entropy: Arc<dyn Entropy>,
    writer_died: CancellationToken,
    folder: Option<DataFolder>,
}

impl AppBuilder {
    /// With the machine's clock and random numbers.
    pub fn new(config: Config) -> Self {
        Self { config, clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// With another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With other random numbers.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Takes the data folder for this process, makes what is missing, and brings the schema up to date.
    ///
    /// # Errors
    /// Any [`AppError`].
    pub async fn open(self) -> Result<App, AppError> {
        let folder = DataFolder::take(&self.config.data, self.config.durability)?;
        let unclean_since = folder.unclean_since();
        let mut app = self.assemble(true).await?;
        app.folder = Some(folder);
        if let Some(stopped) = unclean_since {
            app.recheck(stopped).await?;
        }
        Ok(app)
    }

    /// Opens the data folder beside a server that may be running. It must have been served before.
    ///
    /// # Errors
    /// Any [`AppError`] but those of taking the folder.
    pub async fn open_beside(self) -> Result<App, AppError> {
        self.assemble(false).await
    }

    async fn assemble(self, create: bool) -> Result<App, AppError> {
        let Self { config, clock, entropy } = self;
        let metadata = open_metadata(&config, create).await?;
        let writer_died = metadata.writer_died();
        let metrics = Arc::new(Metrics::default());
        let observer = Arc::new(StorageTimes(Arc::clone(&metrics)));
        let storage = Instrumented::new(Arc::new(open_storage(&config).await?), observer);
        let registry =
            Registry::new(Arc::new(metadata), Arc::new(storage), clock, Arc::clone(&entropy), config.registry.clone());
        Ok(App { config, registry: Arc::new(registry), metrics, entropy, writer_died, folder: None })
    }
}

impl App {
    /// The rules.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Reads again what may not have reached the disk before an unclean stop.
    async fn recheck(&self, stopped: Timestamp) -> Result<(), AppError> {
        let window = i64::try_from(UNCLEAN_WINDOW.as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::from_micros(stopped.as_micros().saturating_sub(window));
        let damaged = self.registry.rehash_recent(since).await.map_err(AppError::Recheck)?;
        tracing::warn!(damaged, "the last server stopped uncleanly; its last blobs were read again");
        Ok(())
    }
}

/// Puts the times of storage operations among the metrics.
#[derive(Debug)]
struct StorageTimes(Arc<Metrics>);

impl Observe for StorageTimes {
    fn observe(&self, operation: Operation, elapsed: Duration, outcome: Outcome) {
        self.0.observe_storage(operation.as_str(), outcome.as_str(), elapsed);
    }
}

async fn open_metadata(config: &Config, create: bool) -> Result<SqliteStore, AppError> {
    let path = config.data.join("bonded.db");
    let options = SqliteOptions {
        create,
        synchronous_full: config.durability == Durability::Strict,
        ..SqliteOptions::new(&path)
    };
    SqliteStore::open(&options).await.map_err(|source| AppError::Database { path: path.display().to_string(), source })
}

async fn open_storage(config: &Config) -> Result<impl BlobStore + use<>, AppError> {
    let durability = match config.durability {
        Durability::Strict => fs::Durability::Strict,
        Durability::Relaxed => fs::Durability::Relaxed,
    };
    let boot_id = fs::kernel_boot_id().map_err(AppError::BootId)?;
    let options = FsOptions { root: config.data.clone(), durability, boot_id };
    FsStore::open(options).await.map_err(|source| AppError::Storage { path: shown(&config.data), source })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
