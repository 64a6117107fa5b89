//! Asks any node, judges what it says, and asks again where it may be asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use tokio::time::{Duration, Instant, sleep};

use super::stats::Stats;
use crate::content::Random;
use crate::server::Server;
use crate::wire::{Answer, Call, Wire};

/// Longest wait for an answer; no request may take a third of it.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one thing is tried; the weather is never bad for that long.
const INSIST_MAX: Duration = Duration::from_mins(2);

/// The nodes, as clients see them.
pub(super) struct Nodes<'a> {
    wires: Vec<Wire>,
    lives: Vec<Arc<AtomicU64>>,
    begin: Instant,
    pub(super) random: Random,
    pub(super) stats: &'a Stats,
}

/// What came of one try.
pub(super) enum Heard {
    /// An answer that says yes or no.
    Answer(Answer),
    /// The request never reached a node.
    NotSent,
    /// It may have been done or not, or may still be done.
    Unknown,
}

/// An answer, and whether an earlier try of the same may have been done, or may still be.
pub(super) struct Said {
    pub(super) answer: Answer,
    pub(super) doubt: bool,
}

/// The statuses that are right for a first try and those that are right after a try that may have been done.
#[derive(Clone, Copy)]
pub(super) struct Expect(pub(super) &'static [u16], pub(super) &'static [u16]);

impl<'a> Nodes<'a> {
    /// Clients of all nodes.
    pub(super) fn new(servers: &[Server], seed: u64, stats: &'a Stats) -> Result<Self> {
        let wires = servers.iter().map(|server| Wire::patient(&server.url(), PATIENCE)).collect::<Result<_>>()?;
        let lives = servers.iter().map(Server::lives).collect();
        Ok(Self { wires, lives, begin: Instant::now(), random: Random::new(seed), stats })
    }

    /// A node, by chance.
    pub(super) fn any(&self) -> &Wire {
        &self.wires[self.pick(self.wires.len())]
    }

    /// Every node.
    pub(super) fn all(&self) -> &[Wire] {
        &self.wires
    }

    /// A number below `end`.
    pub(super) fn pick(&self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).unwrap_or_default()
    }

    /// Sends a request once. An error means that what was heard breaks the rules.
    pub(super) async fn once(&self, call: Call) -> Result<Heard> {
        let lives = self.lives();
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return self.judge_silence(error, &lives),
        };
        match answer.status {
            408 => {}
            500.. => {
                ensure!(answer.has("retry-after"), "an error that nobody may try again: {}", answer.describe());
                ensure!(!is_damage(&answer), "a blob counts as damaged: {}", answer.describe());
            }
            _ => return Ok(Heard::Answer(answer)),
        }
        self.stats.heard(answer.status.to_string());
        Ok(Heard::Unknown)
    }

    /// How often each node was started again.
    fn lives(&self) -> Vec<u64> {
        self.lives.iter().map(|lives| lives.load(Ordering::Relaxed)).collect()
    }

    /// `lives`: of all nodes before the request was sent.
    fn judge_silence(&self, error: anyhow::Error, lives: &[u64]) -> Result<Heard> {
        let Some(cause) = error.chain().find_map(|cause| cause.downcast_ref::<reqwest::Error>()) else {
            return Err(error);
        };
        if cause.is_connect() {
            self.stats.heard("no connection");
            return Ok(Heard::NotSent);
        }
        if cause.is_timeout() {
            // No request outlives its process, so whoever still waits for one is a fault of the client's, which is counted.
            let port = cause.url().and_then(reqwest::Url::port);
            let asked = self.wires.iter().position(|wire| port.is_some() && wire.port() == port);
            if asked.is_some_and(|at| self.lives()[at] != lives[at]) {
                self.stats.heard("no answer from a process that ended");
                return Ok(Heard::Unknown);
            }
            let (patience, at) = (PATIENCE.as_secs(), self.begin.elapsed().as_secs());
            return Err(error.context(format!("no answer within {patience} s, {at} s after the begin")));
        }
        self.stats.heard("connection lost");
        Ok(Heard::Unknown)
    }

    /// Asks one node after the other until one says yes or no, and demands that it says what is expected.
    pub(super) async fn insist(&self, expect: Expect, make: impl Fn(&Wire) -> Call) -> Result<Said> {
        self.insist_at(expect, || self.any(), make).await
    }

    /// The same, always at one node.
    pub(super) async fn insist_on(
        &self,
        wire: &Wire,
        status: &'static [u16],
        call: impl Fn(&Wire) -> Call,
    ) -> Result<Answer> {
        Ok(self.insist_at(Expect(status, status), || wire, call).await?.answer)
    }

    async fn insist_at<'w>(
        &self,
        Expect(first, after_doubt): Expect,
        whom: impl Fn() -> &'w Wire,
        make: impl Fn(&Wire) -> Call,
    ) -> Result<Said> {
        let (begin, mut doubt) = (Instant::now(), false);
        loop {
            match self.once(make(whom())).await? {
                Heard::Answer(answer) => {
                    let right = first.contains(&answer.status) || (doubt && after_doubt.contains(&answer.status));
                    ensure!(right, "{}, expected {first:?} (doubt: {doubt})", answer.describe());
                    return Ok(Said { answer, doubt });
                }
                Heard::NotSent => {}
                Heard::Unknown => doubt = true,
            }
            if begin.elapsed() > INSIST_MAX {
                bail!("no node answers for {} s", INSIST_MAX.as_secs());
            }
            self.pause().await;
        }
    }

    /// Waits a little, as a client does before it tries again.
    pub(super) async fn pause(&self) {
        sleep(Duration::from_millis(50 + self.random.below(250))).await;
    }
}

/// 503 with `BLOB_UNKNOWN`: the registry believes that bytes are lost, and here none ever are.
fn is_damage(answer: &Answer) -> bool {
    answer.json().is_ok_and(|body| body["errors"][0]["code"] == "BLOB_UNKNOWN")
}
