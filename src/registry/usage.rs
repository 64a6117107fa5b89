//! What repositories take: bytes in all, shared with others, and their own.

use crate::metadata::model::{RepositoryUsage, TotalUsage};
use crate::oci::glob::RepoGlob;
use crate::registry::{Registry, Result};

/// Repositories read at a time.
const PAGE: u32 = 500;

impl Registry {
    /// Gives what each repository takes to `report`, in byte order of the names, those that `glob` matches; and says
    /// what they take together.
    pub async fn measure_usage(
        &self,
        glob: Option<&RepoGlob>,
        report: &mut (dyn FnMut(RepositoryUsage) + Send),
    ) -> Result<TotalUsage> {
        let (mut after, mut measured) = (None, Vec::new());
        loop {
            let page = self.metadata.repository_ids(after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            let wanted = page.iter().filter(|(repo, _)| glob.is_none_or(|glob| glob.matches(repo)));
            let ids: Vec<i64> = wanted.map(|(_, id)| *id).collect();
            if !ids.is_empty() {
                self.metadata.repository_usage(&ids).await?.into_iter().for_each(&mut *report);
                measured.extend(ids);
            }
        }
        self.metadata.total_usage(glob.map(|_| measured.as_slice())).await.map_err(Into::into)
    }
}
