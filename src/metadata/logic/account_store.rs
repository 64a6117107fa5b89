//! The trait for accounts, method by method: which are reads, which are transactions, and what they run.

use async_trait::async_trait;

use crate::access::{NamespacePath, Role, TeamName, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::accounts::AccountStore;
use crate::metadata::logic::accounts::{self, change, keys, namespaces, teams, tokens, users};
use crate::metadata::logic::{Database, work};
use crate::metadata::model::accounts::{
    AccessState, Actor, Changed, Granted, Member, NamespaceAdded, NamespaceRecord, NewToken, NewUser, PrincipalRecord,
    RepositoryRights, RobotRecord, SigningKeyRecord, TokenAdded, TokenRecord, UserAdded, UserChange, UserId,
    UserRecord,
};
use crate::oci::name::RepoName;

#[async_trait]
impl<D: Database> AccountStore for D {
    async fn access_state(&self) -> Result<AccessState> {
        work!(self.read, [], |conn| accounts::state(conn))
    }

    async fn user_add(&self, new: &NewUser, by: &Actor) -> Result<UserAdded> {
        change!(self, [new, by], |tx| users::add(tx, &new, &by))
    }

    async fn user_find(&self, name: &UserName) -> Result<Option<UserRecord>> {
        work!(self.read, [name], |conn| users::find(conn, &name))
    }

    async fn user_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<UserRecord>> {
        let after = after.map(str::to_owned);
        work!(self.read, [after], |conn| users::list(conn, after.as_deref(), limit))
    }

    async fn robot_list(
        &self,
        path: &NamespacePath,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Option<Vec<RobotRecord>>> {
        let after = after.map(str::to_owned);
        work!(self.read, [path, after], |conn| namespaces::robots(conn, &path, after.as_deref(), limit))
    }

    async fn user_change(&self, name: &UserName, change: &UserChange, now: Timestamp, by: &Actor) -> Result<Changed> {
        change!(self, [name, change, by], |tx| users::change(tx, &name, &change, now, &by))
    }

    async fn user_rehashed(&self, id: UserId, old: &str, new: &str) -> Result<()> {
        work!(self.write, [old, new], |tx| users::rehashed(tx, id, &old, &new))
    }

    async fn user_delete(&self, name: &UserName, now: Timestamp, by: &Actor) -> Result<Changed> {
        change!(self, [name, by], |tx| users::delete(tx, &name, now, &by))
    }

    async fn token_add(&self, user: &UserName, new: &NewToken, by: &Actor) -> Result<TokenAdded> {
        work!(self.write, [user, new, by], |tx| tokens::add(tx, &user, &new, &by))
    }

    async fn token_find(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<PrincipalRecord>> {
        work!(self.read, [hash], |conn| tokens::find(conn, &hash, now))
    }

    async fn token_list(&self, user: Option<&UserName>, after: Option<&str>, limit: u32) -> Result<Vec<TokenRecord>> {
        let (user, after) = (user.cloned(), after.map(str::to_owned));
        work!(self.read, [user, after], |conn| tokens::list(conn, user.as_ref(), after.as_deref(), limit))
    }

    async fn token_delete(&self, user: Option<&UserName>, id: &str, now: Timestamp, by: &Actor) -> Result<bool> {
        let user = user.cloned();
        work!(self.write, [user, id, by], |tx| tokens::delete(tx, user.as_ref(), &id, now, &by))
    }

    async fn token_used(&self, used: &[(String, Timestamp)]) -> Result<()> {
        work!(self.write, [used], |tx| tokens::used(tx, &used))
    }

    async fn principal_find(&self, id: UserId, token: Option<&str>, now: Timestamp) -> Result<Option<PrincipalRecord>> {
        let token = token.map(str::to_owned);
        work!(self.read, [token], |conn| tokens::find_principal(conn, id, token.as_deref(), now))
    }

    async fn namespace_add(&self, new: &NamespaceRecord, owner: &UserName, by: &Actor) -> Result<NamespaceAdded> {
        change!(self, [new, owner, by], |tx| namespaces::add(tx, &new, &owner, &by))
    }

    async fn namespace_find(&self, path: &NamespacePath) -> Result<Option<NamespaceRecord>> {
        work!(self.read, [path], |conn| namespaces::find(conn, &path))
    }

    async fn namespace_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<NamespaceRecord>> {
        let after = after.map(str::to_owned);
        work!(self.read, [after], |conn| namespaces::list(conn, after.as_deref(), limit))
    }

    async fn namespace_public(&self, path: &NamespacePath, public: bool, now: Timestamp, by: &Actor) -> Result<bool> {
        change!(self, [path, by], |tx| namespaces::set_public(tx, &path, public, now, &by))
    }

    async fn namespace_delete(&self, path: &NamespacePath, now: Timestamp, by: &Actor) -> Result<bool> {
        change!(self, [path, by], |tx| namespaces::delete(tx, &path, now, &by))
    }

    async fn role_set(
        &self,
        path: &NamespacePath,
        member: &Member,
        role: Option<Role>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<Granted> {
        change!(self, [path, member, by], |tx| namespaces::set_role(tx, &path, &member, role, now, &by))
    }

    async fn role_list(&self, path: &NamespacePath) -> Result<Option<Vec<(Member, Role)>>> {
        work!(self.read, [path], |conn| namespaces::list_roles(conn, &path))
    }

    async fn team_add(&self, name: &TeamName, now: Timestamp, by: &Actor) -> Result<bool> {
        work!(self.write, [name, by], |tx| teams::add(tx, &name, now, &by))
    }

    async fn team_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<TeamName>> {
        let after = after.map(str::to_owned);
        work!(self.read, [after], |conn| teams::list(conn, after.as_deref(), limit))
    }

    async fn team_delete(&self, name: &TeamName, now: Timestamp, by: &Actor) -> Result<bool> {
        change!(self, [name, by], |tx| teams::delete(tx, &name, now, &by))
    }

    async fn team_members(&self, name: &TeamName) -> Result<Option<Vec<UserName>>> {
        work!(self.read, [name], |conn| teams::members(conn, &name))
    }

    async fn team_member_set(
        &self,
        name: &TeamName,
        user: &UserName,
        member: bool,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool> {
        change!(self, [name, user, by], |tx| teams::set_member(tx, &name, &user, member, now, &by))
    }

    async fn key_list(&self, now: Timestamp) -> Result<Vec<SigningKeyRecord>> {
        work!(self.read, [], |conn| keys::list(conn, now))
    }

    async fn key_add(&self, key: &SigningKeyRecord) -> Result<()> {
        work!(self.write, [key], |tx| keys::add(tx, &key))
    }

    async fn rights(&self, repo: &RepoName, user: Option<UserId>) -> Result<RepositoryRights> {
        work!(self.read, [repo], |conn| namespaces::rights(conn, &repo, user))
    }

    async fn rights_among(&self, repos: &[RepoName], user: Option<UserId>) -> Result<Vec<RepositoryRights>> {
        work!(self.read, [repos], |conn| namespaces::rights_among(conn, &repos, user))
    }

    async fn repository_public(
        &self,
        repo: &RepoName,
        public: Option<bool>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool> {
        change!(self, [repo, by], |tx| namespaces::set_repository_public(tx, &repo, public, now, &by))
    }
}
