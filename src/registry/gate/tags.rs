//! Tags are set on what passes.

use super::Ruling;
use crate::metadata::model::trust::{Standing, Stood, TrustGuard};
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};
use crate::registry::{Registry, RegistryError, Result};
use crate::verify::policy::{Gate as Place, Policy};

impl Registry {
    /// Judges a manifest that is to get tags; says what has to be still so when it gets them, and what whoever sets them is
    /// told: policies that only warn let everything pass.
    ///
    /// Where no policy speaks of these tags, that has to be still so as well: another node may have taken in a document that
    /// this one has not seen. `None`: nothing can have changed.
    ///
    /// # Errors
    /// [`RegistryError::Unverified`] when a policy refuses.
    pub(in crate::registry) async fn admit_tags(
        &self,
        repo: &RepoName,
        tags: &[Tag],
        digest: &Digest,
    ) -> Result<(Option<TrustGuard>, Ruling)> {
        if tags.is_empty() {
            return Ok((None, Ruling::off()));
        }
        // Before the policies are taken, so that whoever judges by older ones is found out.
        let policy = (!self.options.policy_file).then(|| self.gate.seen());
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
            let guard = policy.map(|number| TrustGuard { stood: Stood::Anywhere, policy: Some(number) });
            return Ok((guard, Ruling::off()));
        }
        let standing = self.metadata.trust_standing(repo).await?;
        let assessment = self.assess(repo, standing.unwrap_or(Standing::default()), digest, &policies, None).await?;
        let ruling = assessment.ruling(&policies, &applying);
        if ruling.refuses() {
            return Err(RegistryError::Unverified(Box::new(ruling)));
        }
        Ok((Some(TrustGuard { stood: standing.map_or(Stood::Nowhere, Stood::At), policy }), ruling))
    }
}
