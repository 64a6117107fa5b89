//! Facts in SQLite: one file, one writing task, a few reading connections.
//!
//! - The database runs in WAL mode: readers never wait for the writer, and see what was answered as written.
//! - Every write goes through the `writer`; other processes (the command line) take turns by `BEGIN IMMEDIATE`.
//! - Reads are one statement each, or do not mind a write between two.

mod conn;
mod schema;
mod writer;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, SqlitePool, Transaction};
use tokio_util::sync::CancellationToken;

use crate::metadata::logic::Database;
use crate::metadata::{MetadataError, Result};
use writer::Writer;

pub use schema::MIGRATIONS;

/// Page cache of the writer in KiB; SQLite takes negative numbers as KiB.
const WRITER_CACHE: &str = "-2048";

/// Page cache of each reader in KiB: what is read often stays in the kernel's cache, and an idle server stays small.
const READER_CACHE: &str = "-512";

/// Largest write-ahead log that is kept between checkpoints, in bytes.
const JOURNAL_BYTES_MAX: &str = "67108864";

/// Prepared statements that a connection keeps: all there are.
const STATEMENTS_CACHED: usize = 256;

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
    readers: SqlitePool,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database, brings its schema up to date, and starts the writing task.
    ///
    /// # Errors
    /// [`MetadataError::Newer`] when a newer program made it; [`MetadataError::Unavailable`] when it may not be made or
    /// migrated and has to be.
    pub async fn open(options: &SqliteOptions) -> Result<Self> {
        let mut conn = connect_writer(options).await?;
        schema::migrate(&mut conn, options.create).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .min_connections(0)
            .test_before_acquire(false)
            .connect_lazy_with(connection(options).pragma("cache_size", READER_CACHE).pragma("query_only", "ON"));
        Ok(Self { readers, writer: Writer::start(conn, options.write_queue_max) })
    }

    /// Cancelled when the writing task has died; the process is of no use any more and must end.
    pub fn writer_died(&self) -> CancellationToken {
        self.writer.died().clone()
    }
}

impl Database for SqliteStore {
    type Conn = SqliteConnection;

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let mut conn = self.readers.acquire().await?;
        work(&mut conn).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        self.writer.call(work).await
    }

    type Snapshot = Transaction<'static, Sqlite>;

    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot>> + Send + 'static {
        let readers = self.readers.clone();
        async move { Ok(readers.begin().await?) }
    }

    fn check(&self) -> Result<()> {
        if self.writer.died().is_cancelled() {
            return Err(MetadataError::Unavailable("the writing task ended".to_owned()));
        }
        Ok(())
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

async fn connect_writer(options: &SqliteOptions) -> Result<SqliteConnection> {
    if !options.create && !options.path.exists() {
        return Err(MetadataError::Unavailable(format!("there is no database {}", options.path.display())));
    }
    let synchronous = if options.synchronous_full { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let conn = connection(options)
        .create_if_missing(options.create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", WRITER_CACHE)
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
        .connect()
        .await?;
    Ok(conn)
}

fn connection(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .statement_cache_capacity(STATEMENTS_CACHED)
        .disable_statement_logging()
}
