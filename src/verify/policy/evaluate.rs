//! Whether the signatures of a digest satisfy policies.
//!
//! Candidates are offered one after the other, those that counted before first, until everything is decided or the budget
//! is spent. A candidate can only add to what is proved: one that fails leaves a reason and nothing else. So neither their
//! order nor junk among them changes what is decided within the budget, and junk beyond it changes nothing either as long
//! as known evidence comes first.

use std::cmp::Reverse;
use std::time::Duration;

use super::Policy;
use super::authority::Authority;
use super::rules::{AttestationRule, SignatureRule};
use crate::clock::{Clock, Timestamp};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::verify::proof::{self, Candidate, Claim, Failure, Format, Material, Proof, Signer, Trust};
use crate::verify::verdict::{Evidence, Outcome, REASONS_MAX, Reason, ReasonCode, Verdict};

/// How far ahead of this clock the clocks of logs and timestamp authorities may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(10);
/// Most reasons that are kept while candidates are tried.
const REASONS_HELD_MAX: usize = 16 * REASONS_MAX;

/// How much is looked at for one digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most candidates.
    pub candidates_max: usize,
    /// Most bytes of them together.
    pub bytes_max: usize,
    /// Longest time that is spent on checks, not counting the time between them.
    pub time_max: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { candidates_max: 64, bytes_max: 32 << 20, time_max: Duration::from_millis(250) }
    }
}

/// How one signature is checked against one authority; [`proof::check`] but in tests.
pub type Check<'a> = &'a dyn Fn(&Candidate, &Trust<'_>, &Digest) -> Result<Proof, Failure>;

/// What one policy says of a digest with these candidates. Those of the manifests in `known` are tried first.
///
/// A candidate that could not be read is given as the reason for that.
pub fn evaluate(
    policy: &Policy,
    repository: &RepoName,
    subject: &Digest,
    candidates: impl IntoIterator<Item = Result<Candidate, Reason>>,
    known: &[Digest],
    clock: &dyn Clock,
    budget: Budget,
) -> Verdict {
    let mut judgement = Judgement::new([policy], repository, subject, clock, budget);
    let is_known = |candidate: &Result<Candidate, Reason>| {
        candidate.as_ref().is_ok_and(|candidate| known.contains(&candidate.artifact))
    };
    let (first, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_known);
    for candidate in first.into_iter().chain(others) {
        if judgement.is_decided() {
            break;
        }
        match candidate {
            Ok(candidate) => judgement.offer(&candidate),
            Err(reason) => judgement.miss(&reason),
        }
    }
    judgement.finish().pop().unwrap_or_else(|| Verdict::without_policy(Outcome::Off))
}

/// A digest that is being judged by all policies that apply.
pub struct Judgement<'a> {
    evaluations: Vec<Evaluation<'a>>,
    subject: &'a Digest,
    clock: &'a dyn Clock,
    check: Check<'a>,
    budget: Budget,
    candidates: usize,
    bytes: usize,
    time: Duration,
    /// What of the budget is spent, as a sentence.
    spent: Option<String>,
}

impl<'a> Judgement<'a> {
    /// Nothing is proved yet.
    pub fn new(
        policies: impl IntoIterator<Item = &'a Policy>,
        repository: &'a RepoName,
        subject: &'a Digest,
        clock: &'a dyn Clock,
        budget: Budget,
    ) -> Self {
        let now = clock.now();
        let evaluation = |policy| Evaluation::new(policy, repository, subject, now);
        let evaluations = policies.into_iter().map(evaluation).collect();
        let (candidates, bytes, time) = (0, 0, Duration::ZERO);
        Self { evaluations, subject, clock, check: &proof::check, budget, candidates, bytes, time, spent: None }
    }

    /// The same with another way to check signatures.
    #[must_use]
    pub fn checking(self, check: Check<'a>) -> Self {
        Self { check, ..self }
    }

    /// Whether no further candidate can change anything: everything is proved, or no longer looked for.
    pub fn is_decided(&self) -> bool {
        self.spent.is_some() || !self.evaluations.iter().any(Evaluation::is_open)
    }

