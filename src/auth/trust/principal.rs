//! Somebody who acts by rules of namespaces and not by an account.

use crate::access::{Actions, NamespacePath, Role, Scopes};
use crate::clock::Timestamp;
use crate::metadata::model::publishers::{PublisherId, PublisherRole};
use crate::oci::name::RepoName;

/// A job elsewhere, by the rules that took its token.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// All rules by which the token was given, in the order of their numbers.
    pub rules: Vec<PublisherId>,
    /// What those give that have not ended since, in the same order.
    pub roles: Vec<PublisherRole>,
    /// Until when.
    pub until: Timestamp,
    /// What the token service wrote into a token; `None`: it is the one from the exchange, and limits nothing.
    pub limit: Option<Scopes>,
}

impl Publisher {
    /// How it is called in records: `publisher:NAMESPACE/NAME` of each rule.
    pub fn shown(&self) -> String {
        self.roles.iter().map(PublisherRole::shown).collect::<Vec<_>>().join(" ")
    }

    /// The numbers of the rules.
    pub(in crate::auth) fn numbers(&self) -> Vec<i64> {
        self.rules.iter().map(|rule| rule.0).collect()
    }

    /// To whom its upload sessions belong.
    pub fn holder(&self) -> String {
        let ids: Vec<String> = self.numbers().iter().map(i64::to_string).collect();
        format!("publisher:{}", ids.join(","))
    }

    /// Its role in a namespace.
    pub fn role_in(&self, namespace: &NamespacePath) -> Option<Role> {
        self.roles.iter().filter(|role| role.namespace == *namespace).map(|role| role.role).max()
    }

    /// Each namespace in which it has a role, in the order of their paths.
    pub fn namespaces(&self) -> Vec<(NamespacePath, Role)> {
        let mut paths: Vec<&NamespacePath> = self.roles.iter().map(|role| &role.namespace).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.into_iter().filter_map(|path| Some((path.clone(), self.role_in(path)?))).collect()
    }

    /// What its token leaves of all actions in a repository.
    pub(in crate::auth) fn limit(&self, repo: &RepoName) -> Actions {
        self.limit.as_ref().map_or(Actions::ALL, |scopes| scopes.actions(repo))
    }
}
