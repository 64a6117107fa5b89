//! Whether the signatures of a digest satisfy policies.
//!
//! Candidates are offered one after the other, in the order of [`order`], until everything is decided or the budget is
//! spent. A candidate can only add to what is proved: one that fails leaves a reason and nothing else. So neither their
//! order nor junk among them changes what is decided within the budget, and junk beyond it changes nothing either as long
//! as known evidence comes first.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::Policy;
use super::authority::Authority;
use super::candidates::{CandidateRef, order};
use super::evaluation::Evaluation;
use crate::clock::Clock;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::verify::proof::{Candidate, Failure, Proof, Sound, Trust};
use crate::verify::verdict::{Reason, ReasonCode, Verdict};

/// How much is looked at for one digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most candidates.
    pub candidates_max: usize,
    /// Most bytes of them together; those that do not fit into what is left are passed over.
    pub bytes_max: u64,
    /// Longest time that is spent on checks, not counting the time between them.
    pub time_max: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { candidates_max: 64, bytes_max: 32 << 20, time_max: Duration::from_millis(250) }
    }
}

/// A candidate whose form is sound, ready to be checked for one authority after the other.
pub type Opened<'c> = Box<dyn FnMut(&Trust<'_>) -> Result<Proof, Failure> + 'c>;

/// How a candidate is read, once for all authorities; [`Sound`] but in tests.
pub type Open<'a> = &'a (dyn for<'c> Fn(&'c Candidate, &'c Digest) -> Result<Opened<'c>, Failure> + Sync);

/// Time since some moment that never moves; it does not jump when the machine's clock is set.
pub type Stopwatch<'a> = &'a (dyn Fn() -> Duration + Sync);

/// The way that believes nothing but mathematics.
const OPEN: Open<'static> = &|candidate, subject| {
    let sound = Sound::read(candidate, subject)?;
    Ok(Box::new(move |trust: &Trust<'_>| sound.check(trust)))
};

fn stopwatch() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// What each policy of a judgement says, where the bytes of candidates are at hand.
///
/// They are read one after the other, in the order of [`order`], and no more of them than it takes. A candidate that cannot
/// be read is given as the reason for that. Whoever has to wait for bytes writes this loop himself.
pub fn evaluate<T: AsRef<CandidateRef>>(
    mut judgement: Judgement<'_>,
    known: &[Digest],
    found: Vec<T>,
    mut read: impl FnMut(&T) -> Result<Candidate, Reason>,
) -> Vec<Verdict> {
    for candidate in order(known, found) {
        if judgement.is_decided() {
            break;
        }
        if judgement.admits(candidate.as_ref()) {
            match read(&candidate) {
                Ok(candidate) => judgement.offer(&candidate),
                Err(reason) => judgement.miss(&reason),
            }
        }
    }
    judgement.finish()
}

/// A digest that is being judged by all policies that apply.
pub struct Judgement<'a> {
    evaluations: Vec<Evaluation<'a>>,
    subject: &'a Digest,
    open: Open<'a>,
    stopwatch: Stopwatch<'a>,
    budget: Budget,
    candidates: usize,
    bytes: u64,
    time: Duration,
    spent: Spent,
}

/// What of the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    /// Nothing that was in anybody's way.
    Nothing,
    /// Bytes: there are candidates that were passed over, and others may still fit.
    Bytes,
    /// All candidates that are looked at.
    Candidates,
    /// Time.
    Time,
}

impl<'a> Judgement<'a> {
    /// Nothing is proved yet.
    pub fn new(
        policies: impl IntoIterator<Item = &'a Policy>,
        repository: &'a RepoName,
        subject: &'a Digest,
        clock: &dyn Clock,
        budget: Budget,
    ) -> Self {
        let now = clock.now();
        let evaluation = |policy| Evaluation::new(policy, repository, subject, now);
        let evaluations = policies.into_iter().map(evaluation).collect();
        let (candidates, bytes, time, spent) = (0, 0, Duration::ZERO, Spent::Nothing);
        Self { evaluations, subject, open: OPEN, stopwatch: &stopwatch, budget, candidates, bytes, time, spent }
    }

    /// The same with another way to read signatures.
    #[must_use]
    pub fn opening(self, open: Open<'a>) -> Self {
        Self { open, ..self }
    }

    /// The same with another way to take the time.
    #[must_use]
    pub fn timed_by(self, stopwatch: Stopwatch<'a>) -> Self {
        Self { stopwatch, ..self }
    }

