//! Blobs are read through a manifest that passes.

use super::ruling::Ruling;
use super::{Guarded, Key};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{OpenBlob, Registry, RegistryError, Result};
use crate::verify::policy::{Blobs, Gate as Place, Policy};
use crate::verify::verdict::{Outcome, Reason, ReasonCode, Verdict};

/// Most manifests that are looked at for one blob.
const NAMING_MAX: u32 = 128;

impl Registry {
    /// A blob for GET, with what the gate says of it.
    ///
    /// # Errors
    /// Those of [`open_blob`](Self::open_blob).
    pub async fn pull_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Guarded<OpenBlob>> {
        let content = self.open_blob(repo, digest).await?;
        let ruling = self.rule_blob(repo, digest).await?;
        Ok(Guarded { content, ruling })
    }

    async fn rule_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Ruling> {
        let policies = self.gate.policies.current();
        let mut applying = policies.applying(repo, Place::Pull, None);
        applying.retain(|policy| policy.blobs == Blobs::Gate);
        if applying.is_empty() {
            return Ok(Ruling::off());
        }
        let standing = self.metadata.trust_standing(repo).await?;
        let standing = standing.ok_or_else(|| RegistryError::BlobUnknown(digest.clone()))?;
        let key: Key = (standing.repository, digest.clone());
        let now = self.clock.now();
        if let Some((_, ruling)) = self.gate.blobs.get(&key).filter(|(generation, ruling)| {
            *generation == standing.generation
                && ruling.revision() == Some(policies.revision())
                && ruling.holds_until().is_none_or(|until| now < until)
        }) {
            return Ok(ruling);
        }
        let mut best: Option<Ruling> = None;
        for (manifest, is_signature) in self.metadata.manifests_naming(standing.repository, digest, NAMING_MAX).await? {
            let ruling = if is_signature {
                Ruling::exempt(&manifest, &policies, now)
            } else {
                let mut applying = applying.clone();
                if applying.iter().any(|policy| policy.scope.excludes_artifact_types()) {
                    let record = self.metadata.manifest_find(repo, &Reference::Digest(manifest.clone())).await?;
                    let Some(record) = record else { continue };
                    self.leave_out_excluded(&mut applying, &record);
                }
                if applying.is_empty() {
                    Ruling::exempt(&manifest, &policies, now)
                } else {
                    self.assess(repo, standing, &manifest, &policies, None).await?.ruling(&policies, &applying)
                }
            };
            if ruling.is_clean() {
                best = Some(ruling);
                break;
            }
            // One that only warns is better than one that refuses; else the first tells why.
            if best.as_ref().is_none_or(|best| best.refuses() && !ruling.refuses()) {
                best = Some(ruling);
            }
        }
        let ruling = best.unwrap_or_else(|| {
            let verdicts: Vec<(&Policy, Verdict)> = applying.iter().map(|policy| (*policy, unnamed(policy))).collect();
            Ruling::of(digest, verdicts.iter().map(|(policy, verdict)| (*policy, verdict)), &policies, now)
        });
        if ruling.is_clean() {
            // What refuses may change with any manifest that comes, what passes only with signatures and deletions.
            self.gate.blobs.insert(key, (standing.generation, ruling.clone()));
        }
        Ok(ruling)
    }
}

/// What a policy says of a blob that no manifest names.
fn unnamed(policy: &Policy) -> Verdict {
    let message = "no manifest of the repository names this blob".to_owned();
    let reason = Reason { authority: None, artifact: None, code: ReasonCode::NoTrustedSigner, message };
    Verdict {
        policy: policy.name.clone(),
        revision: policy.revision.to_string(),
        reasons: vec![reason],
        ..Verdict::without_policy(Outcome::Unsigned)
    }
}
