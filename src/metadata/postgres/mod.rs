//! Facts in Postgres 14 or later: a pool of connections, any number of nodes on one database.
//!
//! - Transactions are READ COMMITTED. The logic locks rows before it judges them; what two transactions do to each other
//!   all the same (40001, 40P01) is undone and run again here.
//! - A write runs to its end whether or not somebody still waits for the answer, as on SQLite.
//! - A connection that broke is replaced without anybody noticing as long as nothing can have been done with it. When it
//!   breaks over COMMIT, nobody knows whether the write was kept, and the answer says so.

mod clock;
mod conn;
mod home;
mod schema;

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio_util::task::TaskTracker;

use crate::clock::{Entropy, SystemEntropy};
use crate::metadata::logic::{Database, Fault};
use crate::metadata::{MetadataError, Result};
use conn::PgConn;
use home::Home;

pub use clock::PostgresClock;
pub use schema::MIGRATIONS;

/// How often a transaction is run again that got into the way of another.
const CONFLICTS_MAX: u32 = 3;

/// How often a connection that broke while it was made is made again.
const CONNECTS_MAX: u32 = 3;

/// The first wait before something is tried again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(10);

/// How much longer than the server the client waits for the end of a statement.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// How statements are planned: by how they are written, not by how many rows there are.
///
/// A statement is planned when it is used for the first time, which may be when its tables are empty, and that plan is kept
/// until somebody analyzes them. So joins are done in their order, row by row, and an index is used wherever one fits.
/// What must scan all the same looks dear by that, so it must not be compiled for it.
pub const PLANNING: [(&str, &str); 6] = [
    ("join_collapse_limit", "1"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

/// For how long a transaction may stand idle before the server ends it: its node is gone.
const IDLE_IN_TRANSACTION: &str = "60s";

/// Prepared statements that a connection keeps: all there are.
const STATEMENTS_CACHED: usize = 256;

/// How to reach a database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=...`; what it leaves out comes from the variables of libpq.
    pub url: String,
    /// Whether the schema may be made and migrated. `false`, for commands beside a running server: it must be there as
    /// this program knows it.
    pub migrate: bool,
    /// Most connections of this process.
    pub connections_max: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may run.
    pub statement_timeout: Duration,
    /// How long a statement waits for one lock.
    pub lock_timeout: Duration,
}

impl PostgresOptions {
    /// The usual options for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            migrate: true,
            connections_max: 16,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
        }
    }

    /// Where the database is, without the password: for logs.
    ///
    /// # Errors
    /// [`MetadataError::Driver`] when the address cannot be read.
    pub fn place(&self) -> Result<String> {
        let parsed = self.parse()?;
        let database = parsed.get_database().unwrap_or(parsed.get_username());
        Ok(format!("{}@{}:{}/{database}", parsed.get_username(), parsed.get_host(), parsed.get_port()))
    }

    fn parse(&self) -> Result<PgConnectOptions> {
        let parsed = PgConnectOptions::from_str(&self.url)?;
        Ok(parsed.application_name("bonded").statement_cache_capacity(STATEMENTS_CACHED).disable_statement_logging())
    }

    fn pool(&self) -> Result<PgPool> {
        let connection = self.parse()?.options(PLANNING).options([
            ("statement_timeout", self.statement_timeout.as_millis().to_string()),
            ("lock_timeout", self.lock_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_owned()),
        ]);
        Ok(PgPoolOptions::new()
            .max_connections(self.connections_max.max(1))
            .min_connections(0)
            .acquire_timeout(self.acquire_timeout)
            // A stale connection shows at the first statement, which is then run on another one.
            .test_before_acquire(false)
            .connect_lazy_with(connection))
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("place", &self.place().ok())
            .field("migrate", &self.migrate)
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

/// Facts in a Postgres database.
#[derive(Debug)]
pub struct PostgresStore {
    lender: Lender,
    /// The writes under way.
    writes: TaskTracker,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`MetadataError::Newer`] when a newer program made the database; [`MetadataError::Unavailable`] when it cannot be
    /// reached, or is old and may not be migrated.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        // Without a limit of time for its statements: a migration takes as long as it takes.
        let connected = tokio::time::timeout(options.acquire_timeout, options.parse()?.connect()).await;
        let mut conn = connected
            .map_err(|_| MetadataError::Unavailable(format!("no answer within {:?}", options.acquire_timeout)))??;
        schema::migrate(&mut conn, options.migrate, options.lock_timeout).await?;
        conn.close().await?;
        let lender = Lender {
            pool: options.pool()?,
            home: Arc::new(Home::new(options.connections_max.max(1), options.acquire_timeout)),
            connections_max: options.connections_max.max(1),
            answer_max: options.statement_timeout.saturating_add(ANSWER_GRACE),
        };
        Ok(Self { lender, writes: TaskTracker::new() })
    }
}