    /// Whether no further candidate can change anything: everything is proved, or no longer looked for.
    pub fn is_decided(&self) -> bool {
        matches!(self.spent, Spent::Candidates | Spent::Time) || !self.evaluations.iter().any(Evaluation::is_open)
    }

    /// Whether a candidate is worth reading; if not, it is passed over, and noted where it is for its size.
    pub fn admits(&mut self, candidate: &CandidateRef) -> bool {
        if self.is_decided() || !self.has_another() {
            return false;
        }
        let left = self.budget.bytes_max.saturating_sub(self.bytes);
        if candidate.size <= left {
            return true;
        }
        // One that is too large by itself stands in nobody's way.
        if candidate.size <= self.budget.bytes_max {
            self.spent = Spent::Bytes;
        }
        let message = format!("it has {} bytes, and {left} more are looked at", candidate.size);
        let (artifact, code) = (Some(candidate.artifact.clone()), ReasonCode::LimitExceeded);
        self.pass_over(&Reason { authority: None, artifact, code, message });
        false
    }

    /// Looks at one more candidate.
    pub fn offer(&mut self, candidate: &Candidate) {
        let known = CandidateRef::of(candidate);
        if !self.admits(&known) {
            return;
        }
        self.candidates += 1;
        self.bytes += known.size;
        let mut checked = Checked::new(candidate, self.subject, self.open);
        let (stopwatch, began) = (self.stopwatch, (self.stopwatch)());
        let elapsed = || stopwatch().saturating_sub(began);
        let left = self.budget.time_max.saturating_sub(self.time);
        for evaluation in &mut self.evaluations {
            if !evaluation.offer(&mut checked, || elapsed() < left) {
                self.spent = Spent::Time;
                break;
            }
        }
        self.time += elapsed();
    }

    /// Notes a candidate that is there and could not be read.
    pub fn miss(&mut self, reason: &Reason) {
        if !self.is_decided() && self.has_another() {
            self.candidates += 1;
            self.pass_over(reason);
            self.evaluations.iter_mut().for_each(Evaluation::expect_change);
        }
    }

    /// Whether one more may be looked at.
    fn has_another(&mut self) -> bool {
        if self.candidates >= self.budget.candidates_max {
            self.spent = Spent::Candidates;
        }
        self.spent != Spent::Candidates
    }

    fn pass_over(&mut self, reason: &Reason) {
        self.evaluations.iter_mut().for_each(|evaluation| evaluation.pass_over(reason));
    }

    /// What each policy says, in the order in which they were given.
    pub fn finish(self) -> Vec<Verdict> {
        let Budget { candidates_max, bytes_max, time_max } = self.budget;
        let spent = match self.spent {
            Spent::Nothing => None,
            Spent::Bytes => Some(format!("the signatures have more than {bytes_max} bytes")),
            Spent::Candidates => Some(format!("there are more than {candidates_max} signatures")),
            Spent::Time => Some(format!("checking took longer than {} ms", time_max.as_millis())),
        };
        let mut evaluations = self.evaluations;
        if self.spent == Spent::Time {
            evaluations.iter_mut().for_each(Evaluation::expect_change);
        }
        evaluations.into_iter().map(|evaluation| evaluation.finish(spent.as_deref())).collect()
    }
}

/// One candidate and the checks of it so far; authorities of one trust share one.
pub(super) struct Checked<'c, 'p> {
    pub(super) candidate: &'c Candidate,
    subject: &'c Digest,
    open: Open<'c>,
    opened: Option<Result<Opened<'c>, Failure>>,
    results: Vec<(&'p Authority, Result<Proof, Failure>)>,
}

impl<'c, 'p> Checked<'c, 'p> {
    fn new(candidate: &'c Candidate, subject: &'c Digest, open: Open<'c>) -> Self {
        Self { candidate, subject, open, opened: None, results: Vec::new() }
    }

    /// What is wrong with the candidate for everybody.
    pub(super) fn fault(&mut self) -> Option<&Failure> {
        let opened = self.opened.get_or_insert_with(|| (self.open)(self.candidate, self.subject));
        opened.as_ref().err()
    }

    pub(super) fn against(&mut self, authority: &'p Authority) -> Result<&Proof, &Failure> {
        let done = self.results.iter().position(|(other, _)| authority.shares_check(other));
        let at = done.unwrap_or_else(|| {
            let opened = self.opened.get_or_insert_with(|| (self.open)(self.candidate, self.subject));
            let result = match opened {
                Ok(check) => check(&authority.trust()),
                Err(failure) => Err(failure.clone()),
            };
            self.results.push((authority, result));
            self.results.len() - 1
        });
        self.results[at].1.as_ref()
    }
}
