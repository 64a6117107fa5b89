//! What a policy asks for: signatures, attestations; and what it trusts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::authority::Authority;
use super::conditions::Condition;
use super::document::COSIGN_SIGN;
use super::pattern::Wanted;
use super::person::comparable;
use super::reading::Reading;
use super::shape::{Node, listed};
use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::json::excerpt;
use crate::oci::name::RepoName;
use crate::verify::proof::{Claim, Failure, Format, Proof, Signer};
use crate::verify::verdict::ReasonCode;

/// Which signatures are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SignatureRule {
    /// How many different signers.
    pub threshold: usize,
    /// The authorities that count, as places among those of the policy.
    pub of: Vec<usize>,
    /// Whether bundles count.
    pub bundle: bool,
    /// Whether simple signing counts.
    pub legacy: bool,
    /// Which statements of bundles are signatures.
    pub predicate_types: Vec<String>,
    /// What must be among the signed annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether the signed name must be that of the repository.
    pub own_reference: bool,
}

/// An attestation that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct AttestationRule {
    /// Its type.
    pub predicate_type: String,
    /// The authorities that count, as places among those of the policy.
    pub of: Vec<usize>,
    /// What has to hold for its predicate.
    pub conditions: Vec<Condition>,
    /// How long ago it may have been signed.
    pub max_age: Option<Duration>,
}

/// Whom and what a policy trusts no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revoked {
    digests: BTreeSet<Digest>,
    keys: BTreeSet<String>,
    identities: Vec<RevokedIdentity>,
}

/// An identity that does not count any more.
#[derive(Clone, Debug, PartialEq)]
struct RevokedIdentity {
    issuer: Wanted,
    /// Where it is exact, as it is compared.
    subject: Wanted,
    /// Only what was signed from this time on.
    after: Option<Timestamp>,
}

impl SignatureRule {
    pub(super) fn read(node: &Node<'_>, authorities: &[Node<'_>], cx: &mut Reading<'_>) -> Option<Self> {
        let of = read_of(node, authorities, cx);
        let words = |name: &str| -> Vec<&str> { node.items_of(name).iter().filter_map(Node::text).collect() };
        let formats = node.field("formats").map_or_else(|| vec!["bundle", "legacy"], |_| words("formats"));
        let types = node.field("predicateTypes").map_or_else(|| vec![COSIGN_SIGN], |_| words("predicateTypes"));
        let threshold = node.field("threshold").map_or(Some(1), |at| at.value().as_u64());
        Some(Self {
            threshold: usize::try_from(threshold?).ok()?,
            of: of?,
            bundle: formats.contains(&"bundle"),
            legacy: formats.contains(&"legacy"),
            predicate_types: types.into_iter().map(str::to_owned).collect(),
            annotations: node.texts_of("annotations").into_iter().collect(),
            own_reference: node.text_of("dockerReference") == Some("repository"),
        })
    }

    /// Whether signatures of a format count.
    pub fn takes(&self, format: Format) -> bool {
        match format {
            Format::Bundle => self.bundle,
            Format::Legacy => self.legacy,
        }
    }

    /// Whether a claim is a signature in the sense of this rule, rather than something said about the image.
    pub fn is_signature(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Signature { predicate_type: None, .. } => true,
            Claim::Signature { predicate_type: Some(kind), .. } | Claim::Attestation { predicate_type: kind, .. } => {
                self.predicate_types.contains(kind)
            }
        }
    }

    /// Whether what was signed is what the rule asks for.
    pub fn accept(&self, claim: &Claim, repository: &RepoName) -> Result<(), Failure> {
        let mismatch = |message: String| Failure::new(ReasonCode::SubjectMismatch, message);
        let (reference, annotations) = match claim {
            Claim::Signature { docker_reference, annotations, .. } => (docker_reference.as_deref(), Some(annotations)),
            Claim::Attestation { .. } => (None, None),
        };
        for (name, wanted) in &self.annotations {
            let found = annotations.and_then(|annotations| annotations.get(name));
            if found.and_then(|found| found.as_str()) != Some(wanted) {
                let found = found.map_or_else(|| "missing".to_owned(), |found| excerpt(&found.to_string()));
                let message = format!("the signed annotation `{name}` is {found}, not `{}`", excerpt(wanted));
                return Err(mismatch(message));
            }
        }
        if self.own_reference && !reference.is_some_and(|reference| names_repository(reference, repository)) {
            let found = reference.map_or_else(|| "no name".to_owned(), |found| format!("`{}`", excerpt(found)));
            return Err(mismatch(format!("signed under {found}, not as {repository}")));
        }
        Ok(())
    }
}

/// Whether a signed reference, such as `registry.example.com:5000/prod/app`, is that of a repository on any host.
fn names_repository(reference: &str, repository: &RepoName) -> bool {
    reference.split_once('/').is_some_and(|(_, path)| path == repository.as_str())
}

