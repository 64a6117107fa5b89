//! What other policies would change of what is stored, found out without changing anything.
//!
//! Invariants: an assessment that is made on trial is seen by nobody else, and nothing of it is written down; nothing is
//! judged by a document that does not hold but here. What is looked at goes by names and digests, so that one place says
//! how far it got, and who goes on from there meets everything once.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::assess::{Asker, Assessment};
use super::ruling::Ruling;
use super::{At, Gate, Key};
use crate::clock::Timestamp;
use crate::metadata::model::ManifestRecord;
use crate::metadata::model::trust::ReachedManifest;
use crate::oci::digest::Digest;
use crate::oci::glob::RepoGlob;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::oci::route::{DryRun, DryRunPlace};
use crate::registry::{Registry, RegistryError, Result};
use crate::verify::policy::{Gate as Place, Policies};
use crate::verify::verdict::{Outcome, Reason, Verdict};

/// Longest time that one page of a dry run takes, but for the manifest that is being looked at then.
pub const DRY_RUN_TIME_MAX: Duration = Duration::from_secs(5);
/// Manifests of a page, usually and at most.
const MANIFESTS_USUAL: u32 = 100;
const MANIFESTS_MAX: u32 = 1_000;
/// Rows that are read at a time.
const MANIFESTS_AT_ONCE: u32 = 100;
const REPOSITORIES_AT_ONCE: u32 = 1_000;
/// Assessments that are remembered on trial: indexes are met once for each manifest that they list.
const TRIAL_MAX: usize = 2_000;
/// Reasons that are told of a refusal; the nearest misses come first.
const REASONS_MAX: usize = 4;
/// When to try again while others are at it.
const RETRY: Duration = Duration::from_secs(5);

/// What becomes of an assessment.
#[derive(Clone, Copy)]
pub(super) enum Keeping<'a> {
    /// The gate answers with it, and its evidence is written down.
    Gate,
    /// It is forgotten with the trial.
    Trial(&'a Trial),
}

/// Assessments by one document, as long as somebody tries it out.
pub(super) struct Trial(Cache<Key, Arc<Assessment>>);

impl Default for Trial {
    fn default() -> Self {
        Self(Cache::new(TRIAL_MAX))
    }
}

impl Keeping<'_> {
    /// An assessment that still holds. What the gate knows by the same policies is as good on trial.
    pub(super) fn kept(
        self,
        gate: &Gate,
        at: At<'_>,
        generation: i64,
        policies: &Policies,
        now: Timestamp,
        asker: Asker<'_>,
    ) -> Option<Arc<Assessment>> {
        let kept = gate.kept(at, generation, policies, now, asker);
        match self {
            Self::Gate => kept,
            Self::Trial(trial) => {
                let holds = |kept: &Arc<Assessment>| kept.holds(generation, policies, now) && kept.answers(asker);
                kept.or_else(|| trial.0.get(&at).filter(holds))
            }
        }
    }

    /// Keeps one.
    pub(super) fn keep(self, gate: &Gate, key: Key, assessment: &Arc<Assessment>) {
        let place = match self {
            Self::Gate => &gate.assessments,
            Self::Trial(trial) => &trial.0,
        };
        place.insert(key, Arc::clone(assessment));
    }
}

/// A manifest, by the policies that hold and by those that are tried out.
#[derive(Debug)]
pub struct Compared {
    /// Where it is.
    pub repository: RepoName,
    /// Which it is.
    pub digest: Digest,
    /// The first of its tags.
    pub tags: Vec<Tag>,
    /// What is answered today.
    pub now: Ruling,
    /// What would be.
    pub then: Ruling,
}

/// Some of what is stored, compared.
#[derive(Debug)]
pub struct DryRunPage {
    /// Revision of the policies that hold.
    pub holds: String,
    /// How many manifests were looked at.
    pub checked: u32,
    /// Those of them for which something changes, or all.
    pub manifests: Vec<Compared>,
    /// Where it goes on; `None`: that was all.
    pub next: Option<DryRunPlace>,
    /// Whether it ended here for the time that it took.
    pub out_of_time: bool,
}