impl Database for PostgresStore {
    type Conn = PgConn;

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        self.lender.read(&work).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let lender = self.lender.clone();
        let write = self.writes.spawn(async move { lender.write(&work).await });
        write.await.map_err(|error| MetadataError::Unavailable(format!("the write ended before its time: {error}")))?
    }

    type Snapshot = Box<PgConn>;

    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot>> + Send + 'static {
        let lender = self.lender.clone();
        async move { lender.snapshot().await }
    }

    fn check(&self) -> Result<()> {
        if self.lender.pool.is_closed() {
            return Err(MetadataError::Unavailable("the database is closed".to_owned()));
        }
        Ok(())
    }

    async fn close(&self) {
        self.writes.close();
        self.writes.wait().await;
        self.lender.home.close();
        self.lender.pool.close().await;
    }
}

/// Lends connections and decides when work is run again.
#[derive(Clone, Debug)]
struct Lender {
    pool: PgPool,
    home: Arc<Home>,
    connections_max: u32,
    answer_max: Duration,
}

impl Lender {
    /// Runs work that only reads; once more when the connection breaks in the middle of it.
    async fn read<T>(&self, work: &(impl Fn(&mut PgConn) -> BoxFuture<'_, Result<T>> + Sync)) -> Result<T> {
        let mut broken = Broken::new(self.connections_max);
        loop {
            let mut conn = self.lend().await?;
            match work(&mut conn).await {
                Err(_) if broken.may_try_again(&conn) => {}
                outcome => return outcome,
            }
        }
    }

    /// Runs work as a transaction; again when others were in its way, and once more when the connection breaks before
    /// COMMIT was sent.
    async fn write<T>(&self, work: &(impl Fn(&mut PgConn) -> BoxFuture<'_, Result<T>> + Sync)) -> Result<T> {
        let mut broken = Broken::new(self.connections_max);
        let mut conflicts = 0;
        loop {
            let mut conn = self.lend().await?;
            let outcome = Self::transaction(&mut conn, work).await;
            match outcome {
                Err(_) if broken.may_try_again(&conn) => {}
                Err(_) if conn.fault() == Some(Fault::Conflict) && conflicts < CONFLICTS_MAX => {
                    drop(conn);
                    tokio::time::sleep(backoff(conflicts)).await;
                    conflicts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn transaction<T>(
        conn: &mut PgConn,
        work: &(impl Fn(&mut PgConn) -> BoxFuture<'_, Result<T>> + Sync),
    ) -> Result<T> {
        conn.begin().await?;
        match work(conn).await {
            Ok(value) => conn.commit().await.map(|()| value),
            Err(error) => {
                conn.rollback().await;
                Err(error)
            }
        }
    }

    /// A connection that reads everything as of one moment until it is dropped.
    async fn snapshot(&self) -> Result<Box<PgConn>> {
        let mut broken = Broken::new(self.connections_max);
        loop {
            let mut conn = Box::new(self.lend().await?);
            match conn.begin_snapshot().await {
                Err(_) if broken.may_try_again(&conn) => {}
                outcome => return outcome.map(|()| conn),
            }
        }
    }

    /// A connection that is there, or a new one of the pool, which waits for a server that refuses connections, but gives
    /// up on one that breaks them.
    async fn lend(&self) -> Result<PgConn> {
        let (permit, conn) = self.home.take().await?;
        if let Some(conn) = conn {
            return Ok(PgConn::new(conn, Arc::clone(&self.home), permit, self.answer_max));
        }
        let mut tries = 0;
        loop {
            match self.pool.acquire().await {
                Ok(conn) => return Ok(PgConn::new(conn, Arc::clone(&self.home), permit, self.answer_max)),
                Err(error) if Fault::of(&error) == Fault::Broken && tries < CONNECTS_MAX => {
                    tokio::time::sleep(backoff(tries)).await;
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Counts broken connections, so that work is not run again for ever.
#[derive(Debug)]
struct Broken {
    /// Connections that broke before they answered anything: as many as the pool may have kept over a restart.
    stale_left: u32,
    /// Whether one broke later.
    once: bool,
}

impl Broken {
    fn new(connections_max: u32) -> Self {
        Self { stale_left: connections_max, once: false }
    }

    /// Whether the connection broke, and the work should be run on another one.
    fn may_try_again(&mut self, conn: &PgConn) -> bool {
        if conn.fault() != Some(Fault::Broken) {
            return false;
        }
        if !conn.has_answered() && self.stale_left > 0 {
            self.stale_left -= 1;
            return true;
        }
        !std::mem::replace(&mut self.once, true)
    }
}

/// How long to wait before the `n`th repetition: about twice as long each time, and not for everybody the same.
fn backoff(n: u32) -> Duration {
    let base = BACKOFF * 2u32.saturating_pow(n);
    let percent = 50 + u32::from(SystemEntropy.bytes16()[0]) * 100 / 255;
    base * percent / 100
}