impl AttestationRule {
    pub(super) fn read(
        node: &Node<'_>,
        names: &[Node<'_>],
        authorities: &[Authority],
        cx: &mut Reading<'_>,
    ) -> Option<Self> {
        let of = read_of(node, names, cx);
        let all = node.items_of("conditions");
        let conditions: Vec<_> = all.iter().filter_map(|condition| Condition::read(condition, cx)).collect();
        let max_age = cx.span(node, "maxAge");
        let of = of?;
        let named = of.iter().filter_map(|at| authorities.get(*at));
        for authority in named.filter(|authority| max_age.is_some() && !authority.proves_time()) {
            let message = format!(
                "nothing proves when `{}` signed, so that no attestation by it is ever young enough; set `tlog` or `timestamp` of \
                 that authority to `require`, or name others in `of`",
                authority.name
            );
            cx.findings.error(format!("{}.maxAge", node.place), message);
        }
        let predicate_type = node.text_of("predicateType")?.to_owned();
        (conditions.len() == all.len()).then_some(Self { predicate_type, of, conditions, max_age })
    }

    /// Whether an attestation of the right type says what it has to.
    pub fn accept(
        &self,
        predicate: &serde_json::Value,
        signed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        for condition in &self.conditions {
            condition.holds(predicate).map_err(|message| Failure::new(ReasonCode::AttestationCondition, message))?;
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        let unproved = || Failure::new(ReasonCode::NoTimestamp, "nothing proves when it was made");
        let signed_at = signed_at.ok_or_else(unproved)?;
        if now > signed_at.after(max_age) {
            let message = format!("signed {}, which is too long ago", signed_at.to_rfc3339());
            return Err(Failure::new(ReasonCode::AttestationCondition, message));
        }
        Ok(())
    }
}

impl Revoked {
    pub(super) fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Self {
        let mut revoked = Self::default();
        for digest in node.items_of("digests") {
            let text = digest.text().unwrap_or_default();
            let parsed = text.parse().map_err(|error| format!("`{}`: {error}", excerpt(text)));
            revoked.digests.extend(cx.findings.take(&digest.place, parsed));
        }
        for key in node.items_of("keys") {
            let text = key.text().unwrap_or_default();
            match text.parse::<Digest>() {
                Ok(digest) if text.starts_with("sha256:") => drop(revoked.keys.insert(digest.to_string())),
                _ => cx.findings.error(&key.place, "write `sha256:` and the 64 digits of the key's fingerprint"),
            }
        }
        for identity in node.items_of("identities") {
            revoked.identities.extend(RevokedIdentity::read(&identity, cx));
        }
        revoked
    }

    /// Whether an image, or a manifest with signatures, is revoked.
    pub fn has_digest(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Whether a key is revoked.
    pub fn has_key(&self, fingerprint: &str) -> bool {
        self.keys.contains(fingerprint)
    }

    /// Whether a signature of somebody is revoked. One whose time nothing proves is, as soon as any is.
    pub fn has_signer(&self, signer: &Signer, signed_at: Option<Timestamp>) -> bool {
        match signer {
            Signer::Key { fingerprint } => self.has_key(fingerprint),
            Signer::Identity { issuer, subject, .. } => {
                self.identities.iter().any(|revoked| revoked.is(issuer, subject, signed_at))
            }
        }
    }

    /// The reason for a proof that does not count any more.
    pub fn refuse(&self, proof: &Proof) -> Result<(), Failure> {
        let failure = |message: &str| Err(Failure::new(ReasonCode::Revoked, message));
        if self.has_digest(&proof.artifact) {
            return failure("the manifest of the signature is revoked");
        }
        if self.has_signer(&proof.signer, proof.signed_at) {
            return failure("the signer is revoked");
        }
        if self.has_key(&proof.key) {
            return failure("the key of its certificate is revoked");
        }
        Ok(())
    }
}

impl RevokedIdentity {
    fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let after = cx.moment(node, "signedAfter");
        let issuer = cx.wanted(node, "issuer", "issuerRegExp");
        let subject = cx.wanted(node, "subject", "subjectRegExp").map(|subject| match subject {
            Wanted::Exact(exact) => Wanted::Exact(comparable(&exact).into_owned()),
            pattern @ Wanted::Pattern(_) => pattern,
        });
        Some(Self { issuer: issuer?, subject: subject?, after })
    }

    fn is(&self, issuer: &str, subject: &str, signed_at: Option<Timestamp>) -> bool {
        // An expression may be written for either form.
        let subjects = [subject, &*comparable(subject)];
        self.issuer.matches(issuer)
            && subjects.iter().any(|subject| self.subject.matches(subject))
            && self.after.is_none_or(|after| signed_at.is_none_or(|at| at >= after))
    }
}

/// The authorities that `of` names, each once; all of them when it is left out.
fn read_of(node: &Node<'_>, authorities: &[Node<'_>], cx: &mut Reading<'_>) -> Option<Vec<usize>> {
    if node.field("of").is_none() {
        return Some((0..authorities.len()).collect());
    }
    let names: Vec<_> = authorities.iter().map(|authority| authority.text_of("name").unwrap_or_default()).collect();
    let mut places = BTreeSet::new();
    let mut sound = true;
    for item in node.items_of("of") {
        let name = item.text().unwrap_or_default();
        if let Some(place) = names.iter().position(|known| *known == name) {
            places.insert(place);
        } else {
            sound = false;
            let message = format!("no authority is called `{}`; there are {}", excerpt(name), listed(&names));
            cx.findings.error(&item.place, message);
        }
    }
    (sound && !places.is_empty()).then(|| places.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_compared_behind_its_host() {
        let repository: RepoName = "prod/app".parse().expect("a name");
        for (reference, expected) in [
            ("localhost:5000/prod/app", true),
            ("registry.example.com/prod/app", true),
            ("prod/app", false),
            ("host/evil/prod/app", false),
            ("host/prod/app:v1", false),
            ("host/prod/application", false),
            ("host/PROD/app", false),
            ("", false),
        ] {
            assert_eq!(names_repository(reference, &repository), expected, "{reference}");
        }
    }
}
