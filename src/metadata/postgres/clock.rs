//! The database's time, which is the time of every node: the machine's clock and an offset that is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Database, values};
use crate::metadata::postgres::PostgresStore;
use crate::metadata::sql::checks::CLOCK;

/// How far the offset may move between two measurements without being a jump.
const JUMP: Duration = Duration::from_secs(5);

/// Measurements of which the one with the quickest answer counts.
const ROUNDS: usize = 3;

/// A clock that shows the time of a Postgres database.
///
/// It runs with the machine's clock; [`sync`](Self::sync) is to be called every minute.
#[derive(Debug)]
pub struct PostgresClock {
    store: Arc<PostgresStore>,
    machine: Arc<dyn Clock>,
    /// Microseconds from the machine's time to the database's.
    offset: AtomicI64,
    /// By how many microseconds the offset moved at the last measurement.
    moved: AtomicI64,
}

impl PostgresClock {
    /// Measures the offset of `machine` to the database for the first time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn new(store: Arc<PostgresStore>, machine: Arc<dyn Clock>) -> Result<Self> {
        let offset = measure(&store, &machine).await?;
        Ok(Self { store, machine, offset: AtomicI64::new(offset), moved: AtomicI64::new(0) })
    }

    /// Measures again. From here on the clock shows the database's time, however wrong it was before.
    ///
    /// # Errors
    /// When the database does not answer; then the clock goes on as it was.
    pub async fn sync(&self) -> Result<()> {
        let offset = measure(&self.store, &self.machine).await?;
        let before = self.offset.swap(offset, Ordering::SeqCst);
        self.moved.store(offset.saturating_sub(before), Ordering::SeqCst);
        Ok(())
    }

    /// By how much one of the clocks jumped before the last measurement, if it did: until the next measurement finds them
    /// in step, what this node says about time is not to be trusted, and it is not ready.
    pub fn jump(&self) -> Option<Duration> {
        let moved = Duration::from_micros(self.moved.load(Ordering::SeqCst).unsigned_abs());
        (moved > JUMP).then_some(moved)
    }
}

impl Clock for PostgresClock {
    fn now(&self) -> Timestamp {
        let machine = self.machine.now().as_micros();
        Timestamp::from_micros(machine.saturating_add(self.offset.load(Ordering::SeqCst)))
    }
}

/// Microseconds from the machine's time to the database's. The database reads its clock about half way between question
/// and answer, so the quickest of several answers is the most exact.
async fn measure(store: &PostgresStore, machine: &Arc<dyn Clock>) -> Result<i64> {
    let machine = Arc::clone(machine);
    store
        .read(move |conn| {
            let machine = Arc::clone(&machine);
            Box::pin(async move {
                let mut best: Option<(i64, i64)> = None;
                for _ in 0..ROUNDS {
                    let asked = machine.now().as_micros();
                    let database: i64 = conn.scalar(&CLOCK, values![]).await?;
                    let took = machine.now().as_micros().saturating_sub(asked);
                    let offset = database.saturating_sub(asked).saturating_sub(took / 2);
                    if best.is_none_or(|(quickest, _)| took < quickest) {
                        best = Some((took, offset));
                    }
                }
                Ok(best.map_or(0, |(_, offset)| offset))
            })
        })
        .await
}
