//! What proves who somebody is.

use std::time::Duration;

use serde_json::json;

use crate::access::{TokenScopes, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, namespaces, settle, users};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::{
    Actor, Maker, MakerRight, NewToken, PrincipalRecord, PrincipalToken, TokenAdded, TokenRecord, UserId,
};
use crate::metadata::rows::{expect_rows, inconsistent, json as rows_json, parse, records, text_after};
use crate::metadata::sql::accounts as sql;

/// How long a token that has ended is still shown.
const TOKENS_KEPT: Duration = Duration::from_hours(24 * 7);

record! {
    struct PrincipalRow {
        id: i64,
        name: String,
        admin: bool,
        epoch: i64,
        token: Option<String>,
        scopes: Option<String>,
        expires_at: Option<i64>,
        used_at: Option<i64>,
        login: Option<bool>,
    }
}

record! {
    struct TokenRow {
        key_id: String,
        user_name: String,
        name: String,
        scopes: String,
        created_at: i64,
        expires_at: Option<i64>,
        used_at: Option<i64>,
        parent: Option<String>,
        made_by: Option<String>,
    }
}

impl TryFrom<PrincipalRow> for PrincipalRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: PrincipalRow) -> Result<Self> {
        let token = match (row.token, row.scopes) {
            (Some(id), Some(list)) => Some(PrincipalToken {
                scopes: scopes(&id, &list)?,
                id,
                expires_at: row.expires_at.map(Timestamp::from_micros),
                used_at: row.used_at.map(Timestamp::from_micros),
                login: row.login.unwrap_or(false),
            }),
            _ => None,
        };
        let name = parse("users", "name", row.id, &row.name)?;
        Ok(Self { id: UserId(row.id), name, admin: row.admin, epoch: row.epoch, token })
    }
}

impl TryFrom<TokenRow> for TokenRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: TokenRow) -> Result<Self> {
        Ok(Self {
            scopes: scopes(&row.key_id, &row.scopes)?,
            user: parse("users", "name", &row.user_name, &row.user_name)?,
            id: row.key_id,
            name: row.name,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_micros),
            used_at: row.used_at.map(Timestamp::from_micros),
            parent: row.parent,
            made_by: row.made_by.map(|name| parse("users", "name", &name, &name)).transpose()?,
        })
    }
}

fn scopes(token: &str, list: &str) -> Result<TokenScopes> {
    let wrong = |error: &dyn std::fmt::Display| inconsistent("api_tokens", "scopes", token, error);
    let texts: Vec<String> = serde_json::from_str(list).map_err(|error| wrong(&error))?;
    TokenScopes::parse(&texts).map_err(|error| wrong(&error))
}

pub(in crate::metadata::logic) async fn add<C: Conn>(
    tx: &mut C,
    user: &UserName,
    new: &NewToken,
    by: &Actor,
) -> Result<TokenAdded> {
    if let Some(old) = &new.replaces
        && !delete(tx, Some(user), old, new.now, by).await?
    {
        return Ok(TokenAdded::OwnerUnknown);
    }
    let maker = match &new.maker {
        None => None,
        Some(maker) => match still_there(tx, maker, new.now).await? {
            None => return Ok(TokenAdded::MakerEnded),
            found => found,
        },
    };
    tx.run(&sql::USER_SHARE, values![user.as_str()]).await?;
    let owner = users::find(tx, user).await?.filter(|owner| owner.disabled_at.is_none());
    let Some(owner) = owner else { return Ok(TokenAdded::OwnerUnknown) };
    // A login is there to make what outlasts it.
    let parent = maker.as_ref().and_then(|maker| maker.token.as_ref()).filter(|token| !token.login);
    let parent = parent.map(|token| token.id.as_str());
    let made_by = maker.as_ref().map(|maker| maker.id).filter(|id| *id != owner.id);
    let scopes = rows_json(&new.scopes.to_texts());
    let values = &[
        new.id.as_str().into(),
        owner.id.0.into(),
        Value::Bytes(Some(&new.hash)),
        new.name.as_str().into(),
        scopes.as_str().into(),
        new.now.into(),
        new.expires_at.into(),
        i64::from(new.login).into(),
        Value::text_option(parent),
        Value::Int(made_by.map(|id| id.0)),
    ];
    tx.run(&sql::TOKENS_ENDED, values![new.now.before(TOKENS_KEPT)]).await?;
    expect_rows(&sql::TOKEN_INSERT, 1, tx.run(&sql::TOKEN_INSERT, values).await?)?;
    let mut detail = json!({"token": new.id, "scopes": new.scopes.to_texts()});
    if let Some(parent) = parent {
        detail["made_with"] = parent.into();
    }
    let kind = if new.login { "login" } else { "token.add" };
    write_down(tx, by, Event { kind, subject: user.as_str(), detail, now: new.now }).await?;
    Ok(TokenAdded::Added)
}

