//! Namespaces, who has which role in them, and what that means for a repository.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use crate::access::{NamespacePath, Role, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, teams, users};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::limits::quotas::quota;
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::{
    Actor, Granted, Member, NamespaceAdded, NamespaceRecord, RepositoryRights, RobotRecord, UserId,
};
use crate::metadata::model::limits::Quota;
use crate::metadata::rows::{expect_rows, inconsistent, parse, records, text_after, texts};
use crate::metadata::sql::accounts as sql;
use crate::oci::name::RepoName;

record! {
    struct NamespaceRow {
        id: i64,
        path: String,
        public: bool,
        created_at: i64,
    }
}

record! {
    struct MemberRow {
        user_name: Option<String>,
        team_name: Option<String>,
        role: i64,
    }
}

record! {
    struct AmongRow {
        path: String,
        owns: bool,
        public: bool,
        role: Option<i64>,
        quota_bytes: Option<i64>,
        quota_repositories: Option<i64>,
    }
}

record! {
    struct RightsRow {
        namespace: Option<String>,
        namespace_public: bool,
        public: bool,
        role: Option<i64>,
        quota_bytes: Option<i64>,
        quota_repositories: Option<i64>,
    }
}

record! {
    struct RobotRow {
        name: String,
        role: Option<i64>,
        disabled_at: Option<i64>,
        created_at: i64,
    }
}

