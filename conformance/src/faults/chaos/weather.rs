//! What goes wrong beneath the workers, by chance: with the nodes, with Postgres and with S3, each at its own pace.

use anyhow::{Context as _, Result};
use conformance::servers::{Fault, Operation, Restart, Rule};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, sleep};

use super::Beneath;
use super::stats::Stats;
use crate::content::Random;
use crate::server::Server;

/// How long a node may take to come back.
const RETURN_MAX: Duration = Duration::from_mins(1);

/// How late S3 answers at times.
const S3_LATE: Duration = Duration::from_millis(400);
/// After this time no request waits in the proxy any more that was late.
const S3_LATE_MAX: Duration = Duration::from_millis(600);

/// The one who makes it.
pub(super) struct Weather<'a> {
    servers: &'a mut [Server],
    sky: Sky<'a>,
    beneath: Option<&'a Beneath>,
}

/// Chance, and where it is written down.
struct Sky<'a> {
    random: Random,
    stats: &'a Stats,
}

impl<'a> Weather<'a> {
    pub(super) fn new(servers: &'a mut [Server], beneath: Option<&'a Beneath>, seed: u64, stats: &'a Stats) -> Self {
        Self { servers, sky: Sky { random: Random::new(seed), stats }, beneath }
    }

    /// Makes weather for nodes, Postgres and S3, each on its own, until `end`; then everything is whole again.
    pub(super) async fn rage(&mut self, end: Instant) -> Result<()> {
        let Self { servers, sky, beneath } = self;
        let Some(beneath) = beneath else { return rage_at_nodes(servers, sky, end).await };
        tokio::try_join!(
            rage_at_nodes(servers, sky, end),
            rage_at_postgres(beneath, sky, end),
            rage_at_s3(beneath, sky, end)
        )?;
        Ok(())
    }
}

/// Nodes are killed, or stopped in order, one at a time.
async fn rage_at_nodes(servers: &mut [Server], sky: &Sky<'_>, end: Instant) -> Result<()> {
    while Instant::now() < end {
        sky.hold(300, 3000).await;
        let at = usize::try_from(sky.random.below(servers.len() as u64)).unwrap_or_default();
        let server = &mut servers[at];
        if sky.random.below(6) == 0 {
            sky.stats.weather("node stopped in order");
            server.stop().await.with_context(|| format!("node {at}"))?;
        } else {
            sky.stats.weather("node killed");
            server.kill().await?;
            sky.hold(0, 800).await;
        }
        bring_back(server, sky).await.with_context(|| format!("node {at}"))?;
    }
    Ok(())
}

/// Starts a node as often as it takes: whoever starts while nothing works says so and ends.
async fn bring_back(server: &mut Server, sky: &Sky<'_>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match server.restart().await {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > RETURN_MAX => return Err(error),
            Err(_) => sky.stats.weather("node could not start"),
        }
        sky.hold(100, 500).await;
    }
}

async fn rage_at_postgres(beneath: &Beneath, sky: &Sky<'_>, end: Instant) -> Result<()> {
    let proxy = &beneath.postgres;
    while Instant::now() < end {
        sky.hold(500, 4000).await;
        match sky.random.below(100) {
            0..20 => restart_postgres(beneath, sky, Restart::Fast, "Postgres restarted (fast)").await?,
            20..40 => restart_postgres(beneath, sky, Restart::Immediate, "Postgres restarted (immediate)").await?,
            40..65 => {
                sky.stats.weather("Postgres connections cut");
                proxy.cut();
            }
            65..77 => {
                sky.stats.weather("Postgres stalled");
                proxy.stall(true);
                sky.hold(300, 2000).await;
                proxy.stall(false);
            }
            77..89 => {
                sky.stats.weather("Postgres refused");
                proxy.refuse(true);
                proxy.cut();
                sky.hold(200, 1000).await;
                proxy.refuse(false);
            }
            _ => {
                sky.stats.weather("Postgres slow");
                proxy.delay(Duration::from_millis(1 + sky.random.below(20)));
                sky.hold(500, 2000).await;
                proxy.delay(Duration::ZERO);
            }
        }
    }
    Ok(())
}

async fn restart_postgres(beneath: &Beneath, sky: &Sky<'_>, mode: Restart, name: &'static str) -> Result<()> {
    sky.stats.weather(name);
    let backends = beneath.stores.backends();
    spawn_blocking(move || backends.postgres.restart(mode)).await?.context("Postgres")
}

/// For a while up to three kinds of faults, then a while without.
async fn rage_at_s3(beneath: &Beneath, sky: &Sky<'_>, end: Instant) -> Result<()> {
    while Instant::now() < end {
        sky.hold(100, 2000).await;
        if sky.random.below(15) == 0 {
            kill_s3(beneath, sky).await?;
        }
        for _ in 0..=sky.random.below(3) {
            let (name, rule) = s3_rule(sky);
            sky.stats.weather(name);
            beneath.s3.add(rule);
        }
        sky.hold(300, 2000).await;
        beneath.s3.clear();
    }
    Ok(())
}

/// versitygw makes the folder of an upload before it writes down whose it is. One that dies between the two leaves an upload
/// that its own list does not show, so nobody can end it. In that moment it is not asked for new ones; that an answer is lost
/// after the work was done is a fault of its own.
async fn kill_s3(beneath: &Beneath, sky: &Sky<'_>) -> Result<()> {
    beneath.s3.add(Rule::new(Fault::SlowDown).on(Operation::CreateMultipartUpload));
    sleep(S3_LATE_MAX).await;
    sky.stats.weather("S3 server killed");
    let backends = beneath.stores.backends();
    spawn_blocking(move || backends.s3.restart()).await?.context("the S3 server")?;
    beneath.s3.clear();
    Ok(())
}

fn s3_rule(sky: &Sky<'_>) -> (&'static str, Rule) {
    let some = 20 + sky.random.below(250);
    let bytes = sky.random.below(1 << 20);
    match sky.random.below(11) {
        0 => ("S3 answers 500", Rule::new(Fault::Status(500)).permille(some)),
        1 => ("S3 answers SlowDown", Rule::new(Fault::SlowDown).permille(some)),
        2 => ("S3 answers late", Rule::new(Fault::Delay(S3_LATE)).permille(some)),
        3 => ("S3 never answers", Rule::new(Fault::Hang).permille(some / 4)),
        4 => ("S3 never answers what it did", Rule::new(Fault::HangAnswer).permille(some / 4)),
        5 => ("S3 cuts requests", Rule::new(Fault::CutRequest(bytes)).permille(some)),
        6 => ("S3 cuts answers", Rule::new(Fault::CutAnswer(bytes)).on(Operation::GetObject).permille(some)),
        7 => ("S3 loses answers", Rule::new(Fault::DropAnswer).permille(some)),
        8 => ("S3 fails Complete with 200", complete(Fault::ErrorInOk, some)),
        9 => ("S3 fails a done Complete with 200", complete(Fault::ErrorInOkAfter, some)),
        _ => ("S3 is slow", Rule::new(Fault::Slow(1 << 20)).permille(some)),
    }
}

fn complete(fault: Fault, permille: u64) -> Rule {
    Rule::new(fault).on(Operation::CompleteMultipartUpload).permille(permille * 2)
}

impl Sky<'_> {
    async fn hold(&self, from_ms: u64, to_ms: u64) {
        sleep(Duration::from_millis(from_ms + self.random.below(to_ms - from_ms))).await;
    }
}
