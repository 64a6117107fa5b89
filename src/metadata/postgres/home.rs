//! Where connections are between two pieces of work.
//!
//! The pool of sqlx asks the server a question each time that a connection comes back to it, which doubles what a read
//! costs. So a connection that is known to be fit waits here, and the pool only makes new ones and looks after the
//! doubtful. A permit stands for a connection in use: whoever has one finds a connection here or room in the pool.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::metadata::{MetadataError, Result};

/// How long a connection waits here before it goes back to the pool, which closes those that nobody needs.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// Fit connections, and how many more may be in use.
#[derive(Debug)]
pub(super) struct Home {
    /// The longest here comes first.
    fit: Mutex<Vec<(Instant, PoolConnection<Postgres>)>>,
    free: Arc<Semaphore>,
    acquire_timeout: Duration,
}

impl Home {
    /// Room for `connections_max`, which must be what the pool may have.
    pub(super) fn new(connections_max: u32, acquire_timeout: Duration) -> Self {
        let free = Arc::new(Semaphore::new(connections_max as usize));
        Self { fit: Mutex::default(), free, acquire_timeout }
    }

    /// Waits until a connection may be used, and gives one if one is here.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] when others use all of them for too long, and after [`close`](Self::close).
    pub(super) async fn take(&self) -> Result<(OwnedSemaphorePermit, Option<PoolConnection<Postgres>>)> {
        let permit = tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.free).acquire_owned()).await;
        let permit = permit
            .map_err(|_| MetadataError::Unavailable("all connections to the database are in use".to_owned()))?
            .map_err(|_| MetadataError::Unavailable("the database is closed".to_owned()))?;
        let conn = self.fit().pop().map(|(_, conn)| conn);
        Ok((permit, conn))
    }

    /// Keeps a connection that has nothing under way. To be called before its permit is given back.
    pub(super) fn keep(&self, mut conn: PoolConnection<Postgres>) {
        // What an upload keeps in its row leaves buffers of megabytes behind, on every connection in the end.
        conn.shrink_buffers();
        if self.free.is_closed() {
            return;
        }
        let mut fit = self.fit();
        let now = Instant::now();
        let old = fit.iter().take_while(|(since, _)| now.duration_since(*since) >= WAIT_MAX).count();
        let old: Vec<_> = fit.drain(..old).collect();
        fit.push((now, conn));
        drop(fit);
        // Outside the lock, since the pool takes them from here.
        drop(old);
    }

    /// Gives everything back to the pool and lends nothing more.
    pub(super) fn close(&self) {
        self.free.close();
        let all = std::mem::take(&mut *self.fit());
        drop(all);
    }

    fn fit(&self) -> MutexGuard<'_, Vec<(Instant, PoolConnection<Postgres>)>> {
        // A list of connections is whole between any two steps.
        self.fit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
