//! Judging a digest: by its own signatures, then by those of the indexes that list it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::blobs::EMPTY;
use super::ruling::Ruling;
use super::trial::Keeping;
use super::{At, NOWHERE};
use crate::clock::Timestamp;
use crate::metadata::model::ManifestRecord;
use crate::metadata::model::trust::Standing;
use crate::metadata::model::verdicts::VerdictRecord;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, Manifest, ManifestKind};
use crate::oci::media_type::{OCI_EMPTY, OCI_IMAGE_MANIFEST};
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::manifests::manifest_limits;
use crate::registry::{Registry, Result};
use crate::verify::policy::{Children, Gate as Place, Mode, Policies, Policy};
use crate::verify::verdict::{Outcome, Reason, ReasonCode, Verdict};

/// Most levels of indexes above a manifest.
const DEPTH_MAX: usize = 4;
/// Most indexes that are looked at for one manifest.
const PARENTS_MAX: u32 = 512;
/// Most manifests that an index vouches for; one that lists more vouches for none.
const CHILDREN_MAX: usize = 512;
/// Longest time that is spent on indexes for one manifest.
const PARENTS_TIME: Duration = Duration::from_secs(1);
/// When something is judged anew that there was no time for.
const AGAIN: Duration = Duration::from_mins(1);

/// Whoever wants to know.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// How many levels above what was asked for.
    pub(super) depth: usize,
    /// A manifest whose signatures he knows of.
    pub(super) hint: Option<&'a Digest>,
}

impl Asker<'_> {
    /// Somebody who pulls.
    pub(super) const TOP: Self = Self { depth: 0, hint: None };
}

/// What every policy of a repository says of a digest.
#[derive(Debug)]
pub(super) struct Assessment {
    pub(super) digest: Digest,
    generation: i64,
    pub(super) policies: Arc<Policies>,
    verdicts: Vec<Verdict>,
    checked: Timestamp,
    holds_until: Option<Timestamp>,
    /// How many levels below what was asked for; fewer indexes were looked at above it.
    pub(super) depth: usize,
    /// What comes of it for who pulls, and of how many policies.
    pull: Ruling,
    pull_policies: usize,
}

impl Assessment {
    /// Whether it can be answered with.
    pub(super) fn holds(&self, generation: i64, policies: &Policies, now: Timestamp) -> bool {
        self.generation == generation
            && self.policies.revision() == policies.revision()
            && self.holds_until.is_none_or(|until| now < until)
    }

    /// Whether it answers somebody at a depth. What was found out without knowing where to look first is no answer to
    /// somebody who knows, nor is what was refused further below an answer above.
    pub(super) fn answers(&self, asker: Asker<'_>) -> bool {
        self.passes() || (asker.hint.is_none() && self.depth <= asker.depth)
    }

    /// What each policy says.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter()
    }

    /// Whether every policy is satisfied.
    pub(super) fn passes(&self) -> bool {
        self.verdicts.iter().all(|verdict| !verdict.outcome.refuses())
    }

    /// What some of the policies say together.
    pub(super) fn ruling(&self, policies: &Arc<Policies>, applying: &[&Policy]) -> Ruling {
        let verdicts = applying.iter().filter_map(|policy| Some((*policy, self.of(policy)?)));
        Ruling::of(&self.digest, verdicts, policies, self.checked)
    }

    /// What one policy says.
    pub(super) fn of(&self, policy: &Policy) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.policy == policy.name)
    }
}

impl Registry {
    /// What the gate says of a stored manifest.
    pub(super) async fn rule(&self, repo: &RepoName, record: &ManifestRecord, now: Timestamp) -> Result<Ruling> {
        let policies = self.gate.policies.current();
        if let Some(ruling) = self.known(record, &policies, now) {
            return Ok(ruling);
        }
        let applying = policies.applying(repo, Place::Pull, None);
        if applying.is_empty() {
            return Ok(Ruling::off());
        }
        let asking = self.asking(record, &applying);
        self.rule_by(repo, record.standing, &record.digest, &policies, &asking, Keeping::Gate).await
    }

