//! What the gate says of a digest, as answers tell it.

use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::verify::policy::{Combined, Mode, Policies, Policy, Readers, combine};
use crate::verify::verdict::{Outcome, Verdict};
use crate::verify::warning::warning_headers;

/// Where no policy applies.
static OFF: LazyLock<Verdict> = LazyLock::new(|| Verdict::without_policy(Outcome::Off));

/// What the gate says of something that is asked for.
#[derive(Clone, Debug)]
pub struct Ruling(Option<Arc<Ruled>>);

#[derive(Debug)]
struct Ruled {
    digest: Digest,
    combined: Combined,
    /// Who may read it all the same: what each policy says that refuses.
    exceptions: Vec<Readers>,
    policies: Arc<Policies>,
    checked: Timestamp,
    /// Whether it is of a manifest, which can be signed.
    signable: bool,
    told: OnceLock<Told>,
}

/// What every answer says of it, written once for all of them.
#[derive(Debug)]
pub struct Told {
    /// Outcome, policy and signer ([`Verdict::verdict_header`]).
    pub verdict: Bytes,
    /// Why it is refused, as one word.
    pub reason: Option<&'static str>,
    /// When it was judged ([`Verdict::checked_header`]).
    pub checked: Bytes,
    /// Warnings of policies that only warn ([`warning_headers`]).
    pub warnings: Vec<Bytes>,
}

impl Ruled {
    fn of<'a>(
        digest: &Digest,
        verdicts: impl Iterator<Item = (&'a Policy, &'a Verdict)> + Clone,
        policies: &Arc<Policies>,
        checked: Timestamp,
    ) -> Self {
        let refusing =
            verdicts.clone().filter(|(policy, verdict)| policy.mode == Mode::Enforce && verdict.outcome.refuses());
        let exceptions = refusing.map(|(policy, _)| policy.readers.clone()).collect();
        let combined = combine(verdicts.map(|(policy, verdict)| (policy.mode, verdict.clone())));
        Self::new(digest, combined, exceptions, policies, checked)
    }

    fn new(
        digest: &Digest,
        combined: Combined,
        exceptions: Vec<Readers>,
        policies: &Arc<Policies>,
        checked: Timestamp,
    ) -> Self {
        let (digest, policies) = (digest.clone(), Arc::clone(policies));
        Self { digest, combined, exceptions, policies, checked, signable: true, told: OnceLock::new() }
    }
}

impl From<Ruled> for Ruling {
    fn from(ruled: Ruled) -> Self {
        Self(Some(Arc::new(ruled)))
    }
}

impl Ruling {
    /// No policy has a part in it.
    pub fn off() -> Self {
        Self(None)
    }

    /// It carries signatures itself, or is of a type that no policy asks signatures of.
    pub(super) fn exempt(digest: &Digest, policies: &Arc<Policies>, checked: Timestamp) -> Self {
        Self::without_policy(Outcome::Exempt, digest, policies, checked)
    }

    /// It could not be judged.
    pub(super) fn unknown(digest: &Digest, policies: &Arc<Policies>, checked: Timestamp) -> Self {
        Self::without_policy(Outcome::Error, digest, policies, checked)
    }

    fn without_policy(outcome: Outcome, digest: &Digest, policies: &Arc<Policies>, checked: Timestamp) -> Self {
        let verdict = Verdict { revision: policies.revision().to_owned(), ..Verdict::without_policy(outcome) };
        let combined = Combined { verdict, refuses: outcome.refuses(), warnings: Vec::new() };
        Ruled::new(digest, combined, Vec::new(), policies, checked).into()
    }

