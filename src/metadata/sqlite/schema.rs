//! The schema, as migrations that are built in.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

use crate::metadata::{MetadataError, Result};

/// Version, name and text of every migration, oldest first; the folder `migrations/sqlite` has the same.
pub const MIGRATIONS: &[(i64, &str, &str)] =
    &[(20_261_121_000_000, "core", include_str!("../../../migrations/sqlite/20261121000000_core.sql"))];

/// Applies what is missing; with `apply` false that is an error instead.
pub(super) async fn migrate(conn: &mut SqliteConnection, apply: bool) -> Result<()> {
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or_default();
    let found = newest_applied(conn).await?;
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(MetadataError::Newer { found, known });
    }
    if !apply {
        return match found {
            Some(found) if found == known => Ok(()),
            _ => Err(MetadataError::Unavailable("the database's schema is old and must be migrated first".to_owned())),
        };
    }
    migrator().run_direct(None, conn, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => MetadataError::Driver(Box::new(other)),
    })
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

fn migrator() -> Migrator {
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}
