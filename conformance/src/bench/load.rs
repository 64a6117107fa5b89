//! The load: so many connections, each with one operation at a time, until the time is over.
//!
//! Threads of their own drive it, each with some of the connections and none of the others' locks.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::client::Connection;
use super::stats::percentile;

/// How much load, for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Connections at once.
    pub(crate) connections: usize,
    /// No operation begins later than this.
    pub(crate) time: Duration,
    /// Most operations of one connection; with such a bound, rates are over the time of the slowest connection.
    pub(crate) operations_max: Option<u64>,
    /// What a connection reads at a time.
    pub(crate) buffer_bytes: usize,
}

/// One connection and who it belongs to.
pub(crate) struct Worker {
    /// Where requests go.
    pub(crate) connection: Connection,
    /// Counts the workers of a turn from zero.
    pub(crate) index: usize,
    /// Counts the operations of this worker from zero.
    pub(crate) count: usize,
}

/// What one target did in one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// Operations that succeeded.
    pub(crate) operations: u64,
    /// Content that they moved.
    pub(crate) bytes: u64,
    /// Operations each second, summed over the connections.
    pub(crate) operations_rate: f64,
    /// Bytes each second, summed over the connections.
    pub(crate) bytes_rate: f64,
    /// Half of the operations took at most so many microseconds.
    pub(crate) p50_us: u32,
    /// 99 of 100 operations took at most so many microseconds.
    pub(crate) p99_us: u32,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// Why the first of them did.
    pub(crate) first_error: Option<String>,
}

/// Lets workers run `operate` over and over; it gives the bytes of content it moved. The authorities are those of the
/// nodes, over which connections are spread.
pub(crate) fn run<F>(plan: Plan, authorities: &[String], operate: &F) -> Result<Turn>
where
    F: AsyncFn(&mut Worker) -> Result<u64> + Sync,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(plan.connections);
    let barrier = Barrier::new(threads);
    let tallies = std::thread::scope(|scope| {
        let drive = |thread| drive(plan, authorities, thread, threads, &barrier, operate);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || drive(thread))).collect();
        let joined =
            running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a load thread ended early"))?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok(summary(tallies.into_iter().flatten().collect(), plan.operations_max.is_some()))
}

/// Drives every `threads`-th connection.
fn drive<F>(
    plan: Plan,
    authorities: &[String],
    thread: usize,
    threads: usize,
    barrier: &Barrier,
    operate: &F,
) -> Result<Vec<Tally>>
where
    F: AsyncFn(&mut Worker) -> Result<u64>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let workers = runtime.as_ref().map_or(Ok(Vec::new()), |runtime| {
        runtime.block_on(async {
            let mut workers = Vec::new();
            for index in (thread..plan.connections).step_by(threads) {
                let authority = authorities.get(index % authorities.len()).context("a target without an address")?;
                let mut connection = Connection::with_buffer(authority, plan.buffer_bytes);
                connection.open().await?;
                workers.push(Worker { connection, index, count: 0 });
            }
            Ok::<_, anyhow::Error>(workers)
        })
    });
    // All threads come here, whatever happened, so that none waits for ever.
    barrier.wait();
    let begin = Instant::now();
    runtime?.block_on(async {
        let running: FuturesUnordered<_> =
            workers?.into_iter().map(|worker| work(worker, plan, begin, operate)).collect();
        Ok::<_, anyhow::Error>(running.collect().await)
    })
}

/// What one worker did.
#[derive(Default)]
pub(crate) struct Tally {
    operations: u64,
    bytes: u64,
    /// How long it was at work.
    pub(crate) seconds: f64,
    latencies_us: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    /// Counts an operation that moved so many bytes of content.
    pub(crate) fn add(&mut self, bytes: u64, took: Duration) {
        self.operations += 1;
        self.bytes += bytes;
        self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }
}

async fn work<F>(mut worker: Worker, plan: Plan, begin: Instant, operate: &F) -> Tally
where
    F: AsyncFn(&mut Worker) -> Result<u64>,
{
    let mut tally = Tally::default();
    let mut now = begin;
    while now.duration_since(begin) < plan.time && plan.operations_max.is_none_or(|max| tally.operations < max) {
        let outcome = match tokio::time::timeout(OPERATION_MAX, operate(&mut worker)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("not finished after {} s", OPERATION_MAX.as_secs())),
        };
        let end = Instant::now();
        worker.count += 1;
        match outcome {
            Ok(bytes) => tally.add(bytes, end.duration_since(now)),
            Err(error) => {
                worker.connection.close();
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| format!("{error:#}"));
                if tally.errors >= ERRORS_MAX {
                    break;
                }
            }
        }
        now = end;
    }
    tally.seconds = now.duration_since(begin).as_secs_f64();
    tally
}

/// Adds up what workers did; with a bound on their operations, over the time of the slowest.
pub(crate) fn summary(mut tallies: Vec<Tally>, is_bounded: bool) -> Turn {
    if is_bounded {
        let slowest = tallies.iter().map(|tally| tally.seconds).fold(0.0, f64::max);
        for tally in &mut tallies {
            tally.seconds = slowest;
        }
    }
    let mut turn = Turn::default();
    let mut latencies = Vec::new();
    for tally in tallies {
        turn.operations += tally.operations;
        turn.bytes += tally.bytes;
        if tally.seconds > 0.0 {
            turn.operations_rate += float(tally.operations) / tally.seconds;
            turn.bytes_rate += float(tally.bytes) / tally.seconds;
        }
        turn.errors += tally.errors;
        turn.first_error = turn.first_error.or(tally.first_error);
        latencies.extend(tally.latencies_us);
    }
    turn.p50_us = percentile(&mut latencies, 500);
    turn.p99_us = percentile(&mut latencies, 990);
    turn
}

#[expect(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// An operation that takes longer has failed.
const OPERATION_MAX: Duration = Duration::from_mins(2);
/// After so many failures a worker gives up.
const ERRORS_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(operations: u64, seconds: f64, latencies_us: &[u32]) -> Tally {
        Tally { operations, bytes: operations * 10, seconds, latencies_us: latencies_us.to_vec(), ..Tally::default() }
    }

    #[test]
    fn each_worker_counts_with_its_own_time() {
        let failed = Tally { errors: 2, first_error: Some("refused".into()), ..Tally::default() };
        let turn = summary(vec![tally(10, 2.0, &[1, 2]), tally(3, 1.5, &[900]), failed], false);
        assert_eq!((turn.operations, turn.bytes, turn.p50_us, turn.p99_us), (13, 130, 2, 900));
        assert!((turn.operations_rate - 7.0).abs() < 1e-9 && (turn.bytes_rate - 70.0).abs() < 1e-9);
        assert_eq!((turn.errors, turn.first_error.as_deref()), (2, Some("refused")));
    }

    #[test]
    fn a_bounded_turn_takes_as_long_as_its_slowest_worker() {
        let turn = summary(vec![tally(1, 0.5, &[1]), tally(1, 2.0, &[2])], true);
        assert!((turn.operations_rate - 1.0).abs() < 1e-9);
    }

    #[test]
    fn all_connections_work_until_their_operations_are_done() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let plan = Plan { connections: 5, time: Duration::from_mins(1), operations_max: Some(3), buffer_bytes: 64 };
        let operate = async |worker: &mut Worker| {
            anyhow::ensure!(worker.index != 4 || worker.count != 0, "the first one of the last");
            Ok(2)
        };
        let turn = run(plan, &[authority], &operate).unwrap();
        assert_eq!((turn.operations, turn.bytes, turn.errors), (15, 30, 1));
    }
}
