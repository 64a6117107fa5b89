//! The schema, as migrations that are built in.
//!
//! Nodes of two versions run side by side while one of them migrates, so a migration only adds (a table, a column that may
//! be left out, an index made concurrently); what is not used any more is taken away by a later release.
//!
//! What waits for the lock of a table makes everybody wait who comes to that table later. So a migration waits for a moment
//! only, lets those through, and tries again.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnection;

use crate::metadata::schema::{self, BuiltIn};
use crate::metadata::{MetadataError, Result};

/// Version, name and text of every migration, oldest first; the folder `migrations/postgres` has the same.
pub const MIGRATIONS: &[BuiltIn] = &[
    (20_261_121_000_000, "core", include_str!("../../../migrations/postgres/20261121000000_core.sql")),
    (20_261_121_080_000, "retention", include_str!("../../../migrations/postgres/20261121080000_retention.sql")),
    (20_261_121_090_000, "instance", include_str!("../../../migrations/postgres/20261121090000_instance.sql")),
    (20_261_121_110_000, "growth", include_str!("../../../migrations/postgres/20261121110000_growth.sql")),
    (20_261_121_150_000, "session_key", include_str!("../../../migrations/postgres/20261121150000_session_key.sql")),
    (20_261_121_160_000, "indexes", include_str!("../../../migrations/postgres/20261121160000_indexes.sql")),
    (20_261_121_180_000, "accounts", include_str!("../../../migrations/postgres/20261121180000_accounts.sql")),
    (20_261_121_181_000, "trust_rules", include_str!("../../../migrations/postgres/20261121181000_trust_rules.sql")),
    (20_261_121_182_000, "limits", include_str!("../../../migrations/postgres/20261121182000_limits.sql")),
    (20_261_121_183_000, "audit", include_str!("../../../migrations/postgres/20261121183000_audit.sql")),
    (20_261_121_184_000, "webhooks", include_str!("../../../migrations/postgres/20261121184000_webhooks.sql")),
    (20_261_122_001_000, "credentials", include_str!("../../../migrations/postgres/20261122001000_credentials.sql")),
    (20_261_122_002_000, "downloads", include_str!("../../../migrations/postgres/20261122002000_downloads.sql")),
    (20_261_122_003_000, "makers", include_str!("../../../migrations/postgres/20261122003000_makers.sql")),
    (20_261_122_004_000, "scrub", include_str!("../../../migrations/postgres/20261122004000_scrub.sql")),
    (20_261_122_005_000, "trust", include_str!("../../../migrations/postgres/20261122005000_trust.sql")),
    (
        20_261_123_001_000,
        "policy_revisions",
        include_str!("../../../migrations/postgres/20261123001000_policy_revisions.sql"),
    ),
    (
        20_261_123_003_000,
        "verdict_sweep",
        include_str!("../../../migrations/postgres/20261123003000_verdict_sweep.sql"),
    ),
    (
        20_261_124_002_000,
        "signature_edges",
        include_str!("../../../migrations/postgres/20261124002000_signature_edges.sql"),
    ),
];

/// The oldest server whose statements these are, as `server_version_num`.
const SERVER_MIN: i32 = 140_000;

/// How long a migration waits for a lock at most, and then for those who waited behind it.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// How often it tries to get the lock of a table: for about two minutes.
const TRIES_MAX: u32 = 30;

/// How often it tries to get its turn while another node migrates, which nobody else waits for: for about twenty minutes.
const TURNS_MAX: u32 = 300;

/// Applies what is missing, under an advisory lock of the database; with `apply` false that is an error instead. It waits
/// for a lock no longer than `lock_wait` at once.
///
/// # Errors
/// [`MetadataError::Unavailable`] when others do not let go of what it needs.
pub(super) async fn migrate(conn: &mut PgConnection, apply: bool, lock_wait: Duration) -> Result<()> {
    let lock_wait = lock_wait.clamp(Duration::from_millis(1), LOCK_WAIT_MAX);
    let set = sqlx::query("SELECT set_config('lock_timeout', $1, FALSE)").bind(lock_wait.as_millis().to_string());
    set.execute(&mut *conn).await?;
    check_server(conn).await?;
    let mut tries = Tries::default();
    loop {
        let error = match try_migrate(conn, apply).await? {
            Err(error) if is_locked(&error) => error,
            outcome => return outcome.map_err(|error| schema::told(MIGRATIONS, error)),
        };
        let (made, max) = tries.count(&error);
        if made >= max {
            return Err(MetadataError::Unavailable(format!(
                "the schema has to be changed, and others still hold locks that this needs after {made} tries; look in \
                 pg_stat_activity for long transactions and other nodes that start, let them end, and start again"
            )));
        }
        if made == 1 {
            tracing::warn!("the schema has to be changed, but others hold a lock that this needs; it is tried again");
        }
        tokio::time::sleep(lock_wait).await;
    }
}

/// How often each of two things was waited for in vain: a node that waited for its turn has not yet waited for a table.
#[derive(Debug, Default)]
struct Tries {
    turns: u32,
    tables: u32,
}

impl Tries {
    /// Counts one more; says how many there were of its kind, and how many there may be.
    fn count(&mut self, error: &MigrateError) -> (u32, u32) {
        let is_turn = matches!(error, MigrateError::Execute(_));
        let (made, max) = if is_turn { (&mut self.turns, TURNS_MAX) } else { (&mut self.tables, TRIES_MAX) };
        *made += 1;
        (*made, max)
    }
}

async fn try_migrate(conn: &mut PgConnection, apply: bool) -> Result<std::result::Result<(), MigrateError>> {
    let found = match newest_applied(conn).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error.into())),
    };
    if schema::judge(MIGRATIONS, found, apply)? { Ok(schema::apply(conn, MIGRATIONS).await) } else { Ok(Ok(())) }
}

/// Whether somebody else held a lock for too long (55P03, `lock_not_available`).
fn is_locked(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else { return false };
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

/// Says what is wrong with a server that cannot hold what we write.
async fn check_server(conn: &mut PgConnection) -> Result<()> {
    let (version, encoding): (i32, String) = sqlx::query_as(
        "SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_encoding')",
    )
    .fetch_one(conn)
    .await?;
    if version < SERVER_MIN {
        return Err(MetadataError::Driver(format!("Postgres 14 or later is needed, this is {version}").into()));
    }
    if encoding != "UTF8" {
        return Err(MetadataError::Driver(format!("the database must be encoded in UTF8, not in {encoding}").into()));
    }
    Ok(())
}

async fn newest_applied(conn: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    let migrated: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *conn).await?;
    if !migrated {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_for_the_turn_takes_nothing_from_that_for_a_table() {
        let mut tries = Tries::default();
        let (turn, table) = (
            MigrateError::Execute(sqlx::Error::PoolTimedOut),
            MigrateError::ExecuteMigration(sqlx::Error::PoolTimedOut, 1),
        );
        for made in 1..TURNS_MAX {
            assert_eq!(tries.count(&turn), (made, TURNS_MAX));
        }
        assert_eq!(tries.count(&table), (1, TRIES_MAX));
        assert_eq!(tries.count(&turn), (TURNS_MAX, TURNS_MAX));
    }
}
