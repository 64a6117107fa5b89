//! What was found out about a digest, written down: what counted, to be looked at first when it is judged again, and
//! whether it passes, so that it is told when it does not any more.
//!
//! A pass ends by a refusal that is certain, and by nothing else: not for want of time, not because there was more to look
//! at than is looked at, not because nobody looked at the indexes above. What is judged by other policies or signatures than
//! those that hold when it is written down neither ends a pass nor begins one.

use std::time::Duration;

use super::NOWHERE;
use super::assess::Assessment;
use crate::metadata::model::trust::Standing;
use crate::metadata::model::verdicts::{Found, Refusal, VerdictPut, VerdictRecord, VerdictTurn};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{Registry, Result};
use crate::verify::policy::{Gate as Place, Mode, Policy};
use crate::verify::verdict::{Outcome, Reason, Verdict};

/// For how long a pass is not ended by what may be gone by itself: some clock may be behind that of whoever signed.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(10);

impl Assessment {
    /// What those of some policies that enforce say together. A refusal that is certain is told before one that is not.
    pub(super) fn found(&self, asking: &[&Policy]) -> Found {
        let enforcing = asking.iter().filter(|policy| policy.mode == Mode::Enforce);
        let mut enforced = enforcing.filter_map(|policy| self.of(policy)).peekable();
        if enforced.peek().is_none() {
            return Found::Nothing;
        }
        let refusing: Vec<&Verdict> = enforced.filter(|verdict| verdict.outcome.refuses()).collect();
        let is_certain = |verdict: &&&Verdict| self.depth == 0 && saw_everything(verdict);
        let certain = refusing.iter().find(is_certain);
        certain.or(refusing.first()).map_or(Found::Pass, |verdict| {
            Found::Refusal(Refusal {
                outcome: verdict.outcome.as_str(),
                policy: verdict.policy.clone(),
                reason: verdict.why(),
                is_certain: certain.is_some(),
            })
        })
    }

    /// Whether what refuses may be gone in a moment, though nothing is pushed.
    fn may_pass_by_itself(&self) -> bool {
        self.verdicts().any(|verdict| verdict.outcome.refuses() && verdict.holds_until.is_some())
    }
}

impl Registry {
    /// Writes down what was found out, if it is news. `stored`: what was found out before; `evidence`: manifests whose
    /// signatures counted.
    pub(super) async fn write_down(
        &self,
        repo: &RepoName,
        standing: Standing,
        assessment: &Assessment,
        stored: Option<&VerdictRecord>,
        evidence: Vec<Digest>,
    ) -> Result<()> {
        // Before the policies are compared: a document is in force before its number is said.
        let document = (!self.options.policy_file).then(|| self.gate.seen());
        let is_in_force = self.gate.policies.current().revision() == assessment.policies.revision();
        if standing.repository == NOWHERE || !is_in_force {
            return Ok(());
        }
        let applying = assessment.policies.applying(repo, Place::Pull, None);
        let mut found = assessment.found(&applying);
        if let (Found::Refusal(_), Some(stored)) = (&found, stored.filter(|stored| stored.passed())) {
            let Some(certain) = self.certainly(repo, assessment, &applying, stored).await? else { return Ok(()) };
            found = certain;
        }
        if !is_news(&found, &evidence, stored) {
            return Ok(());
        }
        let (digest, revision) = (assessment.digest.clone(), assessment.policies.revision().to_owned());
        let put = VerdictPut { standing, document, revision, digest, found, evidence, now: self.clock.now() };
        let turn = self.metadata.verdict_put(&put).await?;
        if let Some(turn) = turn {
            self.tell_turn(repo, &put, turn);
        }
        Ok(())
    }

    /// What is certain of something that passed and seems not to any more, by the policies that ask for its signatures.
    /// `None`: nothing.
    async fn certainly(
        &self,
        repo: &RepoName,
        assessment: &Assessment,
        applying: &[&Policy],
        stored: &VerdictRecord,
    ) -> Result<Option<Found>> {
        let reference = Reference::Digest(assessment.digest.clone());
        let Some(record) = self.metadata.manifest_find(repo, &reference).await? else { return Ok(None) };
        if record.is_signature {
            return Ok(None);
        }
        let found = assessment.found(&self.asking(&record, applying));
        let is_fresh = self.clock.now() < stored.checked_at.after(CLOCK_SKEW_MAX);
        let is_certain = match &found {
            Found::Refusal(refusal) => refusal.is_certain && !(is_fresh && assessment.may_pass_by_itself()),
            Found::Pass | Found::Nothing => true,
        };
        Ok(is_certain.then_some(found))
    }

    fn tell_turn(&self, repo: &RepoName, put: &VerdictPut, turn: VerdictTurn) {
        let digest = &put.digest;
        if let (VerdictTurn::Failed, Found::Refusal(Refusal { policy, reason, .. })) = (turn, &put.found) {
            self.gate.sweeper.count_failed();
            tracing::warn!(
                repo.name = %repo, manifest.digest = %digest, trust.policy = policy, reason,
                "an image does not satisfy the signature policies any more"
            );
        } else {
            tracing::info!(
                repo.name = %repo, manifest.digest = %digest, "an image satisfies the signature policies again"
            );
        }
    }
}

/// Whether a refusal is for what was found, and not for what was not looked at.
fn saw_everything(verdict: &Verdict) -> bool {
    matches!(verdict.outcome, Outcome::Unsigned | Outcome::Fail) && !verdict.reasons.iter().any(Reason::is_want_of_room)
}

/// Whether it is worth a transaction.
fn is_news(found: &Found, evidence: &[Digest], stored: Option<&VerdictRecord>) -> bool {
    let Some(stored) = stored else { return *found == Found::Pass || !evidence.is_empty() };
    stored.evidence != evidence || (*found != Found::Nothing && stored.outcome != found.outcome())
}