    /// Looks at one more candidate.
    pub fn offer(&mut self, candidate: &Candidate) {
        if self.is_decided() || !self.admits(candidate.material.size()) {
            return;
        }
        let mut checked = Checked { candidate, subject: self.subject, check: self.check, results: Vec::new() };
        let began = self.clock.now();
        for evaluation in &mut self.evaluations {
            let left = self.budget.time_max.saturating_sub(self.time);
            let in_time = || began.until(self.clock.now()) < left;
            if !evaluation.offer(&mut checked, in_time) {
                self.spent = Some(format!("checking took longer than {} ms", self.budget.time_max.as_millis()));
                break;
            }
        }
        self.time += began.until(self.clock.now());
    }

    /// Notes a candidate that is there and could not be read.
    pub fn miss(&mut self, reason: &Reason) {
        if !self.is_decided() && self.admits(0) {
            for evaluation in &mut self.evaluations {
                evaluation.has_signature = true;
                evaluation.note(About::Either, reason.clone());
            }
        }
    }

    fn admits(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.candidates += 1;
        if self.candidates > self.budget.candidates_max {
            self.spent = Some(format!("there are more than {} signatures", self.budget.candidates_max));
        } else if self.bytes > self.budget.bytes_max {
            self.spent = Some(format!("the signatures have more than {} bytes", self.budget.bytes_max));
        }
        self.spent.is_none()
    }

    /// What each policy says, in the order in which they were given.
    pub fn finish(self) -> Vec<Verdict> {
        let spent = self.spent.as_deref();
        self.evaluations.into_iter().map(|evaluation| evaluation.finish(spent)).collect()
    }
}

/// One candidate and the checks of it so far; authorities of one trust share one.
struct Checked<'a, 'p> {
    candidate: &'a Candidate,
    subject: &'a Digest,
    check: Check<'a>,
    results: Vec<(&'p Authority, Result<Proof, Failure>)>,
}

impl<'p> Checked<'_, 'p> {
    fn against(&mut self, authority: &'p Authority) -> &Result<Proof, Failure> {
        let done = self.results.iter().position(|(other, _)| authority.shares_check(other));
        let at = done.unwrap_or_else(|| {
            let result = (self.check)(self.candidate, &authority.trust(), self.subject);
            self.results.push((authority, result));
            self.results.len() - 1
        });
        &self.results[at].1
    }
}

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The digest as a whole.
    Whole,
    /// The signatures that are asked for.
    Signature,
    /// An attestation that is asked for.
    Attestation,
    /// A candidate of which nothing is proved, not even what it is.
    Either,
}

/// One policy, and what is proved so far.
struct Evaluation<'a> {
    policy: &'a Policy,
    repository: &'a RepoName,
    subject: &'a Digest,
    now: Timestamp,
    /// Signatures that count, each by another signer.
    signed: Vec<Evidence>,
    /// Evidence by attestation rule, and until when it holds.
    attested: Vec<Option<(Evidence, Option<Timestamp>)>>,
    /// Whether there is anything that may be a signature.
    has_signature: bool,
    reasons: Vec<(About, Reason)>,
}

impl<'a> Evaluation<'a> {
    fn new(policy: &'a Policy, repository: &'a RepoName, subject: &'a Digest, now: Timestamp) -> Self {
        Self {
            policy,
            repository,
            subject,
            now,
            signed: Vec::new(),
            attested: vec![None; policy.attestations.len()],
            has_signature: false,
            reasons: Vec::new(),
        }
    }

    fn is_revoked(&self) -> bool {
        self.policy.revoked.has_digest(self.subject)
    }

    /// Whether a candidate can still change anything.
    fn is_open(&self) -> bool {
        !self.is_revoked() && (!self.is_signed() || self.attested.iter().any(Option::is_none))
    }

    fn is_signed(&self) -> bool {
        self.policy.signature.as_ref().is_none_or(|rule| self.signed.len() >= rule.threshold)
    }

    /// Whether an authority can still change anything.
    fn looks_for(&self, authority: usize) -> bool {
        let signs = || self.policy.signature.as_ref().is_some_and(|rule| rule.of.contains(&authority));
        let attests = || {
            let mut rules = self.policy.attestations.iter().zip(&self.attested);
            rules.any(|(rule, found)| found.is_none() && rule.of.contains(&authority))
        };
        (!self.is_signed() && signs()) || attests()
    }

