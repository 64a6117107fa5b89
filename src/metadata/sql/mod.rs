//! The statements, as text: one constant each, by entity, every one of them listed.
//!
//! Parameters are written `$1`, which both databases take. A list is one JSON parameter, opened by `json_each`.
//! A test prepares every listed statement on a migrated database, which finds what a macro would find at build time.

pub mod blobs;
pub mod checks;
pub mod collect;
pub mod manifests;
pub mod repositories;
pub mod tags;
pub mod uploads;

/// Defines constants and lists them as `ALL`, so that none can be left out.
macro_rules! statements {
    ($($(#[$doc:meta])+ $name:ident = $sql:expr;)+) => {
        $($(#[$doc])+ pub const $name: &str = $sql;)+
        /// Every statement of this module with its name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
use statements;

/// Every statement of the store, with its name.
pub const STATEMENTS: &[&[(&str, &str)]] =
    &[repositories::ALL, blobs::ALL, uploads::ALL, manifests::ALL, tags::ALL, collect::ALL, checks::ALL];