    /// What is known of a manifest that every policy asks signatures of: most pulls end here, and are to cost no more than
    /// those of a registry without policies.
    fn known(&self, record: &ManifestRecord, policies: &Policies, now: Timestamp) -> Option<Ruling> {
        if record.is_signature || policies.exclude_artifact_types() {
            return None;
        }
        let Standing { repository, generation } = record.standing;
        let kept = self.gate.kept(At(repository, &record.digest), generation, policies, now, Asker::TOP)?;
        Some(kept.pull.clone())
    }

    /// What policies say together of a digest that they ask signatures of; all of them are asked when something is pulled.
    /// With none of them it is exempt.
    pub(super) async fn rule_by(
        &self,
        repo: &RepoName,
        standing: Standing,
        digest: &Digest,
        policies: &Arc<Policies>,
        asking: &[&Policy],
        keeping: Keeping<'_>,
    ) -> Result<Ruling> {
        if asking.is_empty() {
            return Ok(Ruling::exempt(digest, policies, self.clock.now()));
        }
        let assessment = match keeping {
            Keeping::Gate => self.assess(repo, standing, digest, policies, None).await?,
            Keeping::Trial(_) => Walk::new(self, repo, standing, policies, keeping).assess(digest, None, 0).await?,
        };
        let is_all = asking.len() == assessment.pull_policies;
        Ok(if is_all { assessment.pull.clone() } else { assessment.ruling(policies, asking) })
    }

    /// The policies among `applying` that ask for signatures of a manifest: none where it carries signatures.
    pub(super) fn asking<'p>(&self, record: &ManifestRecord, applying: &[&'p Policy]) -> Vec<&'p Policy> {
        if record.is_signature {
            return Vec::new();
        }
        let mut asking = applying.to_vec();
        self.leave_out_excluded(&mut asking, record);
        asking
    }

    /// Leaves out policies that do not ask for signatures of referrers of this type. Whoever pushes says which type a
    /// manifest is of, so what a client could run is never left out.
    fn leave_out_excluded(&self, policies: &mut Vec<&Policy>, record: &ManifestRecord) {
        if !policies.iter().any(|policy| policy.scope.excludes_artifact_types()) {
            return;
        }
        let limits = manifest_limits(&self.options.limits);
        let Ok(manifest) = Manifest::parse(&record.payload, Some(&record.media_type), &limits) else { return };
        // Clients take many configs for those of images, so only the one counts that says nothing.
        // Its type and its size are claims, its digest is not.
        let is_empty = |config: &Descriptor| config.media_type == OCI_EMPTY && config.digest == *EMPTY;
        let is_plain = manifest.kind == ManifestKind::Image && manifest.media_type == OCI_IMAGE_MANIFEST;
        let runs = !is_plain || !manifest.config.as_ref().is_some_and(is_empty);
        if let (Some(_), Some(kind), false) = (&manifest.subject, &manifest.artifact_type, runs) {
            policies.retain(|policy| !policy.scope.excludes_artifact_type(kind));
        }
    }

    /// Judges a digest, unless that was done already. `hint`: a manifest whose signatures are looked at first.
    pub(super) async fn assess(
        &self,
        repo: &RepoName,
        standing: Standing,
        digest: &Digest,
        policies: &Arc<Policies>,
        hint: Option<&Digest>,
    ) -> Result<Arc<Assessment>> {
        let (at, asker) = (At(standing.repository, digest), Asker { depth: 0, hint });
        if let Some(kept) = self.gate.kept(at, standing.generation, policies, self.clock.now(), asker) {
            return Ok(kept);
        }
        let turn = self.gate.turns.of(&(standing.repository, digest.clone()));
        let _turn = turn.lock().await;
        // The walk asks again for what is kept: the one before may have found it out.
        Walk::new(self, repo, standing, policies, Keeping::Gate).assess(digest, hint, 0).await
    }
}

/// One judgement, and the indexes that it led to.
struct Walk<'a> {
    registry: &'a Registry,
    repo: &'a RepoName,
    standing: Standing,
    policies: &'a Arc<Policies>,
    keeping: Keeping<'a>,
    began: Instant,
    /// Indexes that were looked at.
    looks: u32,
}

impl<'a> Walk<'a> {
    fn new(
        registry: &'a Registry,
        repo: &'a RepoName,
        standing: Standing,
        policies: &'a Arc<Policies>,
        keeping: Keeping<'a>,
    ) -> Self {
        Self { registry, repo, standing, policies, keeping, began: Instant::now(), looks: 0 }
    }

