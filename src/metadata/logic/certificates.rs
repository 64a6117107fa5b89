//! Names in client certificates: the transactions, and the trait that they make up.

use async_trait::async_trait;
use serde_json::json;

use crate::access::{CertificateName, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::certificates::{CERTIFICATE_NAMES_MAX, CertificateStore};
use crate::metadata::logic::accounts::{bump, change, users};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Database, record, values, work};
use crate::metadata::model::accounts::{Actor, PrincipalRecord, UserId};
use crate::metadata::model::certificates::{CertificateAdded, CertificateOwner, CertificateRecord};
use crate::metadata::rows::{parse, records, texts};
use crate::metadata::sql::accounts::USER_EPOCH;
use crate::metadata::sql::certificates as sql;

record! {
    struct NameRow {
        id: i64,
        name: String,
        created_at: i64,
    }
}

record! {
    struct OwnerRow {
        id: i64,
        name: String,
        admin: bool,
        epoch: i64,
        disabled: bool,
    }
}

impl TryFrom<NameRow> for CertificateRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: NameRow) -> Result<Self> {
        let name = parse("user_certificates", "name", row.id, &row.name)?;
        Ok(Self { name, created_at: Timestamp::from_micros(row.created_at) })
    }
}

impl TryFrom<OwnerRow> for CertificateOwner {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: OwnerRow) -> Result<Self> {
        let name = parse("users", "name", row.id, &row.name)?;
        let principal = PrincipalRecord { id: UserId(row.id), name, admin: row.admin, epoch: row.epoch, token: None };
        Ok(Self { principal, disabled: row.disabled })
    }
}

async fn add<C: Conn>(
    tx: &mut C,
    user: &UserName,
    name: &CertificateName,
    now: Timestamp,
    by: &Actor,
) -> Result<CertificateAdded> {
    bump(tx).await?;
    let Some(found) = users::find(tx, user).await? else { return Ok(CertificateAdded::UserUnknown) };
    if tx.scalar::<i64>(&sql::COUNT, values![found.id.0]).await? >= CERTIFICATE_NAMES_MAX {
        return Ok(CertificateAdded::Full);
    }
    if tx.run(&sql::INSERT, values![found.id.0, name.as_str(), now]).await? == 0 {
        return Ok(CertificateAdded::NameTaken);
    }
    let detail = json!({"certificate": name.as_str()});
    write_down(tx, by, Event { kind: "user.certificate.add", subject: user.as_str(), detail, now }).await?;
    Ok(CertificateAdded::Added)
}

async fn list<C: Conn>(conn: &mut C, user: &UserName) -> Result<Option<Vec<CertificateRecord>>> {
    let Some(found) = users::find(conn, user).await? else { return Ok(None) };
    records::<NameRow, _>(conn.all(&sql::LIST, values![found.id.0]).await?).map(Some)
}

async fn delete<C: Conn>(
    tx: &mut C,
    user: &UserName,
    name: &CertificateName,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(found) = users::find(tx, user).await? else { return Ok(false) };
    if tx.run(&sql::DELETE, values![found.id.0, name.as_str()]).await? == 0 {
        return Ok(false);
    }
    // What was made by the certificate does not say by which name.
    tx.run(&USER_EPOCH, values![found.id.0]).await?;
    let detail = json!({"certificate": name.as_str()});
    write_down(tx, by, Event { kind: "user.certificate.delete", subject: user.as_str(), detail, now }).await?;
    Ok(true)
}

async fn find<C: Conn>(conn: &mut C, names: &[String]) -> Result<Vec<CertificateOwner>> {
    records::<OwnerRow, _>(conn.all(&sql::FIND, &[names.into()]).await?)
}

#[async_trait]
impl<D: Database> CertificateStore for D {
    async fn certificate_add(
        &self,
        user: &UserName,
        name: &CertificateName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<CertificateAdded> {
        change!(self, [user, name, by], |tx| add(tx, &user, &name, now, &by))
    }

    async fn certificate_list(&self, user: &UserName) -> Result<Option<Vec<CertificateRecord>>> {
        work!(self.read, [user], |conn| list(conn, &user))
    }

    async fn certificate_delete(
        &self,
        user: &UserName,
        name: &CertificateName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool> {
        change!(self, [user, name, by], |tx| delete(tx, &user, &name, now, &by))
    }

    async fn certificate_find(&self, names: &[CertificateName]) -> Result<Vec<CertificateOwner>> {
        let names = texts(names);
        work!(self.read, [names], |conn| find(conn, &names))
    }
}