    /// Tries a candidate against everybody who can still change anything. `false`: there was no time for it.
    fn offer(&mut self, checked: &mut Checked<'_, 'a>, in_time: impl Fn() -> bool) -> bool {
        let (policy, candidate) = (self.policy, checked.candidate);
        let mut failures = Vec::new();
        let mut counted = false;
        for (at, authority) in policy.authorities.iter().enumerate() {
            if self.is_revoked() || !self.looks_for(at) {
                continue;
            }
            if !in_time() {
                return false;
            }
            let failure = match checked.against(authority) {
                Ok(proof) => match self.consider(at, authority, proof) {
                    Ok(()) => {
                        counted = true;
                        continue;
                    }
                    Err(failure) => failure,
                },
                Err(failure) => {
                    // An envelope is an attestation, whatever else is wrong with it.
                    self.has_signature |= !matches!(candidate.material, Material::Envelope { .. });
                    (About::Either, failure.clone())
                }
            };
            let (about, Failure { code, message }) = failure;
            let (authority, artifact) = (Some(authority.name.clone()), Some(candidate.artifact.clone()));
            failures.push((about, Reason { authority, artifact, code, message }));
        }
        // That others did not make what somebody made is no news.
        if !counted {
            for (about, reason) in failures {
                self.note(about, reason);
            }
        }
        true
    }

    /// Whether a proof satisfies anything that is asked for; notes it as evidence then.
    fn consider(&mut self, at: usize, authority: &Authority, proof: &Proof) -> Result<(), (About, Failure)> {
        let signature = self.policy.signature.as_ref().filter(|rule| rule.of.contains(&at));
        let signature = signature.filter(|rule| rule.is_signature(&proof.claim));
        let about = if signature.is_some() { About::Signature } else { About::Attestation };
        self.has_signature |= signature.is_some();
        let of = |failure| (about, failure);
        authority.accept(proof).map_err(of)?;
        self.policy.revoked.refuse(proof).map_err(of)?;
        if proof.signed_at.is_some_and(|signed_at| signed_at > self.now.after(CLOCK_SKEW_MAX)) {
            return Err(of(Failure::new(ReasonCode::NoTimestamp, "its time is in the future")));
        }
        let attested = self.consider_attestation(at, authority, proof);
        let Some(rule) = signature else { return attested.map_err(of) };
        self.consider_signature(rule, authority, proof).or_else(|failure| attested.map_err(|_| of(failure)))
    }

    fn consider_signature(
        &mut self,
        rule: &SignatureRule,
        authority: &Authority,
        proof: &Proof,
    ) -> Result<(), Failure> {
        if !rule.takes(proof.format) {
            let format = if proof.format == Format::Legacy { "a legacy signature" } else { "a bundle" };
            let message = format!("{format}, which is not among the formats of the policy");
            return Err(Failure::new(ReasonCode::NoTrustedSigner, message));
        }
        rule.accept(&proof.claim, self.repository)?;
        let evidence = evidence(authority, proof);
        if !self.signed.iter().any(|other| other.signer == evidence.signer) {
            self.signed.push(evidence);
        }
        Ok(())
    }

    fn consider_attestation(&mut self, at: usize, authority: &Authority, proof: &Proof) -> Result<(), Failure> {
        let Claim::Attestation { predicate_type, predicate } = &proof.claim else {
            let message = "a signature, which is not asked of this authority";
            return Err(Failure::new(ReasonCode::NoTrustedSigner, message));
        };
        let asked = |rule: &AttestationRule| rule.predicate_type == *predicate_type && rule.of.contains(&at);
        let message = format!("an attestation {predicate_type}, which is neither a signature nor asked for");
        let mut result = Err(Failure::new(ReasonCode::NoTrustedSigner, message));
        for (rule, found) in self.policy.attestations.iter().zip(&mut self.attested).filter(|(rule, _)| asked(rule)) {
            let accepted = rule.accept(predicate, proof.signed_at, self.now);
            if accepted.is_ok() {
                let until = rule.max_age.and_then(|age| proof.signed_at.map(|signed_at| signed_at.after(age)));
                found.get_or_insert_with(|| (evidence(authority, proof), until));
            }
            // One rule that it satisfies is worth more than the faults that others find.
            result = result.or(accepted);
        }
        result
    }

