//! Accounts, tokens, namespaces and roles.
//!
//! Each change begins with [`bump`], which is a row lock on Postgres: changes come one after the other, so that of two
//! that each leave one admin, one sees what the other did. A change that turns out to be none ends with [`settle`], so that
//! no node forgets what it knows because somebody asks for what is not there.

use crate::metadata::Result;
use crate::metadata::logic::{Conn, record};
use crate::metadata::model::accounts::{AccessState, Changed, Granted, NamespaceAdded, UserAdded};
use crate::metadata::model::certificates::CertificateAdded;
use crate::metadata::model::publishers::PublisherAdded;
use crate::metadata::model::webhooks::WebhookAdded;
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

/// What became of a change that began with [`bump`].
pub(in crate::metadata::logic) trait Outcome {
    /// Whether anything was changed.
    fn is_change(&self) -> bool;
}

macro_rules! outcomes {
    ($($outcome:ty: $changed:pat),+ $(,)?) => {
        $(impl Outcome for $outcome {
            fn is_change(&self) -> bool {
                matches!(self, $changed)
            }
        })+
    };
}

impl Outcome for bool {
    fn is_change(&self) -> bool {
        *self
    }
}

outcomes! {
    Changed: Changed::Done,
    Granted: Granted::Done,
    UserAdded: UserAdded::Added(_),
    NamespaceAdded: NamespaceAdded::Added,
    PublisherAdded: PublisherAdded::Added,
    CertificateAdded: CertificateAdded::Added,
    WebhookAdded: WebhookAdded::Added,
}

/// Takes [`bump`] back when nothing was changed.
pub(in crate::metadata::logic) async fn settle<C: Conn, T: Outcome>(tx: &mut C, outcome: T) -> Result<T> {
    if !outcome.is_change() {
        expect_rows(&sql::UNBUMP, 1, tx.run(&sql::UNBUMP, &[]).await?)?;
    }
    Ok(outcome)
}

/// A transaction that begins with [`bump`], and what has to follow.
macro_rules! change {
    ($store:ident, [$($owned:ident),*], |$conn:ident| $work:expr) => {
        $crate::metadata::logic::work!($store.write, [$($owned),*], |$conn| async {
            let outcome = $work.await?;
            $crate::metadata::logic::accounts::settle($conn, outcome).await
        })
    };
}
pub(in crate::metadata::logic) use change;

pub(super) async fn state<C: Conn>(conn: &mut C) -> Result<AccessState> {
    let StateRow { version, accounts } = conn.one(&sql::STATE, &[]).await?;
    Ok(AccessState { version, accounts })
}
