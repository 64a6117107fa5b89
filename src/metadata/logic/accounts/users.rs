//! People and robots.

use serde_json::json;

use crate::access::UserName;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, namespaces};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::{Actor, Changed, NewUser, UserAdded, UserChange, UserId, UserRecord};
use crate::metadata::rows::{expect_rows, parse, records, text_after};
use crate::metadata::sql::accounts as sql;

record! {
    struct UserRow {
        id: i64,
        name: String,
        email: Option<String>,
        password: Option<String>,
        admin: bool,
        robot_of: Option<String>,
        disabled_at: Option<i64>,
        created_at: i64,
        epoch: i64,
    }
}

impl TryFrom<UserRow> for UserRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: UserRow) -> Result<Self> {
        Ok(Self {
            name: parse("users", "name", row.id, &row.name)?,
            email: row.email.map(|email| parse("users", "email", row.id, &email)).transpose()?,
            robot_of: row.robot_of.map(|path| parse("namespaces", "path", row.id, &path)).transpose()?,
            id: UserId(row.id),
            password: row.password,
            admin: row.admin,
            disabled_at: row.disabled_at.map(Timestamp::from_micros),
            created_at: Timestamp::from_micros(row.created_at),
            epoch: row.epoch,
        })
    }
}

pub(in crate::metadata::logic) async fn find<C: Conn>(conn: &mut C, name: &UserName) -> Result<Option<UserRecord>> {
    let row: Option<UserRow> = conn.first(&sql::USER_FIND, values![name.as_str()]).await?;
    row.map(UserRecord::try_from).transpose()
}