/// Whoever makes a token, if he still may. He stays as he is until the transaction ends, and so does the token by which he
/// acts: of what is made and what ends it, one sees the other.
async fn still_there<C: Conn>(tx: &mut C, maker: &Maker, now: Timestamp) -> Result<Option<PrincipalRecord>> {
    tx.run(&sql::MAKER_SHARE, values![maker.id.0]).await?;
    if let Some(token) = &maker.token {
        tx.run(&sql::PARENT_SHARE, values![token.as_str()]).await?;
    }
    let found = find_principal(tx, maker.id, maker.token.as_deref(), now).await?;
    let holds = |found: &PrincipalRecord| match &found.token {
        // What it makes is never more than it is itself.
        Some(token) => token.scopes.is_unlimited(),
        None => maker.epoch == found.epoch,
    };
    let Some(found) = found.filter(holds) else { return Ok(None) };
    let may = match &maker.right {
        MakerRight::Own => true,
        MakerRight::Everything => found.admin,
        MakerRight::Role(..) if found.admin => true,
        MakerRight::Role(path, least) => {
            let rights = namespaces::rights(tx, path.as_repository(), Some(maker.id)).await?;
            rights.namespace.as_ref() == Some(path) && rights.role.is_some_and(|role| role >= *least)
        }
    };
    Ok(may.then_some(found))
}

pub(in crate::metadata::logic) async fn find<C: Conn>(
    conn: &mut C,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<PrincipalRecord>> {
    let row: Option<PrincipalRow> = conn.first(&sql::TOKEN_FIND, &[Value::Bytes(Some(hash)), now.into()]).await?;
    row.map(PrincipalRecord::try_from).transpose()
}

pub(in crate::metadata::logic) async fn list<C: Conn>(
    conn: &mut C,
    user: Option<&UserName>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<TokenRecord>> {
    let values = &[Value::text_option(user.map(UserName::as_str)), text_after(after).into(), limit.into()];
    records::<TokenRow, _>(conn.all(&sql::TOKEN_LIST, values).await?)
}

pub(in crate::metadata::logic) async fn delete<C: Conn>(
    tx: &mut C,
    user: Option<&UserName>,
    id: &str,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    let owner: Option<(String,)> = tx.first(&sql::TOKEN_OWNER, values![id]).await?;
    let Some((owner,)) = owner.filter(|(owner,)| user.is_none_or(|user| user.as_str() == owner)) else {
        return Ok(false);
    };
    bump(tx).await?;
    let ended = tx.run(&sql::TOKEN_DELETE, values![id]).await? > 0;
    if ended {
        write_down(tx, by, Event { kind: "token.delete", subject: &owner, detail: json!({"token": id}), now }).await?;
    }
    settle(tx, ended).await
}

pub(in crate::metadata::logic) async fn used<C: Conn>(tx: &mut C, used: &[(String, Timestamp)]) -> Result<()> {
    let rows: Vec<(&str, i64)> = used.iter().map(|(id, at)| (id.as_str(), at.as_micros())).collect();
    let rows = rows_json(&rows);
    tx.run(&sql::TOKEN_USED, values![rows.as_str()]).await.map(drop)
}

pub(in crate::metadata::logic) async fn find_principal<C: Conn>(
    conn: &mut C,
    id: UserId,
    token: Option<&str>,
    now: Timestamp,
) -> Result<Option<PrincipalRecord>> {
    let values = &[id.0.into(), Value::text_option(token), now.into()];
    let row: Option<PrincipalRow> = conn.first(&sql::PRINCIPAL, values).await?;
    let found = row.map(PrincipalRecord::try_from).transpose()?;
    // Whoever acts by a token that has ended does not act.
    Ok(found.filter(|principal| token.is_none() || principal.token.is_some()))
}