impl Compared {
    /// Whether whoever pulls it would be told something else: another verdict, another reason, or a warning more or less;
    /// or whether that is not known.
    pub fn changes(&self) -> bool {
        let told = |ruling: &Ruling| {
            let verdict = ruling.verdict();
            (ruling.refuses(), verdict.outcome, verdict.reason_header(), ruling.warnings().is_empty())
        };
        let is_unknown = |ruling: &Ruling| ruling.verdict().outcome == Outcome::Error;
        told(&self.now) != told(&self.then) || is_unknown(&self.now) || is_unknown(&self.then)
    }

    /// As answers carry it.
    pub fn to_json(&self) -> Value {
        json!({
            "repository": self.repository.as_str(),
            "digest": self.digest.to_string(),
            "tags": self.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
            "now": told(&self.now),
            "then": told(&self.then),
        })
    }
}

/// What a ruling says, without what it stands on.
fn told(ruling: &Ruling) -> Value {
    let verdict = ruling.verdict();
    let reasons: Vec<Value> = verdict.reasons.iter().take(REASONS_MAX).map(Reason::to_json).collect();
    let warning = |warning: &Verdict| json!({"policy": warning.policy, "reason": warning.why()});
    json!({
        "verdict": verdict.outcome.as_str(),
        "refused": ruling.refuses(),
        "policy": verdict.policy,
        "reason": verdict.reason_header(),
        "reasons": reasons,
        "warnings": ruling.warnings().iter().take(REASONS_MAX).map(warning).collect::<Vec<_>>(),
    })
}

impl Registry {
    /// Finds out what would change for pulls of what is stored if other policies held: of manifests to which a tag leads,
    /// by itself or through indexes, and which carry no signatures. Looks at one at least, whatever time that takes.
    ///
    /// # Errors
    /// [`RegistryError::Busy`] when others are at it; those of the stores.
    pub async fn dry_run(&self, proposed: &Arc<Policies>, wanted: &DryRun, time_max: Duration) -> Result<DryRunPage> {
        let busy = |_| RegistryError::Busy { retry_after: RETRY };
        let _place = self.gate.dry_runs.try_acquire().map_err(busy)?;
        let pattern = wanted.repositories.as_deref().map(RepoGlob::parse).transpose();
        let holding = self.gate.policies.current();
        let mut run = Run {
            registry: self,
            wanted,
            pattern: pattern.map_err(|error| RegistryError::Internal(Box::new(error)))?,
            now: (holding, Trial::default()),
            then: (Arc::clone(proposed), Trial::default()),
            most: wanted.n.unwrap_or(MANIFESTS_USUAL).clamp(1, MANIFESTS_MAX),
            ends: Instant::now() + time_max,
            checked: 0,
            manifests: Vec::new(),
        };
        let next = run.walk().await?;
        let out_of_time = next.is_some() && run.checked < run.most;
        let holds = run.now.0.revision().to_owned();
        Ok(DryRunPage { holds, checked: run.checked, manifests: run.manifests, next, out_of_time })
    }
}

impl Registry {
    /// What the gate would say of a stored manifest by these policies; see [`rule`](Self::rule).
    async fn rule_on_trial(
        &self,
        repo: &RepoName,
        record: &ManifestRecord,
        policies: &Arc<Policies>,
        trial: &Trial,
    ) -> Result<Ruling> {
        let applying = policies.applying(repo, Place::Pull, None);
        if applying.is_empty() {
            return Ok(Ruling::off());
        }
        let asking = self.asking(record, &applying);
        self.rule_by(repo, record.standing, &record.digest, policies, &asking, Keeping::Trial(trial)).await
    }

    /// The same, where one manifest that cannot be judged must not hold up the others.
    async fn rule_or_say_so(
        &self,
        repo: &RepoName,
        record: &ManifestRecord,
        policies: &Arc<Policies>,
        trial: &Trial,
    ) -> Ruling {
        let ruling = self.rule_on_trial(repo, record, policies, trial).await;
        ruling.unwrap_or_else(|error| {
            let (repo, digest, error) = (repo.as_str(), &record.digest, &error as &dyn std::error::Error);
            tracing::warn!(repo.name = repo, manifest.digest = %digest, error, "a manifest could not be judged on trial");
            Ruling::unknown(digest, policies, self.clock.now())
        })
    }
}

