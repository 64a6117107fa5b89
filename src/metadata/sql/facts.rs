//! The tables of facts, each column once: what is read, what is inserted and what a backup names follow from here.
//!
//! Rows go in as one JSON parameter, bytes as hexadecimal digits in it. A column of yes and no is read and written as 0
//! and 1, as SQLite holds it.

use crate::metadata::dump::{Column, Kind, Table};
use crate::metadata::sql::Statement;

/// How a column is read.
macro_rules! read {
    ($column:ident Flag) => {
        concat!("CAST(CASE WHEN ", stringify!($column), " THEN 1 ELSE 0 END AS BIGINT) AS ", stringify!($column))
    };
    ($column:ident $kind:ident) => {
        stringify!($column)
    };
}

/// How the rows after a key are found.
macro_rules! after {
    ($table:ident $one:ident) => {
        concat!(
            " FROM ",
            stringify!($table),
            " WHERE ",
            stringify!($one),
            " > $1 ORDER BY ",
            stringify!($one),
            " LIMIT $2"
        )
    };
    ($table:ident $one:ident $two:ident) => {
        concat!(
            " FROM ",
            stringify!($table),
            " WHERE (",
            stringify!($one),
            ", ",
            stringify!($two),
            ") > ($1, $2) ORDER BY ",
            stringify!($one),
            ", ",
            stringify!($two),
            " LIMIT $3"
        )
    };
}

/// What makes a sequence go on after the largest id.
macro_rules! sequence {
    ($table:ident id) => {
        concat!(
            "SELECT setval(pg_get_serial_sequence('",
            stringify!($table),
            "', 'id'), COALESCE(MAX(id), 1), MAX(id) IS NOT NULL) FROM ",
            stringify!($table)
        )
    };
    ($table:ident $($key:ident)+) => {
        ""
    };
}

/// Texts with commas between them.
macro_rules! list {
    ($first:expr $(, $more:expr)*) => {
        concat!($first $(, ", ", $more)*)
    };
}

/// The statement that inserts rows.
macro_rules! insert {
    ($dialect:ident $table:ident $($at:literal $column:ident $kind:ident)+) => {
        concat!(
            "INSERT INTO ", stringify!($table), " (", list!($(stringify!($column)),+), ") SELECT ",
            list!($(value!($dialect $at $kind)),+), " FROM ", crate::metadata::sql::dialect::$dialect::rows!("$1")
        )
    };
}

/// A value in a row of JSON.
macro_rules! value {
    ($dialect:ident $at:literal Integer) => {
        crate::metadata::sql::dialect::$dialect::int!($at)
    };
    ($dialect:ident $at:literal Flag) => {
        concat!(crate::metadata::sql::dialect::$dialect::int!($at), " <> 0")
    };
    ($dialect:ident $at:literal Text) => {
        crate::metadata::sql::dialect::$dialect::text!($at)
    };
    (sqlite $at:literal Bytes) => {
        concat!("unhex(", crate::metadata::sql::dialect::sqlite::text!($at), ")")
    };
    (postgres $at:literal Bytes) => {
        concat!("decode(", crate::metadata::sql::dialect::postgres::text!($at), ", 'hex')")
    };
}

/// A statement that both databases understand.
const fn same(name: &'static str, text: &'static str) -> Statement {
    Statement { name, sqlite: text, postgres: text }
}

/// Lists tables with the columns that are facts, and makes a module with the statements of each.
macro_rules! tables {
    ($($table:ident [$($key:ident)+] by $batch:literal {
        $($at:literal $column:ident: $kind:ident),+ $(,)?
    })+) => {
        $(#[doc = concat!("The statements of `", stringify!($table), "`.")]
        pub(crate) mod $table {
            use crate::metadata::sql::Statement;

            pub(super) const SELECT: Statement = super::same(
                concat!("facts::select_", stringify!($table)),
                concat!("SELECT ", list!($(read!($column $kind)),+), after!($table $($key)+)),
            );
            pub(super) const INSERT: Statement = Statement {
                name: concat!("facts::insert_", stringify!($table)),
                sqlite: insert!(sqlite $table $($at $column $kind)+),
                postgres: insert!(postgres $table $($at $column $kind)+),
            };
            pub(super) const CLEAR: Statement = super::same(
                concat!("facts::clear_", stringify!($table)),
                concat!(
                    "DELETE FROM ", stringify!($table), " WHERE (", list!($(stringify!($key)),+), ") IN (SELECT ",
                    list!($(stringify!($key)),+), " FROM ", stringify!($table), " LIMIT 10000)"
                ),
            );
            pub(super) const SEQUENCE: Statement = Statement {
                name: concat!("facts::sequence_", stringify!($table)),
                sqlite: "",
                postgres: sequence!($table $($key)+),
            };
        })+

        /// Every table of facts, parents first.
        pub const TABLES: &[Table] = &[$(Table {
            name: stringify!($table),
            columns: &[$(Column { name: stringify!($column), kind: Kind::$kind }),+],
            key: &[$(stringify!($key)),+],
            batch_rows: $batch,
            select: &$table::SELECT,
            insert: &$table::INSERT,
            clear: &$table::CLEAR,
            sequence: &$table::SEQUENCE,
        }),+];

        /// Every statement of this module.
        pub const ALL: &[Statement] =
            &[$($table::SELECT, $table::INSERT, $table::CLEAR, $table::SEQUENCE),+];
    };
}

