//! The referrers of a digest (end-12), those of the API and those that a client without it left in a fallback tag.

use std::collections::BTreeMap;

use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::oci::referrers::{fallback_tag, index_entries};
use crate::registry::{PageRequest, Registry, Result, page_limit};

/// A page of descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrerPage {
    /// As JSON, with commas between them.
    pub descriptors: String,
    /// Where the list goes on.
    pub next: Option<String>,
}

impl Registry {
    /// Descriptors of the manifests whose subject is `subject`, in digest order. Nobody refers to it, or the repository is
    /// not there: an empty page.
    pub async fn list_referrers(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &PageRequest,
    ) -> Result<ReferrerPage> {
        let limits = &self.options.limits;
        let limit = page_limit(page, limits.referrer_page_max);
        if limit == 0 {
            return Ok(ReferrerPage::default());
        }
        if artifact_type.is_none() && page.last.is_none() {
            // Nearly always these are all, few, and nobody left a list of his own: then one text says it.
            let all = self.metadata.referrers_text(repo, subject, &fallback_tag(subject), limit).await?;
            if let Some(descriptors) = all.filter(|all| all.len() <= limits.referrer_page_bytes_max) {
                return Ok(ReferrerPage { descriptors, next: None });
            }
        }
        let after = page.last.as_deref();
        let stored = self.metadata.referrer_list(repo, subject, artifact_type, after, limit + 1).await?;
        let mut merged = self.fallback_referrers(repo, subject, artifact_type, after).await?;
        // What the registry itself knows of a manifest is newer than what a client once wrote into the tag.
        merged.extend(stored.into_iter().map(|referrer| (referrer.digest.to_string(), referrer.descriptor)));
        let mut entries = Vec::new();
        let (mut bytes, mut last, total) = (0, None, merged.len());
        for (digest, descriptor) in merged {
            bytes += descriptor.len();
            let full = entries.len() >= limit as usize || bytes > limits.referrer_page_bytes_max;
            if full && !entries.is_empty() {
                break;
            }
            entries.push(descriptor);
            last = Some(digest);
        }
        let next = if entries.len() < total { last } else { None };
        Ok(ReferrerPage { descriptors: entries.join(","), next })
    }

    /// What stands in the index under the fallback tag of `subject` (distribution-spec, "Referrers Tag Schema"), by digest.
    async fn fallback_referrers(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&str>,
    ) -> Result<BTreeMap<String, String>> {
        let tag = fallback_tag(subject);
        let Some(index) = self.metadata.manifest_find(repo, &Reference::Tag(tag)).await? else {
            return Ok(BTreeMap::new());
        };
        Ok(index_entries(&index.payload)
            .into_iter()
            .filter(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)))
            .map(|entry| (entry.digest.to_string(), entry.json))
            .filter(|(digest, _)| after.is_none_or(|after| digest.as_str() > after))
            .collect())
    }
}
