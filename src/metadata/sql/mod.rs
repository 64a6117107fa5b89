//! The statements, as text: one constant each, by entity, every one of them listed.
//!
//! - Parameters are written `$1`, which both databases take. A list is one parameter.
//! - A statement is written once. Where the databases differ, a macro of `dialect` stands in the text.
//! - A statement whose text is empty for a database is one that it does not need; it does nothing there.
//!
//! A test prepares every listed statement on a migrated database of each kind, which finds what a macro that asks a
//! database would find at build time.

pub mod accounts;
pub mod audit;
pub mod blobs;
pub mod certificates;
pub mod checks;
pub mod collect;
mod dialect;
pub mod downloads;
pub mod dump;
pub mod facts;
pub mod garbage;
pub mod limits;
pub mod manifests;
pub mod publishers;
pub mod repositories;
pub mod retention;
pub mod tags;
pub mod trust;
pub mod uploads;
pub mod verdicts;
pub mod webhooks;

/// One statement in both dialects.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The constant's name, with its module.
    pub name: &'static str,
    /// The text for SQLite.
    pub sqlite: &'static str,
    /// The text for Postgres.
    pub postgres: &'static str,
}

/// Defines constants and lists them as `ALL`, so that none can be left out.
macro_rules! statements {
    ($module:literal: $($(#[$doc:meta])+ $name:ident = $sql:expr;)+) => {
        mod sqlite {
            use crate::metadata::sql::dialect::sqlite::*;
            $(pub(super) const $name: &str = $sql;)+
        }
        mod postgres {
            use crate::metadata::sql::dialect::postgres::*;
            $(pub(super) const $name: &str = $sql;)+
        }
        $($(#[$doc])+ pub const $name: $crate::metadata::sql::Statement = $crate::metadata::sql::Statement {
            name: concat!($module, "::", stringify!($name)),
            sqlite: sqlite::$name,
            postgres: postgres::$name,
        };)+
        /// Every statement of this module.
        pub const ALL: &[$crate::metadata::sql::Statement] = &[$($name),+];
    };
}
use statements;

/// Every statement of the store.
pub const STATEMENTS: &[&[Statement]] = &[
    repositories::ALL,
    blobs::ALL,
    uploads::ALL,
    manifests::ALL,
    tags::ALL,
    retention::ALL,
    collect::ALL,
    garbage::ALL,
    checks::ALL,
    accounts::ALL,
    audit::ALL,
    webhooks::ALL,
    limits::ALL,
    publishers::ALL,
    certificates::ALL,
    downloads::ALL,
    trust::ALL,
    verdicts::ALL,
    dump::ALL,
    facts::ALL,
];
