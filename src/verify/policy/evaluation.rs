//! One policy, and what is proved for it so far.

use std::cmp::Reverse;
use std::time::Duration;

use super::Policy;
use super::authority::{Authority, Trusted};
use super::evaluate::Checked;
use super::person;
use super::rules::{AttestationRule, SignatureRule};
use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::verify::proof::{Candidate, Claim, Failure, Format, Material, Proof, Signer};
use crate::verify::verdict::{Evidence, Outcome, REASONS_MAX, Reason, ReasonCode, Verdict};

/// How far ahead of this clock the clocks of timestamp authorities may be. Those of logs may not be ahead at all: the library
/// behind [`Proof`]s refuses their times by the machine's clock and takes no other. That refusal is among those that are soon
/// looked at again.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(10);
/// How long a refusal holds that may become a pass though nothing is pushed: there was no time, or a clock was ahead.
const PASSING_FAULT_HOLDS: Duration = Duration::from_mins(1);
/// Most reasons that are kept while candidates are tried.
const REASONS_HELD_MAX: usize = 16 * REASONS_MAX;

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

/// Whether signatures have certificates, as far as anybody has looked for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certificates {
    /// Nobody has, or there is no sound signature.
    Unknown,
    /// None of them has one.
    Absent,
    /// One of them has one.
    Present,
}

