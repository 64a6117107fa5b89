//! What goes wrong beneath the workers, by chance: one event after the other, most of them while S3 misbehaves.

use std::sync::Arc;

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

/// The one who makes it.
pub(super) struct Weather<'a> {
    servers: &'a mut [Server],
    beneath: Option<&'a Beneath>,
    random: Random,
    stats: &'a Stats,
}

impl<'a> Weather<'a> {
    pub(super) fn new(servers: &'a mut [Server], beneath: Option<&'a Beneath>, seed: u64, stats: &'a Stats) -> Self {
        Self { servers, beneath, random: Random::new(seed), stats }
    }

    /// Makes weather until `end`; then everything is whole again.
    pub(super) async fn rage(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            if let Some(beneath) = self.beneath {
                self.s3_wave(beneath);
                self.event(beneath).await?;
            } else {
                self.kill().await?;
            }
            self.hold(300, 1500).await;
            if let Some(beneath) = self.beneath {
                beneath.s3.clear();
            }
            self.hold(100, 700).await;
        }
        Ok(())
    }

    async fn event(&mut self, beneath: &Beneath) -> Result<()> {
        let postgres = &beneath.postgres;
        match self.random.below(100) {
            0..35 => return self.kill().await,
            35..42 => return self.stop_in_order().await,
            42..50 => return self.restart_postgres(beneath, Restart::Fast, "Postgres restarted (fast)").await,
            50..58 => {
                return self.restart_postgres(beneath, Restart::Immediate, "Postgres restarted (immediate)").await;
            }
            58..72 => {
                self.stats.weather("Postgres connections cut");
                postgres.cut();
            }
            72..79 => {
                self.stats.weather("Postgres stalled");
                postgres.stall(true);
                self.hold(300, 2000).await;
                postgres.stall(false);
            }
            79..86 => {
                self.stats.weather("Postgres refused");
                postgres.refuse(true);
                postgres.cut();
                self.hold(200, 1000).await;
                postgres.refuse(false);
            }
            86..92 => {
                self.stats.weather("Postgres slow");
                postgres.delay(Duration::from_millis(1 + self.random.below(20)));
                self.hold(500, 2000).await;
                postgres.delay(Duration::ZERO);
            }
            92..97 => return self.restart_s3(beneath).await,
            _ => self.stats.weather("calm"),
        }
        Ok(())
    }

    /// SIGKILL, a short absence, a new start.
    async fn kill(&mut self) -> Result<()> {
        self.stats.weather("node killed");
        let at = self.any_node();
        self.servers[at].kill().await?;
        self.hold(0, 800).await;
        self.bring_back(at).await
    }

    /// SIGTERM, as in an upgrade.
    async fn stop_in_order(&mut self) -> Result<()> {
        self.stats.weather("node stopped in order");
        let at = self.any_node();
        self.servers[at].stop().await.with_context(|| format!("node {at}"))?;
        self.bring_back(at).await
    }

    /// Starts a node as often as it takes: whoever starts while nothing works says so and ends.
    async fn bring_back(&mut self, at: usize) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.servers[at].restart().await {
                Ok(()) => return Ok(()),
                Err(error) if begin.elapsed() > RETURN_MAX => return Err(error.context(format!("node {at}"))),
                Err(_) => self.stats.weather("node could not start"),
            }
            self.hold(100, 500).await;
        }
    }

    async fn restart_postgres(&self, beneath: &Beneath, mode: Restart, name: &'static str) -> Result<()> {
        self.stats.weather(name);
        let backends = beneath.stores.backends();
        spawn_blocking(move || backends.postgres.restart(mode)).await?.context("Postgres")
    }

    async fn restart_s3(&self, beneath: &Beneath) -> Result<()> {
        self.stats.weather("S3 server killed");
        let backends = Arc::clone(&beneath.stores.backends());
        spawn_blocking(move || backends.s3.restart()).await?.context("the S3 server")
    }

    /// Up to three kinds of faults for the next while.
    fn s3_wave(&self, beneath: &Beneath) {
        for _ in 0..self.random.below(4) {
            let (name, rule) = self.s3_rule();
            self.stats.weather(name);
            beneath.s3.add(rule);
        }
    }

    fn s3_rule(&self) -> (&'static str, Rule) {
        let some = 20 + self.random.below(250);
        let bytes = self.random.below(1 << 20);
        match self.random.below(11) {
            0 => ("S3 answers 500", Rule::new(Fault::Status(500)).permille(some)),
            1 => ("S3 answers SlowDown", Rule::new(Fault::SlowDown).permille(some)),
            2 => ("S3 answers late", Rule::new(Fault::Delay(Duration::from_millis(400))).permille(some)),
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

    async fn hold(&self, from_ms: u64, to_ms: u64) {
        sleep(Duration::from_millis(from_ms + self.random.below(to_ms - from_ms))).await;
    }

    fn any_node(&self) -> usize {
        usize::try_from(self.random.below(self.servers.len() as u64)).unwrap_or_default()
    }
}

fn complete(fault: Fault, permille: u64) -> Rule {
    Rule::new(fault).on(Operation::CompleteMultipartUpload).permille(permille * 2)
}
