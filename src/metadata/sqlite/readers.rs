//! The connections that only read, each lent to one piece of work at a time.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metadata::sqlite::SqliteOptions;
use crate::metadata::sqlite::conn::SqliteConn;
use crate::metadata::{MetadataError, Result};

/// Page cache of each connection in KiB (SQLite takes negative numbers as KiB): what is read often stays in the kernel's
/// cache, and an idle server stays small.
const CACHE: &str = "-512";

/// The connections that nobody uses, and how many more there may be.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: SqliteOptions,
    idle: Mutex<Vec<SqliteConn>>,
    free: Arc<Semaphore>,
}

/// A connection on loan. Going back ends a transaction that is still under way.
#[derive(Debug)]
pub(crate) struct Reader {
    conn: Option<SqliteConn>,
    readers: Readers,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    /// Nothing is opened before it is needed.
    pub(super) fn new(options: &SqliteOptions) -> Self {
        let free = Arc::new(Semaphore::new(options.readers.max(1) as usize));
        Self(Arc::new(Inner { options: options.clone(), idle: Mutex::default(), free }))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] after [`close`](Self::close), or when the file cannot be opened.
    pub(super) async fn lend(&self) -> Result<Reader> {
        let permit = Arc::clone(&self.0.free).acquire_owned().await;
        let permit = permit.map_err(|_| MetadataError::Unavailable("the database is closed".to_owned()))?;
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => SqliteConn::open(&self.0.options, &[("cache_size", CACHE), ("query_only", "ON")])?.with_memory(),
        };
        Ok(Reader { conn: Some(conn), readers: self.clone(), _permit: permit })
    }

    /// Lends nothing more and closes what is idle; what is lent is closed when it comes back.
    pub(super) fn close(&self) {
        self.0.free.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConn>> {
        // A list of connections is whole between any two steps.
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Reader {
    type Target = SqliteConn;

    fn deref(&self) -> &SqliteConn {
        self.conn.as_ref().expect("a lent connection is there until it is dropped")
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut SqliteConn {
        self.conn.as_mut().expect("a lent connection is there until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let ended = conn.is_idle() || conn.command("ROLLBACK").is_ok();
        if ended && !self.readers.0.free.is_closed() {
            self.readers.idle().push(conn);
        }
    }
}