impl TryFrom<RobotRow> for RobotRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: RobotRow) -> Result<Self> {
        Ok(Self {
            name: parse("users", "name", &row.name, &row.name)?,
            role: row.role.map(role).transpose()?,
            disabled_at: row.disabled_at.map(Timestamp::from_micros),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<NamespaceRow> for NamespaceRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: NamespaceRow) -> Result<Self> {
        Ok(Self {
            path: parse("namespaces", "path", row.id, &row.path)?,
            public: row.public,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<MemberRow> for (Member, Role) {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: MemberRow) -> Result<Self> {
        let member = match (row.user_name, row.team_name) {
            (Some(user), None) => Member::User(parse("users", "name", &user, &user)?),
            (None, Some(team)) => Member::Team(parse("teams", "name", &team, &team)?),
            _ => return Err(inconsistent("grants", "user_id", "?", "it is neither a user's nor a team's")),
        };
        Ok((member, role(row.role)?))
    }
}

fn role(rank: i64) -> Result<Role> {
    Role::of_rank(rank).ok_or_else(|| inconsistent("grants", "role", rank, "there is no such role"))
}

async fn find_row<C: Conn>(conn: &mut C, path: &NamespacePath) -> Result<Option<NamespaceRow>> {
    conn.first(&sql::NAMESPACE_FIND, values![path.as_str()]).await
}

/// The number of a namespace.
pub(in crate::metadata::logic) async fn find_id<C: Conn>(conn: &mut C, path: &NamespacePath) -> Result<Option<i64>> {
    Ok(find_row(conn, path).await?.map(|row| row.id))
}

pub(in crate::metadata::logic) async fn find<C: Conn>(
    conn: &mut C,
    path: &NamespacePath,
) -> Result<Option<NamespaceRecord>> {
    find_row(conn, path).await?.map(NamespaceRecord::try_from).transpose()
}

pub(in crate::metadata::logic) async fn list<C: Conn>(
    conn: &mut C,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<NamespaceRecord>> {
    records::<NamespaceRow, _>(conn.all(&sql::NAMESPACE_LIST, values![text_after(after), limit]).await?)
}

pub(in crate::metadata::logic) async fn add<C: Conn>(
    tx: &mut C,
    new: &NamespaceRecord,
    owner: &UserName,
    by: &Actor,
) -> Result<NamespaceAdded> {
    bump(tx).await?;
    let Some(user) = users::find(tx, owner).await? else { return Ok(NamespaceAdded::OwnerUnknown) };
    let values = values![new.path.as_str(), i64::from(new.public), new.created_at];
    let row: Option<(i64,)> = tx.first(&sql::NAMESPACE_INSERT, values).await?;
    let Some((id,)) = row else { return Ok(NamespaceAdded::Taken) };
    tx.run(&sql::GRANT_USER, values![id, user.id.0, Role::Owner.rank()]).await?;
    let detail = json!({"owner": owner.as_str(), "public": new.public});
    let event = Event { kind: "namespace.add", subject: new.path.as_str(), detail, now: new.created_at };
    write_down(tx, by, event).await?;
    Ok(NamespaceAdded::Added)
}

pub(in crate::metadata::logic) async fn set_public<C: Conn>(
    tx: &mut C,
    path: &NamespacePath,
    public: bool,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(namespace) = find_row(tx, path).await? else { return Ok(false) };
    tx.run(&sql::NAMESPACE_PUBLIC, values![namespace.id, i64::from(public)]).await?;
    let event = Event { kind: "namespace.public", subject: path.as_str(), detail: json!({"public": public}), now };
    write_down(tx, by, event).await?;
    Ok(true)
}

pub(in crate::metadata::logic) async fn delete<C: Conn>(
    tx: &mut C,
    path: &NamespacePath,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(namespace) = find_row(tx, path).await? else { return Ok(false) };
    expect_rows(&sql::NAMESPACE_DELETE, 1, tx.run(&sql::NAMESPACE_DELETE, values![namespace.id]).await?)?;
    write_down(tx, by, Event { kind: "namespace.delete", subject: path.as_str(), detail: json!({}), now }).await?;
    Ok(true)
}

pub(in crate::metadata::logic) async fn set_role<C: Conn>(
    tx: &mut C,
    path: &NamespacePath,
    member: &Member,
    role: Option<Role>,
    now: Timestamp,
    by: &Actor,
) -> Result<Granted> {
    bump(tx).await?;
    let Some(namespace) = find_row(tx, path).await? else { return Ok(Granted::NamespaceUnknown) };
    let ns = namespace.id;
    let (id, grant, revoke) = match member {
        Member::User(name) => (users::find(tx, name).await?.map(|user| user.id.0), &sql::GRANT_USER, &sql::REVOKE_USER),
        Member::Team(name) => (teams::find_id(tx, name).await?, &sql::GRANT_TEAM, &sql::REVOKE_TEAM),
    };
    let Some(id) = id else { return Ok(Granted::MemberUnknown) };
    if let Member::User(name) = member
        && role != Some(Role::Owner)
        && is_last_owner(tx, ns, name).await?
    {
        return Ok(Granted::LastOwner);
    }
    match role {
        Some(role) => tx.run(grant, values![ns, id, role.rank()]).await?,
        None => tx.run(revoke, values![ns, id]).await?,
    };
    let (key, name) = match member {
        Member::User(name) => ("user", name.as_str()),
        Member::Team(name) => ("team", name.as_str()),
    };
    let detail = json!({key: name, "role": role.map(Role::as_str)});
    let kind = if role.is_some() { "role.grant" } else { "role.revoke" };
    write_down(tx, by, Event { kind, subject: path.as_str(), detail, now }).await?;
    Ok(Granted::Done)
}

/// Whether a user owns a namespace, and no other user does himself.
async fn is_last_owner<C: Conn>(tx: &mut C, ns: i64, user: &UserName) -> Result<bool> {
    let members: Vec<(Member, Role)> = records::<MemberRow, _>(tx.all(&sql::MEMBERS, values![ns]).await?)?;
    let mut owners = members.iter().filter_map(|(member, role)| match member {
        Member::User(name) if *role == Role::Owner => Some(name),
        _ => None,
    });
    Ok(owners.next() == Some(user) && owners.next().is_none())
}

pub(in crate::metadata::logic) async fn list_roles<C: Conn>(
    conn: &mut C,
    path: &NamespacePath,
) -> Result<Option<Vec<(Member, Role)>>> {
    let Some(namespace) = find_row(conn, path).await? else { return Ok(None) };
    records::<MemberRow, _>(conn.all(&sql::MEMBERS, values![namespace.id]).await?).map(Some)
}

pub(in crate::metadata::logic) async fn robots<C: Conn>(
    conn: &mut C,
    path: &NamespacePath,
    after: Option<&str>,
    limit: u32,
) -> Result<Option<Vec<RobotRecord>>> {
    let Some(namespace) = find_row(conn, path).await? else { return Ok(None) };
    let values = values![namespace.id, text_after(after), limit];
    records::<RobotRow, _>(conn.all(&sql::ROBOTS, values).await?).map(Some)
}

pub(in crate::metadata::logic) async fn rights<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    user: Option<UserId>,
) -> Result<RepositoryRights> {
    let owners = texts(NamespacePath::owners_of(repo));
    let values = &[repo.as_str().into(), owners.as_slice().into(), Value::Int(user.map(|user| user.0))];
    let row: RightsRow = conn.one(&sql::RIGHTS, values).await?;
    let namespace = row.namespace.map(|path| parse("namespaces", "path", &path, &path)).transpose()?;
    let quota = match &namespace {
        Some(path) => quota(path, row.quota_bytes, row.quota_repositories)?,
        None => Quota::default(),
    };
    let (namespace_public, role) = (row.namespace_public, row.role.map(role).transpose()?);
    Ok(RepositoryRights { namespace, namespace_public, public: row.public, role, quota })
}

/// The same of many, in their order.
pub(in crate::metadata::logic) async fn rights_among<C: Conn>(
    conn: &mut C,
    repos: &[RepoName],
    user: Option<UserId>,
) -> Result<Vec<RepositoryRights>> {
    let paths = texts(repos.iter().map(RepoName::as_str));
    let owners: BTreeSet<&str> = repos.iter().flat_map(NamespacePath::owners_of).collect();
    let owners = texts(owners);
    let values = &[paths.as_slice().into(), owners.as_slice().into(), Value::Int(user.map(|user| user.0))];
    let rows: Vec<AmongRow> = conn.all(&sql::RIGHTS_AMONG, values).await?;
    let (mut namespaces, mut own) = (HashMap::new(), HashMap::new());
    for row in rows {
        if row.owns {
            let namespace: NamespacePath = parse("namespaces", "path", &row.path, &row.path)?;
            let quota = quota(&namespace, row.quota_bytes, row.quota_repositories)?;
            let (namespace, role) = (Some(namespace), row.role.map(role).transpose()?);
            namespaces.insert(
                row.path,
                RepositoryRights { namespace, namespace_public: row.public, public: row.public, role, quota },
            );
        } else {
            own.insert(row.path, row.public);
        }
    }
    let rights = |repo: &RepoName| {
        let owner = NamespacePath::owners_of(repo).find_map(|path| namespaces.get(path));
        let rights = owner.cloned().unwrap_or_default();
        RepositoryRights { public: own.get(repo.as_str()).copied().unwrap_or(rights.public), ..rights }
    };
    Ok(repos.iter().map(rights).collect())
}

pub(in crate::metadata::logic) async fn set_repository_public<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    public: Option<bool>,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let values = &[repo.as_str().into(), Value::Int(public.map(i64::from))];
    if tx.run(&sql::REPOSITORY_PUBLIC, values).await? == 0 {
        return Ok(false);
    }
    let event = Event { kind: "repository.public", subject: repo.as_str(), detail: json!({"public": public}), now };
    write_down(tx, by, event).await?;
    Ok(true)
}