    /// What several policies say together of a manifest.
    pub(super) fn of<'a>(
        digest: &Digest,
        verdicts: impl Iterator<Item = (&'a Policy, &'a Verdict)> + Clone,
        policies: &Arc<Policies>,
        checked: Timestamp,
    ) -> Self {
        Ruled::of(digest, verdicts, policies, checked).into()
    }

    /// The same of a blob that no manifest makes readable. Nobody can sign one, so there is no help.
    pub(super) fn of_blob<'a>(
        digest: &Digest,
        verdicts: impl Iterator<Item = (&'a Policy, &'a Verdict)> + Clone,
        policies: &Arc<Policies>,
        checked: Timestamp,
    ) -> Self {
        Ruled { signable: false, ..Ruled::of(digest, verdicts, policies, checked) }.into()
    }

    /// Whether it is refused to everybody who is no exception.
    pub fn refuses(&self) -> bool {
        self.0.as_ref().is_some_and(|ruled| ruled.combined.refuses)
    }

    /// Whether a policy has a part in it, so that tomorrow it may be another.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether everything that applies is satisfied, so that nobody has to be warned either.
    pub(super) fn is_clean(&self) -> bool {
        self.0.as_ref().is_none_or(|ruled| !ruled.combined.refuses && ruled.combined.warnings.is_empty())
    }

    /// Until when it holds if nothing changes.
    pub(super) fn holds_until(&self) -> Option<Timestamp> {
        self.0.as_ref().and_then(|ruled| ruled.combined.verdict.holds_until)
    }

    /// Who may read it although it is refused; all of them have to agree.
    pub(super) fn exceptions(&self) -> &[Readers] {
        self.0.as_ref().map_or(&[], |ruled| &ruled.exceptions)
    }

    /// The same for a reader who is an exception; what other policies only warn of he is told as everybody is.
    pub(super) fn bypassed(&self) -> Self {
        let Some(ruled) = &self.0 else { return Self(None) };
        let verdict = Verdict { outcome: Outcome::Bypass, ..ruled.combined.verdict.clone() };
        let combined = Combined { verdict, refuses: false, warnings: ruled.combined.warnings.clone() };
        Ruled::new(&ruled.digest, combined, Vec::new(), &ruled.policies, ruled.checked).into()
    }

    /// Whether it was given to somebody who is an exception.
    pub fn is_bypass(&self) -> bool {
        self.verdict().outcome == Outcome::Bypass
    }

    /// Under which revision of the policies it was made.
    pub(super) fn revision(&self) -> Option<&str> {
        self.0.as_ref().map(|ruled| ruled.policies.revision())
    }

    /// Of which digest it is: of the manifest where a blob was asked for.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.as_ref().map(|ruled| &ruled.digest)
    }

    /// The verdict that answers are made of.
    pub fn verdict(&self) -> &Verdict {
        self.0.as_ref().map_or(&*OFF, |ruled| &ruled.combined.verdict)
    }

    /// Verdicts of policies that only warn.
    pub fn warnings(&self) -> &[Verdict] {
        self.0.as_ref().map_or(&[], |ruled| &ruled.combined.warnings)
    }

    /// What answers say of it beside what is given or refused; `None` where no policy has a part in it.
    pub fn told(&self) -> Option<&Told> {
        let ruled = self.0.as_ref()?;
        Some(ruled.told.get_or_init(|| {
            let Combined { verdict, warnings, .. } = &ruled.combined;
            Told {
                verdict: verdict.verdict_header().into(),
                reason: verdict.reason_header(),
                checked: Verdict::checked_header(ruled.checked).into(),
                warnings: warning_headers(warnings).into_iter().map(Bytes::from).collect(),
            }
        }))
    }

    /// When it was judged.
    pub fn checked(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|ruled| ruled.checked)
    }

    /// What to do about a refusal; `image` is what was asked for, as `host/repository@digest`.
    pub fn help(&self, image: &str) -> Option<String> {
        let ruled = self.0.as_ref().filter(|ruled| ruled.signable)?;
        let verdict = &ruled.combined.verdict;
        ruled.policies.get(&verdict.policy)?.help(verdict, image)
    }

    /// The same where `image` was to get a tag.
    pub fn tag_help(&self, image: &str, tag: &str) -> Option<String> {
        let ruled = self.0.as_ref()?;
        let verdict = &ruled.combined.verdict;
        ruled.policies.get(&verdict.policy)?.tag_help(verdict, image, tag)
    }
}
