//! Teams: accounts that have their roles in common.

use serde_json::json;

use crate::access::{TeamName, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, users};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::rows::{expect_rows, parse, text_after};
use crate::metadata::sql::accounts as sql;

pub(super) async fn find_id<C: Conn>(conn: &mut C, name: &TeamName) -> Result<Option<i64>> {
    let row: Option<(i64, String, i64)> = conn.first(&sql::TEAM_FIND, values![name.as_str()]).await?;
    Ok(row.map(|(id, ..)| id))
}

pub(in crate::metadata::logic) async fn add<C: Conn>(
    tx: &mut C,
    name: &TeamName,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    let row: Option<(i64,)> = tx.first(&sql::TEAM_INSERT, values![name.as_str(), now]).await?;
    if row.is_some() {
        write_down(tx, by, Event { kind: "team.add", subject: name.as_str(), detail: json!({}), now }).await?;
    }
    Ok(row.is_some())
}

pub(in crate::metadata::logic) async fn list<C: Conn>(
    conn: &mut C,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<TeamName>> {
    let rows: Vec<(i64, String, i64)> = conn.all(&sql::TEAM_LIST, values![text_after(after), limit]).await?;
    rows.into_iter().map(|(id, name, _)| parse("teams", "name", id, &name)).collect()
}

pub(in crate::metadata::logic) async fn delete<C: Conn>(
    tx: &mut C,
    name: &TeamName,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(id) = find_id(tx, name).await? else { return Ok(false) };
    expect_rows(&sql::TEAM_DELETE, 1, tx.run(&sql::TEAM_DELETE, values![id]).await?)?;
    write_down(tx, by, Event { kind: "team.delete", subject: name.as_str(), detail: json!({}), now }).await?;
    Ok(true)
}

pub(in crate::metadata::logic) async fn members<C: Conn>(
    conn: &mut C,
    name: &TeamName,
) -> Result<Option<Vec<UserName>>> {
    let Some(id) = find_id(conn, name).await? else { return Ok(None) };
    let names: Vec<String> = conn.column(&sql::TEAM_MEMBERS, values![id]).await?;
    names.iter().map(|name| parse("users", "name", name, name)).collect::<Result<_>>().map(Some)
}

pub(in crate::metadata::logic) async fn set_member<C: Conn>(
    tx: &mut C,
    name: &TeamName,
    user: &UserName,
    member: bool,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let (Some(team), Some(account)) = (find_id(tx, name).await?, users::find(tx, user).await?) else {
        return Ok(false);
    };
    let statement = if member { &sql::TEAM_JOIN } else { &sql::TEAM_LEAVE };
    tx.run(statement, values![team, account.id.0]).await?;
    let kind = if member { "team.join" } else { "team.leave" };
    let detail = json!({"user": user.as_str()});
    write_down(tx, by, Event { kind, subject: name.as_str(), detail, now }).await?;
    Ok(true)
}