tables! {
    repositories [id] by 1000 {
        0 id: Integer, 1 ns_id: Integer, 2 path: Text, 3 policy: Text, 4 created_at: Integer, 5 deleted_at: Integer,
        6 is_public: Integer, 7 trust_generation: Integer,
    }
    blobs [id] by 200 {
        0 id: Integer, 1 digest: Text, 2 size: Integer, 3 object_key: Text, 4 adopted: Flag, 5 damaged_at: Integer,
        6 orphan_since: Integer, 7 gc_after: Integer, 8 created_at: Integer, 9 inline: Bytes,
    }
    repo_blobs [repo_id blob_id] by 2000 {
        0 repo_id: Integer, 1 blob_id: Integer, 2 lease_until: Integer, 3 leased_at: Integer, 4 gc_after: Integer,
    }
    manifests [id] by 32 {
        0 id: Integer, 1 repo_id: Integer, 2 digest: Text, 3 media_type: Text, 4 artifact_type: Text, 5 subject: Text,
        6 referrer: Text, 7 state: Text, 8 untagged_since: Integer, 9 pulled_at: Integer, 10 gc_after: Integer,
        11 created_at: Integer, 12 payload: Bytes, 13 pushed_at: Integer, 14 damaged_at: Integer,
        15 signature_bytes: Integer,
    }
    manifest_blobs [manifest_id pos] by 2000 {
        0 manifest_id: Integer, 1 pos: Integer, 2 repo_id: Integer, 3 digest: Text, 4 size: Integer, 5 role: Text,
        6 blob_id: Integer,
    }
    manifest_children [parent_id pos] by 2000 {
        0 parent_id: Integer, 1 pos: Integer, 2 repo_id: Integer, 3 child_digest: Text, 4 child_id: Integer,
        5 platform: Text,
    }
    tags [repo_id name] by 2000 {
        0 repo_id: Integer, 1 name: Text, 2 manifest_id: Integer, 3 updated_at: Integer,
    }
    tag_events [id] by 2000 {
        0 id: Integer, 1 repo_id: Integer, 2 name: Text, 3 old_digest: Text, 4 new_digest: Text, 5 at: Integer,
    }
    namespaces [id] by 1000 {
        0 id: Integer, 1 path: Text, 2 public: Flag, 3 created_at: Integer,
    }
    users [id] by 1000 {
        0 id: Integer, 1 name: Text, 2 email: Text, 3 password: Text, 4 admin: Flag, 5 robot_of: Integer,
        6 disabled_at: Integer, 7 created_at: Integer, 8 epoch: Integer,
    }
    teams [id] by 1000 {
        0 id: Integer, 1 name: Text, 2 created_at: Integer,
    }
    team_members [team_id user_id] by 2000 {
        0 team_id: Integer, 1 user_id: Integer,
    }
    grants [id] by 2000 {
        0 id: Integer, 1 ns_id: Integer, 2 user_id: Integer, 3 team_id: Integer, 4 role: Integer,
    }
    api_tokens [id] by 1000 {
        0 id: Integer, 1 key_id: Text, 2 user_id: Integer, 3 hash: Bytes, 4 name: Text, 5 scopes: Text,
        6 created_at: Integer, 7 expires_at: Integer, 8 used_at: Integer, 9 login: Flag, 10 parent: Integer,
        11 made_by: Integer,
    }
    webhooks [id] by 1000 {
        0 id: Integer, 1 key_id: Text, 2 ns_id: Integer, 3 url: Text, 4 secret_sealed: Bytes, 5 events: Integer,
        6 active: Flag, 7 created_at: Integer,
    }
    quotas [ns_id] by 1000 {
        0 ns_id: Integer, 1 bytes: Integer, 2 repositories: Integer,
    }
    publisher_rules [id] by 200 {
        0 id: Integer, 1 ns_id: Integer, 2 name: Text, 3 issuer: Text, 4 audience: Text, 5 claims: Text, 6 role: Integer,
        7 reuse: Integer, 8 jwks: Text, 9 created_at: Integer,
    }
    user_certificates [id] by 1000 {
        0 id: Integer, 1 user_id: Integer, 2 name: Text, 3 created_at: Integer,
    }
    trust_policies [id] by 10 {
        0 id: Integer, 1 document: Text, 2 actor: Text, 3 created_at: Integer, 4 revision: Text,
    }
    audit_events [id] by 1000 {
        0 id: Integer, 1 at: Integer, 2 kind: Text, 3 actor: Text, 4 address: Text, 5 request_id: Text, 6 subject: Text,
        7 detail: Text, 8 sequence: Integer, 9 hash: Bytes,
    }
}