/// One policy, and what is proved so far.
pub(super) struct Evaluation<'a> {
    policy: &'a Policy,
    repository: &'a RepoName,
    subject: &'a Digest,
    now: Timestamp,
    /// Signatures that count, each by another signer.
    signed: Vec<(Signer, Evidence)>,
    /// Evidence by attestation rule, and until when it holds.
    attested: Vec<Option<(Evidence, Option<Timestamp>)>>,
    /// Whether there is anything that may be a signature.
    has_signature: bool,
    certificates: Certificates,
    /// Whether what stands in the way may be gone soon, though nothing is pushed.
    may_pass_by_itself: bool,
    reasons: Vec<(About, Reason)>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(policy: &'a Policy, repository: &'a RepoName, subject: &'a Digest, now: Timestamp) -> Self {
        Self {
            policy,
            repository,
            subject,
            now,
            signed: Vec::new(),
            attested: vec![None; policy.attestations.len()],
            has_signature: false,
            certificates: Certificates::Unknown,
            may_pass_by_itself: false,
            reasons: Vec::new(),
        }
    }

    fn is_revoked(&self) -> bool {
        self.policy.revoked.has_digest(self.subject)
    }

    /// Whether a candidate can still change anything.
    pub(super) fn is_open(&self) -> bool {
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
    pub(super) fn offer(&mut self, checked: &mut Checked<'_, 'a>, in_time: impl Fn() -> bool) -> bool {
        let policy = self.policy;
        if !self.is_open() {
            return true;
        }
        if !in_time() {
            return false;
        }
        if let Some(fault) = checked.fault().cloned() {
            self.note_failure(About::Either, checked.candidate, None, fault);
            return true;
        }
        let mut failures = Vec::new();
        let mut counted = false;
        for (at, authority) in policy.authorities.iter().enumerate() {
            if !self.looks_for(at) {
                continue;
            }
            if !in_time() {
                return false;
            }
            let result = checked.against(authority);
            self.note_certificate(authority, result);
            match result {
                Ok(proof) => match self.consider(at, authority, proof) {
                    Ok(()) => counted = true,
                    Err((about, failure)) => failures.push((about, authority, failure)),
                },
                Err(failure) => {
                    // Log entries are compared with the machine's clock, which may be behind that of the log.
                    self.may_pass_by_itself |= failure.code == ReasonCode::TlogInvalid;
                    failures.push((About::Either, authority, failure.clone()));
                }
            }
        }
        // That others did not make what somebody made is no news.
        for (about, authority, failure) in failures.into_iter().filter(|_| !counted) {
            self.note_failure(about, checked.candidate, Some(authority), failure);
        }
        true
    }

    /// Only who asks for a certificate has looked for one.
    fn note_certificate(&mut self, authority: &Authority, result: Result<&Proof, &Failure>) {
        if matches!(authority.trusted, Trusted::Keyless(_)) {
            let lacks = result.is_err_and(|failure| failure.lacks_certificate);
            self.certificates = self.certificates.max(if lacks { Certificates::Absent } else { Certificates::Present });
        }
    }

    fn note_failure(&mut self, about: About, candidate: &Candidate, authority: Option<&Authority>, failure: Failure) {
        if about == About::Either {
            // An envelope is an attestation, whatever else is wrong with it.
            self.has_signature |= !matches!(candidate.material, Material::Envelope { .. });
        }
        let (authority, artifact) = (authority.map(|by| by.name.clone()), Some(candidate.artifact.clone()));
        let Failure { code, message, .. } = failure;
        self.note(about, Reason { authority, artifact, code, message });
    }

    /// Notes a candidate that nobody looked into.
    pub(super) fn pass_over(&mut self, reason: &Reason) {
        self.has_signature = true;
        self.note(About::Either, reason.clone());
    }

    /// Notes that what stands in the way may be gone soon, though nothing is pushed.
    pub(super) fn expect_change(&mut self) {
        self.may_pass_by_itself = true;
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
            self.may_pass_by_itself = true;
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
        if !self.signed.iter().any(|(other, _)| person::same(other, &proof.signer)) {
            self.signed.push((proof.signer.clone(), evidence(authority, proof)));
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

    pub(super) fn finish(mut self, spent: Option<&str>) -> Verdict {
        let passed = !self.is_revoked() && !self.is_open();
        let mut verdict = Verdict {
            outcome: Outcome::Pass,
            policy: self.policy.name.clone(),
            revision: self.policy.revision.to_string(),
            evidence: self.signed.iter().map(|(_, evidence)| evidence.clone()).collect(),
            ..Verdict::without_policy(Outcome::Pass)
        };
        for (evidence, until) in self.attested.iter().flatten() {
            verdict.evidence.push(evidence.clone());
            verdict.holds_until = verdict.holds_until.into_iter().chain(*until).min();
        }
        if passed {
            return verdict;
        }
        if self.is_signed() {
            self.reasons.retain(|(about, _)| *about != About::Signature);
        }
        let nothing = !self.is_signed() && !self.has_signature && spent.is_none() && !self.is_revoked();
        verdict.outcome = if nothing { Outcome::Unsigned } else { Outcome::Fail };
        verdict.lacks_certificate = spent.is_none() && self.wants_a_certificate();
        // A refusal does not grow old; it ends when a signature comes, or what may end by itself has ended.
        let soon = self.may_pass_by_itself && !self.is_revoked();
        verdict.holds_until = soon.then(|| self.now.after(PASSING_FAULT_HOLDS));
        self.note_what_is_missing(spent);
        self.sort_reasons();
        verdict.reasons = self.reasons.into_iter().map(|(_, reason)| reason).take(REASONS_MAX).collect();
        verdict
    }

    /// Whether a signature is missing that nobody makes with a key, and all that there are were made with one.
    fn wants_a_certificate(&self) -> bool {
        let keyless = |at: &usize| matches!(self.policy.authorities[*at].trusted, Trusted::Keyless(_));
        let of = self.policy.signature.as_ref().map(|rule| rule.of.as_slice()).unwrap_or_default();
        let is_missing = !self.is_revoked() && !self.is_signed() && of.iter().all(keyless);
        is_missing && self.certificates == Certificates::Absent
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
        if let Some(rule) = policy.signature.as_ref().filter(|_| !self.is_signed()) {
            let (found, wanted) = (self.signed.len(), rule.threshold);
            let message = match wanted {
                1 => format!("no signature counts that is by {}", policy.names(&rule.of)),
                _ => format!("{found} of {wanted} different signers found among {}", policy.names(&rule.of)),
            };
            self.note(About::Signature, reason(ReasonCode::NoTrustedSigner, message));
        }
        for (at, rule) in policy.attestations.iter().enumerate() {
            if self.attested[at].is_some() {
                continue;
            }
            self.note(About::Attestation, reason(ReasonCode::AttestationMissing, policy.lacking(rule)));
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
