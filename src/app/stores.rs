//! Which drivers hold facts and bytes: SQLite and a folder, Postgres and a bucket, or one of each.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::http::Metrics;
use crate::metadata::MetadataStore;
use crate::metadata::accounts::AccountStore;
use crate::metadata::audit::AuditStore;
use crate::metadata::limits::SharedBuckets;
use crate::metadata::postgres::{PostgresClock, PostgresOptions, PostgresStore};
use crate::metadata::redis::RedisBuckets;
use crate::metadata::sqlite::{SqliteOptions, SqliteStore};
use crate::metadata::webhooks::WebhookStore;
use crate::storage::BlobStore;
use crate::storage::fs::{self, FsOptions, FsStore};
use crate::storage::layers::{Instrumented, Observe, Operation, Outcome};
use crate::storage::s3::{S3Options, S3Store};

/// Opened drivers.
#[derive(Debug)]
pub struct Stores {
    /// The facts.
    pub metadata: Arc<dyn MetadataStore>,
    /// The accounts, in the same database.
    pub accounts: Arc<dyn AccountStore>,
    /// The record of what happened, there too.
    pub audit: Arc<dyn AuditStore>,
    /// The webhooks, in the same database.
    pub webhooks: Arc<dyn WebhookStore>,
    /// The bytes.
    pub storage: Arc<dyn BlobStore>,
    /// What leases and expiry go by: the machine's time, or the database's where many nodes share one.
    pub clock: Arc<dyn Clock>,
    /// The same clock when it has to be kept in step with a database.
    pub database_clock: Option<Arc<PostgresClock>>,
    /// Cancelled when facts can never be written again.
    pub writer_died: CancellationToken,
}

impl Stores {
    /// Opens what the configuration names; `migrate` makes what is missing and brings the schema up to date.
    ///
    /// # Errors
    /// [`AppError::Database`], [`AppError::Storage`], [`AppError::BootId`].
    pub async fn open(config: &Config, migrate: bool, machine: Arc<dyn Clock>) -> Result<Self, AppError> {
        let Some(url) = &config.database else {
            let store = open_sqlite(config, migrate).await?;
            let storage = open_storage(config).await?;
            let writer_died = store.writer_died();
            let store = Arc::new(store);
            let (accounts, audit) = (Arc::<SqliteStore>::clone(&store), Arc::<SqliteStore>::clone(&store));
            let webhooks = Arc::<SqliteStore>::clone(&store);
            let (metadata, clock, database_clock) = (store, machine, None);
            return Ok(Self { metadata, accounts, audit, webhooks, storage, clock, database_clock, writer_died });
        };
        let options = PostgresOptions {
            migrate,
            connections_max: config.database_connections_max,
            ..PostgresOptions::new(url.expose())
        };
        let fault = |source| AppError::Database { place: url.to_string(), source };
        let store = Arc::new(PostgresStore::open(&options).await.map_err(fault)?);
        let clock = Arc::new(PostgresClock::new(Arc::clone(&store), machine).await.map_err(fault)?);
        let storage = open_storage(config).await?;
        let database_clock = Some(Arc::clone(&clock));
        let (accounts, audit) = (Arc::<PostgresStore>::clone(&store), Arc::<PostgresStore>::clone(&store));
        let webhooks = Arc::<PostgresStore>::clone(&store);
        let writer_died = CancellationToken::new();
        Ok(Self { metadata: store, accounts, audit, webhooks, storage, clock, database_clock, writer_died })
    }

    /// The same stores, with the times of their operations among the metrics.
    #[must_use]
    pub fn measured(mut self, metrics: &Arc<Metrics>) -> Self {
        let observer = Arc::new(StorageTimes(Arc::clone(metrics)));
        self.storage = Arc::new(Instrumented::new(self.storage, observer));
        self
    }
}

impl Config {
    /// Whether this process needs the data folder.
    pub fn uses_folder(&self) -> bool {
        self.database.is_none() || self.s3.is_none()
    }

    /// Whether another configuration keeps its bytes in the same folder or bucket.
    pub fn shares_bytes_with(&self, other: &Self) -> bool {
        let folder = |config: &Self| config.data.canonicalize().unwrap_or_else(|_| config.data.clone());
        let bucket = |s3: &S3Options| (s3.endpoint.clone(), s3.bucket.clone(), s3.prefix.clone());
        match (&self.s3, &other.s3) {
            (None, None) => folder(self) == folder(other),
            (Some(one), Some(two)) => bucket(one) == bucket(two),
            _ => false,
        }
    }
}

/// Where nodes share what they let through, if not in the database. It need not answer yet.
pub(super) fn shared_buckets(config: &Config) -> Result<Option<Arc<dyn SharedBuckets>>, AppError> {
    let Some(url) = &config.redis else { return Ok(None) };
    let fault = |source| AppError::Database { place: url.to_string(), source };
    Ok(Some(Arc::new(RedisBuckets::new(url.expose()).map_err(fault)?)))
}

async fn open_sqlite(config: &Config, create: bool) -> Result<SqliteStore, AppError> {
    let path = config.data.join("bonded.db");
    let options = SqliteOptions {
        create,
        synchronous_full: config.durability == Durability::Strict,
        ..SqliteOptions::new(&path)
    };
    SqliteStore::open(&options).await.map_err(|source| AppError::Database { place: path.display().to_string(), source })
}

async fn open_storage(config: &Config) -> Result<Arc<dyn BlobStore>, AppError> {
    if let Some(options) = &config.s3 {
        let place = format!("bucket {}", options.bucket);
        let store = S3Store::open(options.clone()).await.map_err(|source| AppError::Storage { place, source })?;
        return Ok(Arc::new(store));
    }
    let durability = match config.durability {
        Durability::Strict => fs::Durability::Strict,
        Durability::Relaxed => fs::Durability::Relaxed,
    };
    let boot_id = fs::kernel_boot_id().map_err(AppError::BootId)?;
    let options = FsOptions { root: config.data.clone(), durability, boot_id };
    let place = config.data.display().to_string();
    let store = FsStore::open(options).await.map_err(|source| AppError::Storage { place, source })?;
    Ok(Arc::new(store))
}

/// Puts the times of storage operations among the metrics.
#[derive(Debug)]
struct StorageTimes(Arc<Metrics>);

impl Observe for StorageTimes {
    fn observe(&self, operation: Operation, elapsed: Duration, outcome: Outcome) {
        self.0.observe_storage(operation.as_str(), outcome.as_str(), elapsed);
    }
}
