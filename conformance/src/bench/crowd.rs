//! Many connections that want little, beside the few that are measured.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Semaphore, mpsc, watch};

use super::client::Connection;
use super::load::{self, Plan, Turn, Worker};

/// Who stands by.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    /// All connections, those that are measured among them.
    connections: usize,
    request: Vec<u8>,
    is_slow: bool,
}

impl Crowd {
    /// 500 clients that read an answer slowly.
    pub(crate) fn slow(request: Vec<u8>) -> Self {
        Self { connections: 500, request, is_slow: true }
    }

    /// 10,000 connections that have had an answer and do nothing, those that are measured included.
    pub(crate) fn idle(request: Vec<u8>) -> Self {
        Self { connections: 10_000, request, is_slow: false }
    }
}

/// Runs a load while the crowd is there; fails if not all of it could come.
pub(crate) fn run<F>(plan: Plan, authorities: &[String], crowd: &Crowd, operate: &F) -> Result<Turn>
where
    F: AsyncFn(&mut Worker) -> Result<u64> + Sync,
{
    let (stop, stopped) = watch::channel(false);
    let (here, mut arrivals) = mpsc::channel(crowd.connections);
    let members = crowd.connections - if crowd.is_slow { 0 } else { plan.connections.min(crowd.connections) };
    std::thread::scope(|scope| {
        let standing = scope.spawn(|| stand(members, authorities, crowd, here, &stopped));
        let mut arrived = 0;
        // The channel ends early when a member failed, which ends all of them.
        while arrived < members && arrivals.blocking_recv().is_some() {
            arrived += 1;
        }
        let turn = if arrived == members { Some(load::run(plan, authorities, operate)) } else { None };
        stop.send_replace(true);
        let stood = standing.join().map_err(|_| anyhow!("the thread of the crowd ended early"))?;
        stood.with_context(|| format!("{arrived} of {members} connections could be held"))?;
        turn.context("the crowd did not come")?
    })
}

fn stand(
    members: usize,
    authorities: &[String],
    crowd: &Crowd,
    here: mpsc::Sender<()>,
    stopped: &watch::Receiver<bool>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // More at once would overflow the queue of a listening socket.
        let door = Semaphore::new(DOOR);
        let mut running: FuturesUnordered<_> = (0..members)
            .map(|at| {
                let authority = authorities.get(at % authorities.len());
                member(authority, crowd, &door, here.clone(), stopped.clone())
            })
            .collect();
        drop(here);
        while let Some(ended) = running.next().await {
            ended?;
        }
        Ok(())
    })
}

async fn member(
    authority: Option<&String>,
    crowd: &Crowd,
    door: &Semaphore,
    here: mpsc::Sender<()>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let authority = authority.context("a target without an address")?;
    let pass = door.acquire().await?;
    let mut connection = Connection::with_buffer(authority, if crowd.is_slow { SLOW_BYTES } else { 2048 });
    let mut left = arrive(&mut connection, crowd).await?;
    drop(pass);
    here.send(()).await?;
    while crowd.is_slow && !*stopped.borrow() {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = tokio::time::sleep(SLOW_PAUSE) => {
                if left == 0 {
                    left = arrive(&mut connection, crowd).await?;
                }
                left -= connection.next_piece().await?.min(left);
            }
        }
    }
    // The sender cannot be gone before it has said so.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    Ok(())
}

/// Sends the request; gives the bytes that are still to be read.
async fn arrive(connection: &mut Connection, crowd: &Crowd) -> Result<u64> {
    let (status, length) = tokio::time::timeout(ARRIVAL_MAX, async {
        if crowd.is_slow {
            return connection.begin(&[&crowd.request]).await;
        }
        Ok((connection.exchange(false, &[&crowd.request]).await?.status, 0))
    })
    .await??;
    ensure!(status == 200, "a client of the crowd was answered with {status}");
    Ok(length)
}

const DOOR: usize = 64;
/// A slow client reads so much every so often.
const SLOW_BYTES: usize = 16 << 10;
const SLOW_PAUSE: Duration = Duration::from_millis(100);
const ARRIVAL_MAX: Duration = Duration::from_mins(1);
