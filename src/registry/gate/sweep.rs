//! Judging again what passed, so that it is told when it does not any more though nobody pulls it: policies and roots
//! change, trust is taken back, signatures are deleted, attestations grow old.
//!
//! - A walk goes over the recorded passes, and over what was told to pass no more, in the order of their rows. It begins
//!   anew when other policies are in force, and from time to time. One node walks for all; where it is stands nowhere, so a
//!   walk that breaks off begins from the start.
//! - A call of [`Registry::sweep_verdicts`] judges as many as the time since the last one allows, and none while pulls need
//!   the places of the gate. Nothing here waits.
//! - It judges as a pull does, and what follows from it is written down as after a pull. So it does not matter who finds it
//!   out, or how many do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::Gate;
use crate::clock::Timestamp;
use crate::metadata::model::verdicts::{Found, VerdictEntry, VerdictSweepKeep, VerdictSweepTake};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{Registry, Result};
use crate::verify::policy::{Gate as Place, Mode, Policies};

/// For how long a node that walks keeps others from it.
const LEASE: Duration = Duration::from_mins(1);
/// Pause between two looks at whether a walk is due, as long as the policies are the same.
const LOOK: Duration = Duration::from_mins(1);
/// Longest time for which judging that did not happen is made up for.
const BURST: Duration = Duration::from_secs(2);
/// Rows read at a time.
const PAGE: u32 = 100;
/// Most rows of one call, judged or not.
const STEPS: usize = 1_000;
/// Places of the gate that are free when something is judged here; one of them is for a pull that comes meanwhile.
const FREE: usize = 2;

/// How fast and how often what passed is judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// Digests in a second; 0: none ever.
    pub rate: u32,
    /// A walk begins this long after the last one began, or once that has ended.
    pub every: Duration,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { rate: 50, every: Duration::from_hours(1) }
    }
}

/// What was found out since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepStats {
    /// Digests that were judged again though nobody asked.
    pub judged: u64,
    /// Digests that passed and do not any more, whoever asked.
    pub failed: u64,
}

/// What a process knows of its walks.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    state: Mutex<State>,
    judged: AtomicU64,
    failed: AtomicU64,
}

impl Sweeper {
    /// Counts a digest that passed and does not any more.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    /// The walk, while this node is at it.
    turn: Option<Turn>,
    /// When to look again whether there is one.
    look_at: Timestamp,
    /// The policies by which this node, or another one as it saw, began a walk last.
    revision: Option<String>,
}

/// This node's turn at a walk.
#[derive(Debug)]
struct Turn {
    revision: String,
    began_at: Timestamp,
    held_until: Timestamp,
    /// Time that may be spent, where a digest costs a part of a second.
    credit: Duration,
    filled_at: Timestamp,
    /// The place of the last row that was read.
    after: Option<(i64, Digest)>,
    /// Rows that come next.
    ahead: VecDeque<VerdictEntry>,
}

impl Turn {
    fn new(revision: &str, now: Timestamp) -> Self {
        Self {
            revision: revision.to_owned(),
            began_at: now,
            held_until: now.after(LEASE),
            credit: BURST / 2,
            filled_at: now,
            after: None,
            ahead: VecDeque::new(),
        }
    }

    fn fill(&mut self, now: Timestamp) {
        self.credit = (self.credit + self.filled_at.until(now)).min(BURST);
        self.filled_at = now;
    }
}

impl Registry {
    /// Judges again as many of those that passed as the time since the last call allows, if a walk over them is under way
    /// here or due. Where no policy enforces, nothing.
    ///
    /// # Errors
    /// Those of the stores. What could not be judged is left to the next walk.
    pub async fn sweep_verdicts(&self) -> Result<()> {
        let rate = self.options.verdict_sweep.rate;
        let policies = self.gate.policies.current();
        if rate == 0 || !policies.iter().any(|policy| policy.mode == Mode::Enforce) {
            return Ok(());
        }
        let mut state = self.gate.sweeper.state.lock().await;
        let now = self.clock.now();
        // After an error a walk goes on where it was, as far as nobody else is at one meanwhile.
        match &mut state.turn {
            Some(turn) if turn.revision == policies.revision() => {
                if !self.hold_sweep(turn, now).await? {
                    state.turn = None;
                }
            }
            _ => state.turn = self.begin_sweep(&mut state, policies.revision(), now).await?,
        }
        let Some(turn) = &mut state.turn else { return Ok(()) };
        turn.fill(now);
        if self.walk_on(turn, &policies, Duration::from_secs(1) / rate).await? {
            self.end_sweep(turn).await?;
            state.turn = None;
        }
        Ok(())
    }

    /// What was found out since this process began.
    pub fn verdict_sweep_stats(&self) -> SweepStats {
        let Sweeper { judged, failed, .. } = &self.gate.sweeper;
        SweepStats { judged: judged.load(Ordering::Relaxed), failed: failed.load(Ordering::Relaxed) }
    }

