//! Work that runs beside the requests: each job waits for a hint or its interval, runs, and backs off when it fails.

mod access;
mod audit;
mod deliver;
mod limits;
mod scrub;
mod sweep;
mod tls;
mod verdicts;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::WatchAccess;
pub use audit::SealAudit;
pub use deliver::Deliver;
pub use limits::ShareLimits;
pub use scrub::Scrub;
pub use sweep::Sweep;
pub use tls::ReloadTls;
pub use verdicts::SweepVerdicts;

/// Something to do again and again. Running it twice is running it once.
#[async_trait]
pub trait Job: fmt::Debug + Send + Sync {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// Longest pause between two runs.
    fn interval(&self) -> Duration;

    /// Longest pause after failures.
    fn backoff_max(&self) -> Duration {
        BACKOFF_MAX
    }

    /// Resolves when a run is worth while before the interval has passed.
    async fn hint(&self) {
        std::future::pending::<()>().await;
    }

    /// One run; says whether there is more to do at once.
    ///
    /// # Errors
    /// Whatever failed; it is logged, and the next run waits longer.
    async fn run(&self) -> anyhow::Result<bool>;
}

/// Longest pause of most jobs after failures.
const BACKOFF_MAX: Duration = Duration::from_mins(5);

/// Longest pause of those on which others wait: who was shut out stays out within seconds of a database's return.
const URGENT_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Runs a job until `stop` fires.
pub fn start(tracker: &TaskTracker, stop: CancellationToken, job: impl Job + 'static) {
    tracker.spawn(async move {
        let mut failures = 0;
        while !stop.is_cancelled() {
            // A run that panics has failed like any other; the job goes on.
            let more = match AssertUnwindSafe(job.run()).catch_unwind().await {
                Ok(Ok(more)) => {
                    failures = 0;
                    more
                }
                Ok(Err(error)) => {
                    failures += 1;
                    tracing::error!(job = job.name(), error = format!("{error:#}"), failures, "job failed");
                    false
                }
                Err(_) => {
                    failures += 1;
                    tracing::error!(job = job.name(), failures, "job panicked");
                    false
                }
            };
            if !more {
                pause(&job, failures, &stop).await;
            }
        }
    });
}

async fn pause(job: &impl Job, failures: u32, stop: &CancellationToken) {
    let interval = job.interval();
    if failures > 0 {
        // A hint does not shorten the pause after a failure: what failed would fail again.
        let backoff = interval.saturating_mul(1 << failures.min(8)).min(job.backoff_max());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(backoff) => {}
        }
        return;
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = job.hint() => {}
        () = tokio::time::sleep(interval) => {}
    }
}
