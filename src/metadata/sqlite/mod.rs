//! Facts in SQLite: one file, one writing task, a few reading connections.
//!
//! - The database runs in WAL mode: readers never wait for the writer, and see what was answered as written.
//! - Every write goes through the `writer`; other processes (the command line) take turns by `BEGIN IMMEDIATE`.
//! - Reads are one statement each, or do not mind a write between two.

mod checkpoints;
mod conn;
mod kept;
mod readers;
mod schema;
mod writer;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use crate::metadata::logic::Database;
use crate::metadata::{MetadataError, Result};
use checkpoints::Checkpoints;
use conn::SqliteConn;
use readers::{Reader, Readers};
use writer::{Fate, Writer};

pub use schema::MIGRATIONS;

/// Page cache of the writer in KiB; SQLite takes negative numbers as KiB.
const WRITER_CACHE: &str = "-2048";

/// Page cache of the connection that moves pages, which goes around it.
const CHECKPOINT_CACHE: &str = "-64";

/// Largest write-ahead log that is kept between checkpoints, in bytes.
const JOURNAL_BYTES_MAX: &str = "67108864";

/// Pages in the write-ahead log (4 KiB each, 64 MB in all) from which on a COMMIT moves those into the database that are
/// not there yet, and the log begins anew. Most of the work is done by then, beside the writer.
const CHECKPOINT_PAGES: &str = "16000";

/// How to open a database.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// Whether the file may be made and migrated. `false`, for commands beside a running server: it must be there with
    /// the schema of this program.
    pub create: bool,
    /// Whether an answered write survives a power cut (`synchronous=FULL`), not only the end of the process (`NORMAL`).
    pub synchronous_full: bool,
    /// Most reading connections.
    pub readers: u32,
    /// How long a write waits for the writes of another process.
    pub busy_timeout: Duration,
    /// Most writes that may wait.
    pub write_queue_max: usize,
}

impl SqliteOptions {
    /// The usual options for the database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: true,
            synchronous_full: true,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            write_queue_max: 1024,
        }
    }
}

/// Facts in an SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    readers: Readers,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database, brings its schema up to date, and starts the writing task.
    ///
    /// # Errors
    /// [`MetadataError::Newer`] when a newer program made it; [`MetadataError::Unavailable`] when it may not be made or
    /// migrated and has to be.
    pub async fn open(options: &SqliteOptions) -> Result<Self> {
        prepare(options).await?;
        let synchronous = if options.synchronous_full { "FULL" } else { "NORMAL" };
        let settings = [
            ("synchronous", synchronous),
            ("cache_size", WRITER_CACHE),
            ("journal_size_limit", JOURNAL_BYTES_MAX),
            ("wal_autocheckpoint", CHECKPOINT_PAGES),
            // What a statement that fails would put back is a few pages; they need no file.
            ("temp_store", "MEMORY"),
        ];
        let conn = SqliteConn::open(options, &settings)?;
        let conn = if options.synchronous_full { conn.with_choice() } else { conn };
        let checkpoints = Checkpoints::start(SqliteConn::open(options, &[("cache_size", CHECKPOINT_CACHE)])?);
        let writer = Writer::start(conn, options.write_queue_max, checkpoints);
        Ok(Self { readers: Readers::new(options), writer })
    }

    /// Cancelled when the writing task has died; the process is of no use any more and must end.
    pub fn writer_died(&self) -> CancellationToken {
        self.writer.died().clone()
    }
}

impl Database for SqliteStore {
    type Conn = SqliteConn;

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let mut conn = self.readers.lend().await?;
        work(&mut conn).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        self.writer.call(Fate::Kept, work).await
    }

    async fn write_progress<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        self.writer.call(Fate::MayBeLost, work).await
    }

    type Snapshot = Reader;

    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot>> + Send + 'static {
        let readers = self.readers.clone();
        async move {
            let reader = readers.lend().await?;
            reader.command("BEGIN")?;
            Ok(reader)
        }
    }

    fn check(&self) -> Result<()> {
        if self.writer.died().is_cancelled() {
            return Err(MetadataError::Unavailable("the writing task ended".to_owned()));
        }
        Ok(())
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

/// Makes the file and its schema, where that is allowed and needed.
async fn prepare(options: &SqliteOptions) -> Result<()> {
    if !options.create && !options.path.exists() {
        return Err(MetadataError::Absent);
    }
    let mut conn = SqliteConnectOptions::new()
        .filename(&options.path)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .create_if_missing(options.create)
        .journal_mode(SqliteJournalMode::Wal)
        .disable_statement_logging()
        .connect()
        .await?;
    schema::migrate(&mut conn, options.create).await?;
    Ok(conn.close().await?)
}