pub(in crate::metadata::logic) async fn list<C: Conn>(
    conn: &mut C,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<UserRecord>> {
    records::<UserRow, _>(conn.all(&sql::USER_LIST, values![text_after(after), limit]).await?)
}

pub(in crate::metadata::logic) async fn add<C: Conn>(tx: &mut C, new: &NewUser, by: &Actor) -> Result<UserAdded> {
    bump(tx).await?;
    let is_robot = new.robot_of.is_some() || new.name.is_robot();
    if is_robot && (new.admin || new.password.is_some()) {
        return Ok(UserAdded::Robot);
    }
    let namespace = match &new.robot_of {
        None => None,
        Some((path, _)) => match namespaces::find_id(tx, path).await? {
            None => return Ok(UserAdded::NamespaceUnknown),
            found => found,
        },
    };
    let values = &[
        new.name.as_str().into(),
        Value::text_option(new.email.as_ref().map(crate::access::Email::as_str)),
        Value::text_option(new.password.as_deref()),
        i64::from(new.admin).into(),
        Value::Int(namespace),
        new.now.into(),
    ];
    let row: Option<(i64,)> = tx.first(&sql::USER_INSERT, values).await?;
    let Some((id,)) = row else {
        let taken = find(tx, &new.name).await?.is_some();
        return Ok(if taken { UserAdded::NameTaken } else { UserAdded::EmailTaken });
    };
    if let (Some(namespace), Some((_, role))) = (namespace, &new.robot_of) {
        tx.run(&sql::GRANT_USER, values![namespace, id, role.rank()]).await?;
    }
    let detail = json!({"admin": new.admin, "robot_of": new.robot_of.as_ref().map(|(path, _)| path.as_str())});
    let event = Event { kind: "user.add", subject: new.name.as_str(), detail, now: new.now };
    write_down(tx, by, event).await?;
    Ok(UserAdded::Added(UserId(id)))
}

pub(in crate::metadata::logic) async fn change<C: Conn>(
    tx: &mut C,
    name: &UserName,
    change: &UserChange,
    now: Timestamp,
    by: &Actor,
) -> Result<Changed> {
    bump(tx).await?;
    let Some(user) = find(tx, name).await? else { return Ok(Changed::Unknown) };
    if is_for_people(change) && (user.robot_of.is_some() || name.is_robot()) {
        return Ok(Changed::Robot);
    }
    let ends_an_admin = matches!(change, UserChange::Disabled(true) | UserChange::Admin(false));
    if ends_an_admin && is_last_admin(tx, &user).await? {
        return Ok(Changed::Last);
    }
    let id = user.id.0;
    let (kind, changed) = match change {
        UserChange::Password(password) => {
            let values = &[id.into(), Value::text_option(password.as_deref())];
            let changed = tx.run(&sql::USER_PASSWORD, values).await?;
            tx.run(&sql::LOGINS_END, values![id]).await?;
            ("user.password", changed)
        }
        UserChange::Disabled(disabled) => {
            let kind = if *disabled { "user.disable" } else { "user.enable" };
            let since = disabled.then(|| user.disabled_at.unwrap_or(now).as_micros());
            let changed = tx.run(&sql::USER_DISABLED, &[id.into(), Value::Int(since)]).await?;
            // Whoever is enabled again may have been disabled by an older program, which left the tokens.
            if *disabled || user.disabled_at.is_some() {
                end_credentials(tx, id).await?;
            }
            (kind, changed)
        }
        UserChange::Admin(admin) => {
            let kind = if *admin { "user.admin" } else { "user.admin.end" };
            let changed = tx.run(&sql::USER_ADMIN, values![id, i64::from(*admin)]).await?;
            if !admin {
                tx.run(&sql::MADE_TOKENS_END, values![id]).await?;
            }
            (kind, changed)
        }
    };
    expect_rows(&sql::USER_FIND, 1, changed)?;
    write_down(tx, by, Event { kind, subject: name.as_str(), detail: json!({}), now }).await?;
    Ok(Changed::Done)
}

/// Ends whatever proved who an account is, and what it made for other people. Its row is locked by now, so a token that is
/// made at the same time is seen here, or sees what became of the account.
async fn end_credentials<C: Conn>(tx: &mut C, id: i64) -> Result<()> {
    tx.run(&sql::USER_EPOCH, values![id]).await?;
    tx.run(&sql::MADE_TOKENS_END, values![id]).await?;
    tx.run(&sql::USER_TOKENS_END, values![id]).await.map(drop)
}

/// Whether a change is none for a robot, which acts by its tokens in its namespace.
fn is_for_people(change: &UserChange) -> bool {
    matches!(change, UserChange::Admin(true) | UserChange::Password(Some(_)))
}

async fn is_last_admin<C: Conn>(tx: &mut C, user: &UserRecord) -> Result<bool> {
    let counts = user.admin && user.disabled_at.is_none() && user.robot_of.is_none();
    Ok(counts && !tx.scalar::<bool>(&sql::OTHER_ADMIN, values![user.id.0]).await?)
}

pub(in crate::metadata::logic) async fn rehashed<C: Conn>(tx: &mut C, id: UserId, old: &str, new: &str) -> Result<()> {
    tx.run(&sql::USER_REHASHED, values![id.0, old, new]).await.map(drop)
}

pub(in crate::metadata::logic) async fn delete<C: Conn>(
    tx: &mut C,
    name: &UserName,
    now: Timestamp,
    by: &Actor,
) -> Result<Changed> {
    bump(tx).await?;
    let Some(user) = find(tx, name).await? else { return Ok(Changed::Unknown) };
    // Without any account everybody may do everything, so once there was one, one stays whatever it may do.
    let is_person = user.robot_of.is_none();
    let is_last_person = is_person && !tx.scalar::<bool>(&sql::OTHER_PERSON, values![user.id.0]).await?;
    if is_last_person || is_last_admin(tx, &user).await? {
        return Ok(Changed::Last);
    }
    end_credentials(tx, user.id.0).await?;
    expect_rows(&sql::USER_DELETE, 1, tx.run(&sql::USER_DELETE, values![user.id.0]).await?)?;
    write_down(tx, by, Event { kind: "user.delete", subject: name.as_str(), detail: json!({}), now }).await?;
    Ok(Changed::Done)
}
