//! Keeps the time of this node in step with the database's, and says when it was not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::http::ClockDoubt;
use crate::jobs::Job;
use crate::metadata::postgres::PostgresClock;

/// Measures the offset to the database's clock every minute.
#[derive(Debug)]
pub(super) struct SyncClock {
    clock: Arc<PostgresClock>,
    doubt: ClockDoubt,
}

impl SyncClock {
    /// Keeps `clock` in step; a jump raises `doubt` until the next measurement.
    pub(super) fn new(clock: Arc<PostgresClock>, doubt: ClockDoubt) -> Self {
        Self { clock, doubt }
    }
}

#[async_trait]
impl Job for SyncClock {
    fn name(&self) -> &'static str {
        "clock_sync"
    }

    fn interval(&self) -> Duration {
        Duration::from_mins(1)
    }

    async fn run(&self) -> anyhow::Result<bool> {
        self.clock.sync().await?;
        let jump = self.clock.jump();
        if let Some(jump) = jump {
            let seconds = jump.as_secs_f64();
            tracing::error!(seconds, "this machine's clock or the database's jumped; not ready for a minute");
        }
        self.doubt.set(jump.is_some());
        Ok(false)
    }
}
