//! The transactions, written once for every SQL database.
//!
//! - A function of an entity's module is a transaction or a part of one. It takes a [`Conn`] and knows no dialect.
//! - Where many write at once, rows are locked before they are judged: first the repository, then sessions, memberships,
//!   edges, blobs, and objects to remove, each kind in the order of its ids. What has to be true of a row is asked by a
//!   statement after the one that locked it, and only what the lock gave is acted on: `docs/decisions/0008-locks-in-postgres.md`
//!   says which lock closes which race. On SQLite one task writes, and these statements are empty.
//! - A [`Database`] runs transactions; every one of them is a [`MetadataStore`](crate::metadata::MetadataStore).

mod account_store;
mod accounts;
mod audit;
mod audit_chain;
mod audit_store;
mod blobs;
mod certificates;
mod checks;
mod collect;
mod conn;
mod database;
mod downloads;
mod dump;
mod error;
mod garbage;
mod limits;
mod manifests;
mod outbox;
mod publishers;
mod record;
mod repositories;
mod retention;
mod scrub;
mod store;
mod tags;
mod trust;
mod uploads;
mod verdicts;
mod webhook_store;
mod webhooks;

pub(crate) use conn::{Conn, Value, values};
pub(crate) use database::Database;
pub(crate) use error::Fault;
pub(crate) use record::{FromSqlite, Record, SqliteRow, SqliteValue, record};

/// Hands work to the database. The names in brackets are cloned for each time that it is run, because it may outlive a
/// caller that goes away.
macro_rules! work {
    ($store:ident.$kind:ident, [$($owned:ident),*], |$conn:ident| $work:expr) => {{
        $(let $owned = $owned.to_owned();)*
        $store
            .$kind(move |$conn| {
                $(let $owned = $owned.clone();)*
                Box::pin(async move { $work.await })
            })
            .await
    }};
}
pub(crate) use work;
