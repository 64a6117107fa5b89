//! The schema of a database, as migrations that are built in. What the drivers share of bringing it up to date.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use crate::metadata::{MetadataError, Result};

/// Version, name and text of a migration.
pub(crate) type BuiltIn = (i64, &'static str, &'static str);

/// Whether a database with this newest migration has to be migrated; `apply` tells whether that may be done.
///
/// # Errors
/// [`MetadataError::Newer`] for a database of a newer program, [`MetadataError::Unavailable`] for an old one and
/// [`MetadataError::Absent`] for an empty one that may not be migrated.
pub(crate) fn judge(migrations: &[BuiltIn], found: Option<i64>, apply: bool) -> Result<bool> {
    let known = newest(migrations);
    match found {
        Some(found) if found > known => Err(MetadataError::Newer { found, known }),
        Some(found) if found == known && !apply => Ok(false),
        None if !apply => Err(MetadataError::Absent),
        _ if !apply => {
            Err(MetadataError::Unavailable("the database's schema is old and must be migrated first".to_owned()))
        }
        _ => Ok(true),
    }
}

/// Applies what is missing, alone where several processes try at once.
pub(crate) async fn apply<C: Migrate>(conn: &mut C, migrations: &[BuiltIn]) -> std::result::Result<(), MigrateError> {
    let migration = |&(version, name, sql): &BuiltIn| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let migrator = Migrator::with_migrations(migrations.iter().map(migration).collect());
    migrator.run_direct(None, conn, false).await
}

/// What an error of [`apply`] means to whoever opens the database.
pub(crate) fn told(migrations: &[BuiltIn], error: MigrateError) -> MetadataError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        // Another process, of a newer program, was quicker.
        MigrateError::VersionMissing(found) if found > newest(migrations) => {
            MetadataError::Newer { found, known: newest(migrations) }
        }
        other => MetadataError::Driver(Box::new(other)),
    }
}

fn newest(migrations: &[BuiltIn]) -> i64 {
    migrations.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}