    fn note(&mut self, about: About, reason: Reason) {
        self.reasons.push((about, reason));
        if self.reasons.len() > REASONS_HELD_MAX {
            self.sort_reasons();
            self.reasons.truncate(REASONS_HELD_MAX / 2);
        }
    }

    /// Nearest misses first, and in an order that does not depend on that of the candidates.
    fn sort_reasons(&mut self) {
        let signed = self.is_signed();
        let group = |about| match about {
            About::Whole => 0,
            About::Signature => 1,
            About::Either => {
                if signed {
                    3
                } else {
                    1
                }
            }
            About::Attestation => 2,
        };
        self.reasons.sort_by(|(a_about, a), (b_about, b)| {
            let a = (group(*a_about), Reverse(a.code), &a.authority, &a.artifact, &a.message);
            a.cmp(&(group(*b_about), Reverse(b.code), &b.authority, &b.artifact, &b.message))
        });
        self.reasons.dedup_by(|a, b| a.1 == b.1);
    }

    fn finish(mut self, spent: Option<&str>) -> Verdict {
        let open = self.is_open();
        let mut verdict = Verdict {
            outcome: Outcome::Pass,
            policy: self.policy.name.clone(),
            revision: self.policy.revision.to_string(),
            ..Verdict::without_policy(Outcome::Pass)
        };
        if !open && !self.is_revoked() {
            verdict.evidence = self.signed;
            for (evidence, until) in self.attested.into_iter().flatten() {
                verdict.evidence.push(evidence);
                verdict.holds_until = verdict.holds_until.into_iter().chain(until).min();
            }
            return verdict;
        }
        if self.is_signed() {
            self.reasons.retain(|(about, _)| *about != About::Signature);
        }
        self.note_what_is_missing(spent);
        self.sort_reasons();
        let nothing = !self.is_signed() && !self.has_signature && spent.is_none() && !self.is_revoked();
        verdict.outcome = if nothing { Outcome::Unsigned } else { Outcome::Fail };
        verdict.reasons = self.reasons.into_iter().map(|(_, reason)| reason).take(REASONS_MAX).collect();
        verdict
    }

    fn note_what_is_missing(&mut self, spent: Option<&str>) {
        let policy = self.policy;
        let reason = |code, message| Reason { authority: None, artifact: None, code, message };
        if self.is_revoked() {
            self.reasons.clear();
            return self.note(About::Whole, reason(ReasonCode::Revoked, "this digest is revoked".to_owned()));
        }
        if let Some(spent) = spent {
            let message = format!("{spent}; delete those that do not count");
            self.note(About::Whole, reason(ReasonCode::LimitExceeded, message));
        }
        let named = |of: &[usize]| {
            let names: Vec<_> = of.iter().map(|at| policy.authorities[*at].name.as_str()).collect();
            names.join(", ")
        };
        if let Some(rule) = policy.signature.as_ref().filter(|_| !self.is_signed()) {
            let (found, wanted) = (self.signed.len(), rule.threshold);
            let message = match wanted {
                1 => format!("no signature counts that is by {}", named(&rule.of)),
                _ => format!("{found} of {wanted} different signers found among {}", named(&rule.of)),
            };
            self.note(About::Signature, reason(ReasonCode::NoTrustedSigner, message));
        }
        for (at, rule) in policy.attestations.iter().enumerate() {
            if self.attested[at].is_some() {
                continue;
            }
            let message = format!("no attestation {} counts that is by {}", rule.predicate_type, named(&rule.of));
            self.note(About::Attestation, reason(ReasonCode::AttestationMissing, message));
        }
    }
}

fn evidence(authority: &Authority, proof: &Proof) -> Evidence {
    Evidence {
        artifact: proof.artifact.clone(),
        signer: shown(&proof.signer),
        authority: authority.name.clone(),
        signed_at: proof.signed_at,
    }
}

/// A signer as evidence names it; two that are shown alike are the same. An issuer is a URL and has no space.
fn shown(signer: &Signer) -> String {
    match signer {
        Signer::Key { fingerprint } => format!("key:{fingerprint}"),
        Signer::Identity { issuer, subject, .. } => format!("{issuer} {subject}"),
    }
}
