//! Retention at work: passes over all repositories, in slices, on every node at once.
//!
//! What goes is decided from facts that were read without a lock, and deleted in a transaction that finds the same facts
//! again, or leaves it. So any number of passes may run beside each other and beside pushes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{ManifestRetire, ManifestsRetired};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::registry::manifests::REFERRER_GRACE;
use crate::registry::retention::{Review, Victim};
use crate::registry::{Registry, Result};

/// Names of repositories, or manifests, read at a time.
const PAGE: u32 = 500;

/// Pages of one slice.
const SLICE: usize = 20;

/// Manifests deleted in one transaction.
const BATCH: usize = 20;

/// How often a repository in which somebody writes is tried, and the pause between.
const BUSY: (u32, Duration) = (5, Duration::from_millis(20));

/// A pass over all repositories, as far as it is.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The repository under review, and the last of its manifests that was looked at.
    review: Option<(Review, Option<Digest>)>,
    /// Repositories that come next.
    ahead: VecDeque<RepoName>,
    /// The last repository that was listed.
    listed: Option<RepoName>,
}

/// When passes run.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The pass that is under way.
    pass: Option<Pass>,
    /// When the next one begins; at once in a new process.
    next_at: Timestamp,
}

/// What a step of a pass came to.
pub(super) enum Step {
    /// These manifests of a repository may go; `last` when there can be no others in it.
    Found {
        /// The repository.
        repo: RepoName,
        /// What may go.
        victims: Vec<Victim>,
        /// Whether the repository was looked through.
        last: bool,
    },
    /// Some repositories were passed by.
    Onward,
    /// That was the last repository.
    Finished,
}

impl Registry {
    /// A slice of the pass that is under way, or due; says whether there is more to do at once.
    pub async fn retain(&self) -> Result<bool> {
        if self.options.retention.is_idle() {
            return Ok(false);
        }
        let mut schedule = self.collector.retention.lock().await;
        let now = self.clock.now();
        if schedule.pass.is_none() && now < schedule.next_at {
            return Ok(false);
        }
        // A pass that fails is over: its pages may be what fails.
        let mut pass = schedule.pass.take().unwrap_or_default();
        schedule.next_at = now.after(self.options.retention.interval);
        for _ in 0..SLICE {
            match self.retention_step(&mut pass).await? {
                Step::Finished => return Ok(false),
                Step::Onward => {}
                Step::Found { repo, victims, .. } => self.retire(&repo, &victims).await?,
            }
        }
        schedule.pass = Some(pass);
        Ok(true)
    }

    /// A whole pass at once, whether it is due or not.
    pub async fn retain_now(&self) -> Result<()> {
        let mut pass = Pass::default();
        loop {
            match self.retention_step(&mut pass).await? {
                Step::Finished => return Ok(()),
                Step::Onward => {}
                Step::Found { repo, victims, .. } => self.retire(&repo, &victims).await?,
            }
        }
    }

    /// Reads one page of a pass.
    pub(super) async fn retention_step(&self, pass: &mut Pass) -> Result<Step> {
        let Some((mut review, after)) = pass.review.take() else { return self.next_repository(pass).await };
        let page = self.metadata.manifest_facts(review.repo(), after.as_ref(), PAGE).await?;
        let next = page.last().map(|facts| facts.digest.clone()).filter(|_| page.len() == PAGE as usize);
        let victims = page.into_iter().filter_map(|facts| review.offer(facts)).collect();
        let (repo, last) = (review.repo().clone(), next.is_none());
        pass.review = next.map(|next| (review, Some(next)));
        Ok(Step::Found { repo, victims, last })
    }

    /// Goes on to a repository in which something may go.
    async fn next_repository(&self, pass: &mut Pass) -> Result<Step> {
        while let Some(repo) = pass.ahead.pop_front() {
            let now = self.clock.now();
            if let Some(review) = self.options.retention.review(&repo, &self.options.immutable_tags, now) {
                pass.review = Some((review, None));
                return Ok(Step::Onward);
            }
        }
        let after = pass.listed.as_ref().map(RepoName::as_str);
        pass.ahead = self.metadata.repository_list(after, PAGE).await?.into();
        let Some(listed) = pass.ahead.back().cloned() else { return Ok(Step::Finished) };
        pass.listed = Some(listed);
        Ok(Step::Onward)
    }

    /// Deletes what may go, where it still may.
    async fn retire(&self, repo: &RepoName, victims: &[Victim]) -> Result<()> {
        let by = Actor::job("retention");
        for batch in victims.chunks(BATCH) {
            let manifests: Vec<_> = batch.iter().map(|victim| victim.facts.clone()).collect();
            let now = self.clock.now();
            let referrers_until = now.after(REFERRER_GRACE);
            let retire = ManifestRetire { repo, manifests: &manifests, referrers_until, now, by: &by };
            // What a busy repository keeps is found again by the next pass.
            let gone = self.retire_patiently(&retire).await?;
            for victim in batch.iter().filter(|victim| gone.contains(&victim.facts.id)) {
                tracing::info!(
                    repo.name = %repo,
                    manifest.digest = %victim.facts.digest,
                    manifest.tags = victim.facts.tags.len(),
                    retention.rule = victim.reason.label(),
                    "manifest deleted by retention"
                );
                self.collector.count_retired(victim.reason.rule);
            }
        }
        if !victims.is_empty() {
            self.collector.wake();
        }
        Ok(())
    }

    async fn retire_patiently(&self, retire: &ManifestRetire<'_>) -> Result<Vec<i64>> {
        let (attempts, pause) = BUSY;
        for _ in 0..attempts {
            match self.metadata.manifest_retire(retire).await? {
                ManifestsRetired::Retired(gone) => return Ok(gone),
                ManifestsRetired::Busy => tokio::time::sleep(pause).await,
            }
        }
        Ok(Vec::new())
    }
}
