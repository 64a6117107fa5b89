//! Rules for publishing: the transactions, and the trait that they make up.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use crate::access::{Audience, ClaimRules, Issuer, NamespacePath, PublisherName, Role};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, change, namespaces};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Database, Value, record, values, work};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::{
    NewPublisher, PublisherAdded, PublisherId, PublisherRecord, PublisherRole, PublisherUse,
};
use crate::metadata::publishers::{PUBLISHERS_MAX, PublisherStore};
use crate::metadata::rows::{inconsistent, parse, records, texts};
use crate::metadata::sql::publishers as sql;

record! {
    struct RuleRow {
        id: i64,
        namespace: String,
        name: String,
        issuer: String,
        audience: String,
        claims: String,
        role: i64,
        reuse: i64,
        has_jwks: bool,
        created_at: i64,
    }
}

record! {
    struct RoleRow {
        id: i64,
        namespace: String,
        name: String,
        role: i64,
        reuse: i64,
    }
}

impl TryFrom<RuleRow> for PublisherRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: RuleRow) -> Result<Self> {
        let id = row.id;
        let patterns: BTreeMap<String, String> =
            serde_json::from_str(&row.claims).map_err(|error| inconsistent(TABLE, "claims", id, error))?;
        Ok(Self {
            id: PublisherId(id),
            namespace: parse("namespaces", "path", id, &row.namespace)?,
            name: parse(TABLE, "name", id, &row.name)?,
            issuer: parse(TABLE, "issuer", id, &row.issuer)?,
            audience: parse(TABLE, "audience", id, &row.audience)?,
            claims: ClaimRules::parse(patterns).map_err(|error| inconsistent(TABLE, "claims", id, error))?,
            role: role(id, row.role)?,
            reuse: row.reuse != 0,
            has_jwks: row.has_jwks,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<RoleRow> for PublisherRole {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: RoleRow) -> Result<Self> {
        Ok(Self {
            id: PublisherId(row.id),
            namespace: parse("namespaces", "path", row.id, &row.namespace)?,
            name: parse(TABLE, "name", row.id, &row.name)?,
            role: role(row.id, row.role)?,
        })
    }
}

const TABLE: &str = "publisher_rules";

fn role(id: i64, rank: i64) -> Result<Role> {
    Role::of_rank(rank).ok_or_else(|| inconsistent(TABLE, "role", id, "there is no such role"))
}

async fn add<C: Conn>(tx: &mut C, new: &NewPublisher, by: &Actor) -> Result<PublisherAdded> {
    bump(tx).await?;
    let Some(ns) = namespaces::find_id(tx, &new.namespace).await? else { return Ok(PublisherAdded::NamespaceUnknown) };
    if tx.scalar::<i64>(&sql::COUNT, values![ns]).await? >= PUBLISHERS_MAX {
        return Ok(PublisherAdded::Full);
    }
    let claims = json!(new.claims.patterns()).to_string();
    let values = &[
        ns.into(),
        new.name.as_str().into(),
        new.issuer.as_str().into(),
        new.audience.as_str().into(),
        claims.as_str().into(),
        new.role.rank().into(),
        i64::from(new.reuse).into(),
        Value::text_option(new.jwks.as_deref()),
        new.now.into(),
    ];
    let row: Option<(i64,)> = tx.first(&sql::INSERT, values).await?;
    if row.is_none() {
        return Ok(PublisherAdded::NameTaken);
    }
    let detail = json!({
        "rule": new.name.as_str(), "issuer": new.issuer.as_str(), "audience": new.audience.as_str(),
        "claims": new.claims.patterns(), "role": new.role.as_str(), "reuse": new.reuse, "keys": new.jwks.is_some(),
    });
    let event = Event { kind: "publisher.add", subject: new.namespace.as_str(), detail, now: new.now };
    write_down(tx, by, event).await?;
    Ok(PublisherAdded::Added)
}

async fn list<C: Conn>(conn: &mut C, path: &NamespacePath) -> Result<Option<Vec<PublisherRecord>>> {
    let Some(ns) = namespaces::find_id(conn, path).await? else { return Ok(None) };
    records::<RuleRow, _>(conn.all(&sql::LIST, values![ns]).await?).map(Some)
}

async fn delete<C: Conn>(
    tx: &mut C,
    path: &NamespacePath,
    name: &PublisherName,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(ns) = namespaces::find_id(tx, path).await? else { return Ok(false) };
    if tx.run(&sql::DELETE, values![ns, name.as_str()]).await? == 0 {
        return Ok(false);
    }
    let detail = json!({"rule": name.as_str()});
    write_down(tx, by, Event { kind: "publisher.delete", subject: path.as_str(), detail, now }).await?;
    Ok(true)
}

async fn matching<C: Conn>(
    conn: &mut C,
    issuer: &Issuer,
    audiences: &[String],
    namespace: Option<&NamespacePath>,
    after: Option<PublisherId>,
    limit: u32,
) -> Result<Vec<PublisherRecord>> {
    let namespace = Value::text_option(namespace.map(NamespacePath::as_str));
    let after = after.map_or(i64::MIN, |id| id.0);
    let values = &[issuer.as_str().into(), audiences.into(), namespace, after.into(), limit.into()];
    records::<RuleRow, _>(conn.all(&sql::MATCH, values).await?)
}

async fn keys<C: Conn>(conn: &mut C, ids: &[i64]) -> Result<Vec<(PublisherId, String)>> {
    let rows: Vec<(i64, String)> = conn.all(&sql::KEYS, values![ids]).await?;
    Ok(rows.into_iter().map(|(id, jwks)| (PublisherId(id), jwks)).collect())
}

async fn find<C: Conn>(conn: &mut C, ids: &[i64]) -> Result<Vec<PublisherRole>> {
    records::<RoleRow, _>(conn.all(&sql::FIND, values![ids]).await?)
}

async fn take_note<C: Conn>(tx: &mut C, used: &PublisherUse) -> Result<Vec<PublisherRole>> {
    let ids: Vec<i64> = used.rules.iter().map(|(id, _)| id.0).collect();
    let mut rows: Vec<RoleRow> = tx.all(&sql::FIND, values![ids.as_slice()]).await?;
    // Two that use the same token wait for each other at the first rule, and never in a circle.
    rows.sort_unstable_by_key(|row| row.id);
    let mut granted = Vec::new();
    for row in rows {
        let first = match (row.reuse != 0, &used.jti) {
            (true, _) => true,
            (false, None) => false,
            (false, Some(jti)) => {
                let values = &[row.id.into(), Value::Bytes(Some(jti)), used.ends_at.into()];
                tx.run(&sql::USE, values).await? == 1
            }
        };
        if first {
            granted.push(PublisherRole::try_from(row)?);
        }
    }
    for role in &granted {
        let looked_at = used.rules.iter().find(|(id, _)| *id == role.id).map(|(_, claims)| claims);
        let by = Actor { name: Some(role.shown()), ..used.by.clone() };
        let detail = json!({
            "rule": role.name.as_str(), "issuer": used.issuer.as_str(), "claims": looked_at, "role": role.role.as_str(),
        });
        let event = Event { kind: "publisher.exchange", subject: role.namespace.as_str(), detail, now: used.now };
        write_down(tx, &by, event).await?;
    }
    Ok(granted)
}

#[async_trait]
impl<D: Database> PublisherStore for D {
    async fn publisher_add(&self, new: &NewPublisher, by: &Actor) -> Result<PublisherAdded> {
        change!(self, [new, by], |tx| add(tx, &new, &by))
    }

    async fn publisher_list(&self, path: &NamespacePath) -> Result<Option<Vec<PublisherRecord>>> {
        work!(self.read, [path], |conn| list(conn, &path))
    }

    async fn publisher_delete(
        &self,
        path: &NamespacePath,
        name: &PublisherName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool> {
        change!(self, [path, name, by], |tx| delete(tx, &path, &name, now, &by))
    }

    async fn publisher_match(
        &self,
        issuer: &Issuer,
        audiences: &[Audience],
        namespace: Option<&NamespacePath>,
        after: Option<PublisherId>,
        limit: u32,
    ) -> Result<Vec<PublisherRecord>> {
        let (audiences, namespace) = (texts(audiences), namespace.cloned());
        work!(self.read, [issuer, audiences, namespace], |conn| matching(
            conn,
            &issuer,
            &audiences,
            namespace.as_ref(),
            after,
            limit
        ))
    }

    async fn publisher_keys(&self, ids: &[PublisherId]) -> Result<Vec<(PublisherId, String)>> {
        let ids = numbers(ids);
        work!(self.read, [ids], |conn| keys(conn, &ids))
    }

    async fn publisher_find(&self, ids: &[PublisherId]) -> Result<Vec<PublisherRole>> {
        let ids = numbers(ids);
        work!(self.read, [ids], |conn| find(conn, &ids))
    }

    async fn publisher_use(&self, used: &PublisherUse) -> Result<Vec<PublisherRole>> {
        work!(self.write, [used], |tx| take_note(tx, &used))
    }

    async fn publisher_sweep(&self, now: Timestamp) -> Result<u64> {
        work!(self.write, [], |tx| tx.run(&sql::SWEEP, values![now]))
    }
}

fn numbers(ids: &[PublisherId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}
