//! Tags are set on what passes.

use crate::metadata::model::trust::{Standing, TrustGuard};
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};
use crate::registry::{Registry, RegistryError, Result};
use crate::verify::policy::{Gate as Place, Policy};

impl Registry {
    /// Judges a manifest that is to get tags; says what has to be still so when it gets them.
    ///
    /// `None`: no policy speaks of these tags.
    ///
    /// # Errors
    /// [`RegistryError::Unverified`] when a policy refuses.
    pub(in crate::registry) async fn admit_tags(
        &self,
        repo: &RepoName,
        tags: &[Tag],
        digest: &Digest,
    ) -> Result<Option<TrustGuard>> {
        let document = self.gate.document();
        let policies = self.gate.policies.current();
        let mut applying: Vec<&Policy> = Vec::new();
        for tag in tags {
            for policy in policies.applying(repo, Place::Tag, Some(tag)) {
                if !applying.iter().any(|known| known.name == policy.name) {
                    applying.push(policy);
                }
            }
        }
        if applying.is_empty() {
            return Ok(None);
        }
        let standing = self.metadata.trust_standing(repo).await?;
        let assessment = self.assess(repo, standing.unwrap_or(Standing::default()), digest, &policies, None).await?;
        let ruling = assessment.ruling(&policies, &applying);
        if ruling.refuses() {
            return Err(RegistryError::Unverified(Box::new(ruling)));
        }
        Ok(Some(TrustGuard { standing, policy: (!self.options.policy_file).then_some(document) }))
    }
}
