//! Accounts, tokens, namespaces and roles.
//!
//! Each change begins with [`bump`], which is a row lock on Postgres: changes come one after the other, so that of two
//! that each leave one admin, one sees what the other did.

use crate::metadata::Result;
use crate::metadata::logic::{Conn, record};
use crate::metadata::model::accounts::AccessState;
use crate::metadata::rows::expect_rows;
use crate::metadata::sql::accounts as sql;

pub(super) mod keys;
pub(super) mod namespaces;
pub(super) mod teams;
pub(super) mod tokens;
pub(super) mod users;

record! {
    struct StateRow {
        version: i64,
        accounts: bool,
    }
}

/// Says to every node that somebody may do more or less than before.
pub(in crate::metadata::logic) async fn bump<C: Conn>(tx: &mut C) -> Result<()> {
    expect_rows(&sql::BUMP, 1, tx.run(&sql::BUMP, &[]).await?)
}

pub(super) async fn state<C: Conn>(conn: &mut C) -> Result<AccessState> {
    let StateRow { version, accounts } = conn.one(&sql::STATE, &[]).await?;
    Ok(AccessState { version, accounts })
}
