//! The database that is measured: a new one for each size.

use std::path::Path;

use anyhow::{Context as _, Result};
use bonded::metadata::MetadataStore;
use bonded::metadata::postgres::{PostgresOptions, PostgresStore};
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use conformance::servers::PostgresCluster;
use tempfile::TempDir;

/// An empty database, migrated.
pub(crate) struct Target {
    pub(crate) store: Box<dyn MetadataStore>,
    /// On Postgres, its name.
    database: Option<String>,
    /// On SQLite, where it is unless it stays.
    _folder: Option<TempDir>,
}

impl Target {
    pub(crate) async fn open(postgres: bool, folder: Option<&Path>, manifests: u64) -> Result<Self> {
        if postgres {
            let name = format!("growth_{manifests}");
            let url = PostgresCluster::shared()?.create_database(&name, None)?;
            let store = PostgresStore::open(&PostgresOptions::new(url)).await?;
            return Ok(Self { store: Box::new(store), database: Some(name), _folder: None });
        }
        let temporary = folder.is_none().then(tempfile::tempdir).transpose()?;
        let folder = temporary.as_ref().map(TempDir::path).or(folder).context("a folder")?;
        let path = folder.join(format!("growth-{manifests}.db"));
        let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::new(path) };
        Ok(Self { store: Box::new(SqliteStore::open(&options).await?), database: None, _folder: temporary })
    }

    /// Postgres does this by itself within minutes; the curve is to be that of a database that stood for a while.
    pub(crate) fn settle(&self) -> Result<()> {
        if let Some(database) = &self.database {
            PostgresCluster::shared()?.sql(database, "VACUUM ANALYZE")?;
        }
        Ok(())
    }
}
