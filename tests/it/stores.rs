//! Where a test registry keeps its facts and bytes: SQLite and a folder, or Postgres and a bucket.
//!
//! The tests on the wire run on either. `TEST_STORES=postgres-s3` chooses the second for those that do not choose
//! themselves, so that one suite says the same about both.

use std::path::PathBuf;
use std::sync::Arc;

use bonded::metadata::MetadataStore;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::audit::AuditStore;
use bonded::metadata::postgres::PostgresStore;
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::metadata::webhooks::WebhookStore;
use bonded::storage::BlobStore;
use bonded::storage::fs::{Durability, FsOptions, FsStore};
use bonded::storage::s3::{S3Credentials, S3Options, S3Store};
use conformance::servers::Versitygw;
use tempfile::TempDir;

use crate::postgres::Database;

/// A place for facts and bytes that goes with the value.
pub(crate) enum Place {
    /// What one machine has.
    Local(TempDir),
    /// What many nodes share.
    Shared {
        /// The database.
        database: Database,
        /// The bucket.
        bucket: String,
    },
}

/// One node's connections to a place.
pub(crate) struct Stores {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) audit: Arc<dyn AuditStore>,
    pub(crate) webhooks: Arc<dyn WebhookStore>,
    pub(crate) storage: Arc<dyn BlobStore>,
}

impl Place {
    /// As the environment says.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests chooses")]
    pub(crate) fn chosen() -> Self {
        match std::env::var("TEST_STORES").as_deref() {
            Ok("postgres-s3") => Self::shared(),
            Ok(other) => panic!("TEST_STORES: `{other}` is not `postgres-s3`"),
            Err(_) => Self::Local(tempfile::tempdir().expect("a folder for the test")),
        }
    }

    /// On Postgres and a real S3 server.
    pub(crate) fn shared() -> Self {
        let bucket = gateway().create_any_bucket("node").expect("a bucket");
        Self::Shared { database: Database::migrated(), bucket }
    }

    /// Opens it for one node, without waiting for the disk.
    pub(crate) async fn open(&self) -> Stores {
        match self {
            Self::Local(folder) => {
                let path = folder.path().join("bonded.db");
                let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::new(path) };
                let database = Arc::new(SqliteStore::open(&options).await.expect("a new database"));
                let accounts = Arc::<SqliteStore>::clone(&database);
                let audit = Arc::<SqliteStore>::clone(&database);
                let webhooks = Arc::<SqliteStore>::clone(&database);
                let (root, boot_id) = (folder.path().to_owned(), "test".to_owned());
                let options = FsOptions { root, durability: Durability::Relaxed, boot_id };
                let storage = FsStore::open(options).await.expect("a new store");
                Stores { metadata: database, accounts, audit, webhooks, storage: Arc::new(storage) }
            }
            Self::Shared { database, bucket } => {
                let storage = S3Store::open(s3_options(bucket)).await.expect("a bucket");
                let database = Arc::new(database.open().await);
                let accounts = Arc::<PostgresStore>::clone(&database);
                let audit = Arc::<PostgresStore>::clone(&database);
                let webhooks = Arc::<PostgresStore>::clone(&database);
                Stores { metadata: database, accounts, audit, webhooks, storage: Arc::new(storage) }
            }
        }
    }

    /// The folder in which the objects end up as files.
    pub(crate) fn folder(&self) -> PathBuf {
        match self {
            Self::Local(folder) => folder.path().to_owned(),
            Self::Shared { bucket, .. } => gateway().bucket_folder(bucket),
        }
    }
}

fn gateway() -> &'static Versitygw {
    Versitygw::shared().expect("an S3 server")
}

fn s3_options(bucket: &str) -> S3Options {
    let gateway = gateway();
    let credentials = S3Credentials::Static {
        access_key: gateway.access_key().to_owned(),
        secret_key: gateway.secret_key().to_owned(),
        session_token: None,
    };
    S3Options {
        region: Some(gateway.region().to_owned()),
        endpoint: Some(gateway.endpoint()),
        path_style: true,
        credentials,
        ..S3Options::new(bucket)
    }
}
