//! Repositories as a whole: listed, deleted.

use crate::metadata::model::accounts::Actor;
use crate::oci::name::RepoName;
use crate::registry::{Page, PageRequest, Purge, Registry, RegistryError, Result, cut_page, page_limit};

impl Registry {
    /// Repositories with at least one manifest, in byte order (`_catalog`).
    pub async fn list_repositories(&self, page: &PageRequest) -> Result<Page<RepoName>> {
        let limit = page_limit(page, self.options.limits.catalog_page_max);
        if limit == 0 {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        let entries = self.metadata.repository_list(page.last.as_deref(), limit + 1).await?;
        Ok(cut_page(entries, limit, RepoName::to_string))
    }

    /// Deletes a repository: tags, manifests, memberships and sessions.
    ///
    /// # Errors
    /// [`RegistryError::RepositoryUnknown`].
    pub async fn delete_repository(&self, repo: &RepoName, purge: Purge, by: &Actor) -> Result<()> {
        let now = self.clock.now();
        let deleted = self.metadata.repository_delete(repo, now, self.dead_until(now), by).await?;
        let deleted = deleted.ok_or(RegistryError::RepositoryUnknown)?;
        tracing::info!(
            repo.name = %repo,
            manifests = deleted.manifests,
            tags = deleted.tags,
            blobs = deleted.blobs.len(),
            "repository deleted"
        );
        self.after_delete(&deleted.blobs, purge).await
    }
}
