//! Accounts: the trait that a database implements, beside that for what is stored.
//!
//! One call is one transaction. Whatever changes what somebody may do moves [`AccessState::version`] in it, and writes
//! down who did it.

use std::fmt;

use async_trait::async_trait;

use crate::access::{NamespacePath, Role, TeamName, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::certificates::CertificateStore;
use crate::metadata::limits::LimitStore;
use crate::metadata::model::accounts::{
    AccessState, Actor, Changed, Granted, Member, NamespaceAdded, NamespaceRecord, NewToken, NewUser, PrincipalRecord,
    RepositoryRights, RobotRecord, SigningKeyRecord, TokenAdded, TokenRecord, UserAdded, UserChange, UserId,
    UserRecord,
};
use crate::metadata::publishers::PublisherStore;
use crate::oci::name::RepoName;

/// A place for accounts, and for what bounds them.
#[async_trait]
pub trait AccountStore: LimitStore + PublisherStore + CertificateStore + fmt::Debug + Send + Sync {
    /// Whether anything changed, and whether there is any account.
    async fn access_state(&self) -> Result<AccessState>;

    // --- users and robots

    /// Makes an account; a robot with its role.
    async fn user_add(&self, new: &NewUser, by: &Actor) -> Result<UserAdded>;

    /// An account by its name.
    async fn user_find(&self, name: &UserName) -> Result<Option<UserRecord>>;

    /// Accounts in the order of their names, those after `after`, `limit` at most.
    async fn user_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<UserRecord>>;

    /// The robots of a namespace in the order of their names, those after `after`, `limit` at most. `None`: there is no such
    /// namespace.
    async fn robot_list(
        &self,
        path: &NamespacePath,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Option<Vec<RobotRecord>>>;

    /// Changes an account. [`Changed::Last`]: nobody who may do everything would be left.
    async fn user_change(&self, name: &UserName, change: &UserChange, now: Timestamp, by: &Actor) -> Result<Changed>;

    /// Keeps the same password in another form, unless it was changed since it was read. Changes nobody's rights.
    async fn user_rehashed(&self, id: UserId, old: &str, new: &str) -> Result<()>;

    /// Ends an account, with its tokens, memberships and roles.
    async fn user_delete(&self, name: &UserName, now: Timestamp, by: &Actor) -> Result<Changed>;

    // --- tokens

    /// Makes a token for an account.
    async fn token_add(&self, user: &UserName, new: &NewToken, by: &Actor) -> Result<TokenAdded>;

    /// The account behind a token that has not ended. `None` also when the account is disabled.
    async fn token_find(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<PrincipalRecord>>;

    /// The tokens of an account, or of all, by their numbers, those after `after`, `limit` at most.
    async fn token_list(&self, user: Option<&UserName>, after: Option<&str>, limit: u32) -> Result<Vec<TokenRecord>>;

    /// Ends a token of an account, or of anybody, with those that were made by it. `false`: there is none.
    async fn token_delete(&self, user: Option<&UserName>, id: &str, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Writes down when tokens were used last.
    async fn token_used(&self, used: &[(String, Timestamp)]) -> Result<()>;

    /// An account that is not disabled; with a token, if one is named and has not ended.
    async fn principal_find(&self, id: UserId, token: Option<&str>, now: Timestamp) -> Result<Option<PrincipalRecord>>;

    // --- namespaces, teams, roles

    /// Makes a namespace with its first owner.
    async fn namespace_add(&self, new: &NamespaceRecord, owner: &UserName, by: &Actor) -> Result<NamespaceAdded>;

    /// A namespace.
    async fn namespace_find(&self, path: &NamespacePath) -> Result<Option<NamespaceRecord>>;

    /// Namespaces in the order of their paths, those after `after`, `limit` at most.
    async fn namespace_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<NamespaceRecord>>;

    /// Says whether the repositories of a namespace are public. `false`: there is none.
    async fn namespace_public(&self, path: &NamespacePath, public: bool, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Ends a namespace with its roles and robots. Its repositories stay. `false`: there is none.
    async fn namespace_delete(&self, path: &NamespacePath, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Gives a role, or takes it.
    async fn role_set(
        &self,
        path: &NamespacePath,
        member: &Member,
        role: Option<Role>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<Granted>;

    /// Who has which role. `None`: there is no such namespace.
    async fn role_list(&self, path: &NamespacePath) -> Result<Option<Vec<(Member, Role)>>>;

    /// Makes a team. `false`: there is one.
    async fn team_add(&self, name: &TeamName, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Teams in the order of their names, those after `after`, `limit` at most.
    async fn team_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<TeamName>>;

    /// Ends a team with its roles. `false`: there is none.
    async fn team_delete(&self, name: &TeamName, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Who is in a team. `None`: there is no such team.
    async fn team_members(&self, name: &TeamName) -> Result<Option<Vec<UserName>>>;

    /// Puts an account into a team or takes it out. `false`: one of the two is not there.
    async fn team_member_set(
        &self,
        name: &TeamName,
        user: &UserName,
        member: bool,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool>;

    // --- keys

    /// The keys that still verify.
    async fn key_list(&self, now: Timestamp) -> Result<Vec<SigningKeyRecord>>;

    /// Keeps a new key, and forgets those that ended.
    async fn key_add(&self, key: &SigningKeyRecord) -> Result<()>;

    // --- rights

    /// What somebody may do in a repository, whether or not it is there; one statement for everybody and everything.
    async fn rights(&self, repo: &RepoName, user: Option<UserId>) -> Result<RepositoryRights>;

    /// The same in many, in their order; one statement, however many they are.
    async fn rights_among(&self, repos: &[RepoName], user: Option<UserId>) -> Result<Vec<RepositoryRights>>;

    /// Says whether a repository is public; `None`: as its namespace is. `false`: there is no such repository.
    async fn repository_public(
        &self,
        repo: &RepoName,
        public: Option<bool>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool>;
}
