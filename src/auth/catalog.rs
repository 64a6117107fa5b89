//! What somebody sees of all repositories: each that he may pull from.

use crate::access::Action;
use crate::auth::identity::Identity;
use crate::auth::service::{Auth, Result};
use crate::oci::name::RepoName;

impl Auth {
    /// Those of some repositories that somebody may pull from, in their order; one statement, however many they are.
    ///
    /// What a token of the token service grants in single repositories counts for nothing here: it grants the catalog as a
    /// whole, or not ([`Identity::has_catalog`]).
    ///
    /// # Errors
    /// [`AuthError::Store`](crate::auth::AuthError::Store).
    pub async fn visible(&self, identity: &Identity, repos: Vec<RepoName>) -> Result<Vec<RepoName>> {
        if matches!(identity, Identity::Everybody) || repos.is_empty() {
            return Ok(repos);
        }
        let rights = self.store.rights_among(&repos, identity.id()).await?;
        let seen = repos.into_iter().zip(rights).filter(|(repo, rights)| {
            identity.actions(rights).intersection(identity.token_actions(repo)).contains(Action::Pull)
        });
        Ok(seen.map(|(repo, _)| repo).collect())
    }
}