    /// Begins a walk, if one is due and no other node is at one.
    async fn begin_sweep(&self, state: &mut State, revision: &str, now: Timestamp) -> Result<Option<Turn>> {
        let is_other = state.revision.as_deref() != Some(revision);
        // A clock that was set back must not put it off for long.
        if !is_other && now < state.look_at && now.until(state.look_at) <= LOOK {
            return Ok(None);
        }
        state.look_at = now.after(LOOK);
        let last = self.metadata.verdict_sweep().await?;
        if last.revision == revision {
            state.revision = Some(revision.to_owned());
        }
        // Of nodes that have other policies for good, none begins anew because of the other one's walk.
        let follows = is_other && last.revision != revision;
        let is_old = last.began_at <= now.before(self.options.verdict_sweep.every) || last.began_at > now.after(LOOK);
        if !follows && !is_old && last.finished_at.is_some() {
            return Ok(None);
        }
        let (node, revision) = (self.options.node.clone(), revision.to_owned());
        let take = VerdictSweepTake { node, revision, now, until: now.after(LEASE), last };
        if !self.metadata.verdict_sweep_take(&take).await? {
            return Ok(None);
        }
        let turn = Turn::new(&take.revision, now);
        state.revision = Some(take.revision);
        Ok(Some(turn))
    }

    /// Keeps others from the walk; says whether none has begun one.
    async fn hold_sweep(&self, turn: &mut Turn, now: Timestamp) -> Result<bool> {
        if is_held(turn, now) {
            return Ok(true);
        }
        let until = now.after(LEASE);
        let is_mine = self.metadata.verdict_sweep_keep(&self.keeping(turn, until, None)).await?;
        if is_mine {
            turn.held_until = until;
        }
        Ok(is_mine)
    }

    async fn end_sweep(&self, turn: &Turn) -> Result<()> {
        let now = self.clock.now();
        self.metadata.verdict_sweep_keep(&self.keeping(turn, now, Some(now))).await?;
        Ok(())
    }

    fn keeping(&self, turn: &Turn, until: Timestamp, finished_at: Option<Timestamp>) -> VerdictSweepKeep {
        VerdictSweepKeep { node: self.options.node.clone(), began_at: turn.began_at, until, finished_at }
    }

    /// Says whether the walk has ended. `cost`: of one digest.
    async fn walk_on(&self, turn: &mut Turn, policies: &Arc<Policies>, cost: Duration) -> Result<bool> {
        for _ in 0..STEPS {
            if turn.ahead.is_empty() {
                turn.ahead = self.metadata.verdict_scan(turn.after.as_ref(), PAGE).await?.into();
            }
            let Some(entry) = turn.ahead.front() else { return Ok(true) };
            let repo = entry.repo.clone().filter(|repo| (entry.passed || entry.failed) && is_guarded(policies, repo));
            if repo.is_some() && (turn.credit < cost || !self.has_room() || !is_held(turn, self.clock.now())) {
                break;
            }
            let Some(entry) = turn.ahead.pop_front() else { continue };
            // Behind it before it is judged: what cannot be judged must not hold up the others.
            turn.after = Some((entry.repository, entry.digest.clone()));
            if let Some(repo) = repo {
                turn.credit = turn.credit.saturating_sub(cost);
                self.judge_again(&repo, &entry, policies).await?;
            }
        }
        Ok(false)
    }

    /// Whether pulls leave enough of the gate free.
    fn has_room(&self) -> bool {
        let Gate { readers, places, .. } = &self.gate;
        readers.available_permits() >= FREE && places.available_permits() >= FREE
    }

    async fn judge_again(&self, repo: &RepoName, entry: &VerdictEntry, policies: &Arc<Policies>) -> Result<()> {
        let (repository, digest) = (entry.repository, &entry.digest);
        let record = self.metadata.manifest_find(repo, &Reference::Digest(digest.clone())).await?;
        // What is not there nobody pulls, and signatures are given to everybody.
        let Some(record) = record.filter(|record| !record.is_signature) else { return Ok(()) };
        if record.standing.repository != repository {
            return Ok(());
        }
        let assessment = self.assess(repo, record.standing, digest, policies, None).await?;
        self.gate.sweeper.judged.fetch_add(1, Ordering::Relaxed);
        let is_known = match assessment.found(&policies.applying(repo, Place::Pull, None)) {
            Found::Pass => entry.passed,
            Found::Refusal(_) => !entry.passed,
            Found::Nothing => true,
        };
        if is_known {
            return Ok(());
        }
        // It was written down as it was judged, unless that was before, when it could not be.
        let Some(stored) = self.metadata.verdict_find(repository, digest).await? else { return Ok(()) };
        let evidence = stored.evidence.clone();
        self.write_down(repo, record.standing, &assessment, Some(&stored), evidence).await
    }
}

/// Whether others are kept from a walk for long enough.
fn is_held(turn: &Turn, now: Timestamp) -> bool {
    now.until(turn.held_until) > LEASE / 2
}

/// Whether a policy refuses pulls from a repository.
fn is_guarded(policies: &Policies, repo: &RepoName) -> bool {
    policies.applying(repo, Place::Pull, None).iter().any(|policy| policy.mode == Mode::Enforce)
}
