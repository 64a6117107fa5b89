//! The schema, as migrations that are built in.

use sqlx::sqlite::SqliteConnection;

use crate::metadata::Result;
use crate::metadata::schema::{self, BuiltIn};

/// Version, name and text of every migration, oldest first; the folder `migrations/sqlite` has the same.
pub const MIGRATIONS: &[BuiltIn] = &[
    (20_261_121_000_000, "core", include_str!("../../../migrations/sqlite/20261121000000_core.sql")),
    (20_261_121_080_000, "retention", include_str!("../../../migrations/sqlite/20261121080000_retention.sql")),
    (20_261_121_090_000, "instance", include_str!("../../../migrations/sqlite/20261121090000_instance.sql")),
    (20_261_121_110_000, "growth", include_str!("../../../migrations/sqlite/20261121110000_growth.sql")),
    (20_261_121_150_000, "session_key", include_str!("../../../migrations/sqlite/20261121150000_session_key.sql")),
    (20_261_121_160_000, "indexes", include_str!("../../../migrations/sqlite/20261121160000_indexes.sql")),
    (20_261_121_180_000, "accounts", include_str!("../../../migrations/sqlite/20261121180000_accounts.sql")),
    (20_261_121_181_000, "trust_rules", include_str!("../../../migrations/sqlite/20261121181000_trust_rules.sql")),
    (20_261_121_182_000, "limits", include_str!("../../../migrations/sqlite/20261121182000_limits.sql")),
    (20_261_121_183_000, "audit", include_str!("../../../migrations/sqlite/20261121183000_audit.sql")),
    (20_261_121_184_000, "webhooks", include_str!("../../../migrations/sqlite/20261121184000_webhooks.sql")),
    (20_261_122_001_000, "credentials", include_str!("../../../migrations/sqlite/20261122001000_credentials.sql")),
    (20_261_122_002_000, "downloads", include_str!("../../../migrations/sqlite/20261122002000_downloads.sql")),
    (20_261_122_003_000, "makers", include_str!("../../../migrations/sqlite/20261122003000_makers.sql")),
    (20_261_122_004_000, "scrub", include_str!("../../../migrations/sqlite/20261122004000_scrub.sql")),
    (20_261_122_005_000, "trust", include_str!("../../../migrations/sqlite/20261122005000_trust.sql")),
    (
        20_261_123_001_000,
        "policy_revisions",
        include_str!("../../../migrations/sqlite/20261123001000_policy_revisions.sql"),
    ),
    (20_261_123_003_000, "verdict_sweep", include_str!("../../../migrations/sqlite/20261123003000_verdict_sweep.sql")),
    (
        20_261_124_002_000,
        "signature_edges",
        include_str!("../../../migrations/sqlite/20261124002000_signature_edges.sql"),
    ),
];

/// Applies what is missing; with `apply` false that is an error instead.
pub(super) async fn migrate(conn: &mut SqliteConnection, apply: bool) -> Result<()> {
    let found = newest_applied(conn).await?;
    if !schema::judge(MIGRATIONS, found, apply)? {
        return Ok(());
    }
    schema::apply(conn, MIGRATIONS).await.map_err(|error| schema::told(MIGRATIONS, error))
}

async fn newest_applied(conn: &mut SqliteConnection) -> Result<Option<i64>> {
    let migrated: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !migrated {
        return Ok(None);
    }
    Ok(sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(conn).await?)
}