    fn assess<'s>(
        &'s mut self,
        digest: &'s Digest,
        hint: Option<&'s Digest>,
        depth: usize,
    ) -> BoxFuture<'s, Result<Arc<Assessment>>> {
        Box::pin(async move {
            let (registry, policies) = (self.registry, self.policies);
            let now = registry.clock.now();
            let (at, asker) = (At(self.standing.repository, digest), Asker { depth, hint });
            let kept = self.keeping.kept(&registry.gate, at, self.standing.generation, policies, now, asker);
            if let Some(kept) = kept {
                return Ok(kept);
            }
            let asked: Vec<&Policy> = policies.iter().filter(|policy| is_about(policy, self.repo)).collect();
            let stored = registry.metadata.verdict_find(self.standing.repository, digest).await?;
            let mut verdicts = self.own(&asked, digest, stored.as_ref(), hint).await?;
            let evidence = evidence_of(&verdicts);
            self.inherit(&asked, digest, &mut verdicts, depth).await?;
            registry.name_lookalikes(self.repo, digest, &mut verdicts).await?;
            let holds_until = verdicts.iter().filter_map(|verdict| verdict.holds_until).min();
            let pulling = policies.applying(self.repo, Place::Pull, None);
            let mut assessment = Assessment {
                digest: digest.clone(),
                generation: self.standing.generation,
                policies: Arc::clone(policies),
                verdicts,
                checked: now,
                holds_until,
                depth,
                pull: Ruling::off(),
                pull_policies: pulling.len(),
            };
            if !pulling.is_empty() {
                assessment.pull = assessment.ruling(policies, &pulling);
            }
            let assessment = Arc::new(assessment);
            if matches!(self.keeping, Keeping::Gate) {
                let stored = stored.as_ref();
                let written = registry.write_down(self.repo, self.standing, &assessment, stored, evidence).await;
                if let Err(error) = written {
                    // That fails for nobody: it is found out again where it is not known.
                    tracing::warn!(error = &error as &dyn std::error::Error, "a verdict could not be written down");
                }
            }
            // At the deepest level nobody looked at the indexes above. What is not stored is kept like anything else: it is
            // about to come, with its signatures here already or for a tag, and whoever asks for names that he makes up fills
            // no more than the few places of the cache that are for what was asked for once.
            if self.standing.repository != NOWHERE && (depth < DEPTH_MAX || assessment.passes()) {
                let key = (self.standing.repository, digest.clone());
                self.keeping.keep(&registry.gate, key, &assessment);
            }
            Ok(assessment)
        })
    }

    /// By its own signatures, of which those are looked at first that counted the last time.
    async fn own(
        &self,
        asked: &[&Policy],
        digest: &Digest,
        stored: Option<&VerdictRecord>,
        hint: Option<&Digest>,
    ) -> Result<Vec<Verdict>> {
        let known = stored.map_or(&[][..], |stored| &stored.evidence);
        let known: Vec<Digest> = hint.into_iter().chain(known).cloned().collect();
        self.registry.judge(self.repo, self.standing.repository, digest, asked, &known).await
    }

    /// By the indexes that list it, for the policies that let them vouch for what they list.
    async fn inherit(
        &mut self,
        asked: &[&Policy],
        digest: &Digest,
        verdicts: &mut [Verdict],
        depth: usize,
    ) -> Result<()> {
        let open = |policy: &Policy, verdict: &Verdict| {
            policy.children == Children::Inherit && verdict.outcome.refuses() && !is_revoked(verdict)
        };
        let any_open = |verdicts: &[Verdict]| asked.iter().zip(verdicts).any(|(policy, verdict)| open(policy, verdict));
        if depth == DEPTH_MAX || !any_open(verdicts) {
            return Ok(());
        }
        let (registry, repository) = (self.registry, self.standing.repository);
        // One more than are looked at, so that those that are left out are noticed.
        let parents = registry.metadata.manifest_parents(repository, digest, PARENTS_MAX + 1).await?;
        for parent in parents {
            if !any_open(verdicts) {
                break;
            }
            if self.looks >= PARENTS_MAX || self.began.elapsed() > PARENTS_TIME {
                self.give_up(asked, verdicts, &open);
                break;
            }
            self.looks += 1;
            let above = self.assess(&parent, None, depth + 1).await?;
            // What was found out before may have come down from further above than this walk looks.
            let lends = |above: &Verdict| above.outcome == Outcome::Pass && above.levels < DEPTH_MAX;
            let mut all = asked.iter().zip(&*verdicts);
            let is_lent = all.any(|(policy, verdict)| open(policy, verdict) && above.of(policy).is_some_and(lends));
            let is_too_long = is_lent && self.lists_too_many(&parent).await?;
            for (policy, verdict) in asked.iter().zip(verdicts.iter_mut()) {
                match above.of(policy).filter(|_| open(policy, verdict)) {
                    Some(lent) if lends(lent) && is_too_long => refuse_for_length(verdict, &parent),
                    Some(lent) if lends(lent) => *verdict = Verdict { levels: lent.levels + 1, ..lent.clone() },
                    Some(refused) if refused.outcome.refuses() => take_over(verdict, refused),
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }

    /// Whether an index lists more than it can vouch for. One that cannot be read vouches for nothing.
    async fn lists_too_many(&self, index: &Digest) -> Result<bool> {
        let registry = self.registry;
        let record = registry.metadata.manifest_find(self.repo, &Reference::Digest(index.clone())).await?;
        let limits = manifest_limits(&registry.options.limits);
        let read = |record: ManifestRecord| Manifest::parse(&record.payload, Some(&record.media_type), &limits).ok();
        Ok(record.and_then(read).is_none_or(|index| index.manifests.len() > CHILDREN_MAX))
    }

    fn give_up(&self, asked: &[&Policy], verdicts: &mut [Verdict], open: &dyn Fn(&Policy, &Verdict) -> bool) {
        let again = self.registry.clock.now().after(AGAIN);
        for (policy, verdict) in asked.iter().zip(verdicts) {
            if open(policy, verdict) {
                let message = "it is listed by more indexes than are looked at".to_owned();
                let reason = Reason { authority: None, artifact: None, code: ReasonCode::LimitExceeded, message };
                verdict.reasons.push(reason);
                verdict.holds_until = Some(verdict.holds_until.map_or(again, |until| until.min(again)));
            }
        }
    }
}

/// What could not be found out about an index was not found out about what it lists either.
fn take_over(verdict: &mut Verdict, above: &Verdict) {
    verdict.holds_until = verdict.holds_until.into_iter().chain(above.holds_until).min();
    if let Some(limit) = above.reasons.iter().find(|reason| reason.is_want_of_room())
        && !verdict.reasons.iter().any(Reason::is_want_of_room)
    {
        verdict.reasons.push(Reason { message: format!("an index that lists it: {}", limit.message), ..limit.clone() });
    }
}

/// An index that passes and lists too many lends its pass to none of them. That is told of the first such index.
fn refuse_for_length(verdict: &mut Verdict, index: &Digest) {
    let message =
        format!("an index that passes lists more than {CHILDREN_MAX} manifests, and so vouches for none of them");
    if !verdict.reasons.iter().any(|reason| reason.message == message) {
        let code = ReasonCode::LimitExceeded;
        verdict.reasons.push(Reason { authority: None, artifact: Some(index.clone()), code, message });
    }
}

/// The manifests whose signatures counted, each once.
fn evidence_of(verdicts: &[Verdict]) -> Vec<Digest> {
    let mut evidence: Vec<Digest> = Vec::new();
    for proof in verdicts.iter().flat_map(|verdict| &verdict.evidence) {
        if !evidence.contains(&proof.artifact) {
            evidence.push(proof.artifact.clone());
        }
    }
    evidence
}

/// Whether a policy is asked anywhere in a repository.
pub(super) fn is_about(policy: &Policy, repo: &RepoName) -> bool {
    policy.mode != Mode::Off && policy.scope.covers(repo)
}

/// Whether the digest itself is not trusted any more, so that nothing can vouch for it.
fn is_revoked(verdict: &Verdict) -> bool {
    verdict.reasons.first().is_some_and(|reason| reason.code == ReasonCode::Revoked && reason.artifact.is_none())
}