/// A page that is being made.
struct Run<'a> {
    registry: &'a Registry,
    wanted: &'a DryRun,
    pattern: Option<RepoGlob>,
    now: (Arc<Policies>, Trial),
    then: (Arc<Policies>, Trial),
    most: u32,
    ends: Instant,
    checked: u32,
    manifests: Vec<Compared>,
}

impl Run<'_> {
    /// Goes through repositories by name. Gives where it stopped; `None`: at the end.
    async fn walk(&mut self) -> Result<Option<DryRunPlace>> {
        let (registry, after) = (self.registry, self.wanted.after.as_ref());
        let only: Option<RepoName> = self.wanted.repositories.as_ref().and_then(|pattern| pattern.parse().ok());
        let first = match (&only, after) {
            (_, Some(DryRunPlace { repo, digest: digest @ Some(_) })) => Some((repo, digest.clone())),
            (Some(only), None) => Some((only, None)),
            _ => None,
        };
        if let Some((repo, digest)) = first
            && self.is_about(repo)
            && let Some(standing) = registry.metadata.trust_standing(repo).await?
        {
            let stopped = self.look_into(repo, standing.repository, digest).await?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        if only.is_some() {
            return Ok(None);
        }
        let mut last = after.map(|place| place.repo.to_string());
        loop {
            let repositories = registry.metadata.repository_ids(last.as_deref(), REPOSITORIES_AT_ONCE).await?;
            let Some((name, _)) = repositories.last() else { return Ok(None) };
            last = Some(name.to_string());
            for (repo, id) in repositories {
                if self.is_about(&repo) {
                    let stopped = self.look_into(&repo, id, None).await?;
                    if stopped.is_some() {
                        return Ok(stopped);
                    }
                }
                if self.is_over() {
                    return Ok(Some(DryRunPlace { repo, digest: None }));
                }
            }
        }
    }

    /// Whether there may be something to tell of a repository.
    fn is_about(&self, repo: &RepoName) -> bool {
        let speaks = |policies: &Policies| !policies.applying(repo, Place::Pull, None).is_empty();
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(repo))
            && (self.wanted.all || speaks(&self.now.0) || speaks(&self.then.0))
    }

    /// Goes through the manifests of a repository by digest.
    async fn look_into(&mut self, repo: &RepoName, id: i64, mut after: Option<Digest>) -> Result<Option<DryRunPlace>> {
        let limit = MANIFESTS_AT_ONCE.min(self.most);
        loop {
            let found = self.registry.metadata.manifest_reached(id, after.as_ref(), limit).await?;
            let is_last = found.len() < limit as usize;
            for manifest in found {
                let digest = manifest.digest.clone();
                if manifest.is_reached && !manifest.is_signature {
                    self.compare(repo, manifest).await?;
                }
                if self.is_over() {
                    return Ok(Some(DryRunPlace { repo: repo.clone(), digest: Some(digest) }));
                }
                after = Some(digest);
            }
            if is_last {
                return Ok(None);
            }
        }
    }

    async fn compare(&mut self, repo: &RepoName, manifest: ReachedManifest) -> Result<()> {
        let ReachedManifest { digest, tags, .. } = manifest;
        let registry = self.registry;
        // It may have gone meanwhile.
        let record = registry.metadata.manifest_find(repo, &Reference::Digest(digest.clone())).await?;
        let Some(record) = record else { return Ok(()) };
        let now = registry.rule_or_say_so(repo, &record, &self.now.0, &self.now.1).await;
        let then = registry.rule_or_say_so(repo, &record, &self.then.0, &self.then.1).await;
        self.checked += 1;
        let compared = Compared { repository: repo.clone(), digest, tags, now, then };
        if self.wanted.all || compared.changes() {
            self.manifests.push(compared);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.checked >= self.most || Instant::now() >= self.ends
    }
}
