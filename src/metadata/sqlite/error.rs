//! What the database driver reports, by what the caller can do about it.

use sqlx::sqlite::SqliteError;

use crate::metadata::MetadataError;

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>).
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_FULL: i32 = 13;

impl From<sqlx::Error> for MetadataError {
    fn from(error: sqlx::Error) -> Self {
        match (&error, primary_code(&error)) {
            (_, Some(SQLITE_BUSY | SQLITE_LOCKED)) | (sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed, _) => {
                Self::Unavailable(error.to_string())
            }
            (_, Some(SQLITE_FULL)) => Self::Full(error.to_string()),
            _ => Self::Driver(Box::new(error)),
        }
    }
}

/// The low byte of an extended result code.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}
