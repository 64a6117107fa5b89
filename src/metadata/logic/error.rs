//! What the database drivers report, by what the caller can do about it.

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::metadata::MetadataError;

/// What a failed statement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two transactions were in each other's way and this one was undone: running it again may help at once.
    Conflict,
    /// The connection is of no use any more, or leads to a server that takes no writes.
    Broken,
    /// The database cannot do it now.
    Unavailable,
    /// The medium is full.
    Full,
    /// Anything else.
    Other,
}

impl Fault {
    /// What an error means.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    return Self::of_sqlstate(error.code());
                }
                // SQLite speaks through sqlx while the schema is made.
                let code = error.try_downcast_ref::<SqliteError>().and_then(|_| error.code()?.parse().ok());
                code.map_or(Self::Other, Self::of_result_code)
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
                Self::Broken
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Unavailable,
            _ => Self::Other,
        }
    }

    fn about(self, error: impl std::error::Error + Send + Sync + 'static) -> MetadataError {
        match self {
            Self::Conflict | Self::Broken | Self::Unavailable => MetadataError::Unavailable(error.to_string()),
            Self::Full => MetadataError::Full(error.to_string()),
            Self::Other => MetadataError::Driver(Box::new(error)),
        }
    }

    /// What an error of SQLite means.
    fn of_sqlite(error: &rusqlite::Error) -> Self {
        error.sqlite_error().map_or(Self::Other, |error| Self::of_result_code(error.extended_code))
    }

    /// From a result code of SQLite (<https://www.sqlite.org/rescode.html>), whose low byte is the primary one.
    fn of_result_code(code: i32) -> Self {
        match code & 0xff {
            // BUSY, LOCKED
            5 | 6 => Self::Unavailable,
            // FULL
            13 => Self::Full,
            _ => Self::Other,
        }
    }

    /// From an SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    fn of_sqlstate(code: &str) -> Self {
        match code {
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Self::Conflict,
            // disk_full
            "53100" => Self::Full,
            // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle_session_timeout, and the time
            // limit of an idle transaction; read_only_sql_transaction: a standby that was the primary before
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25006" => Self::Broken,
            // lock_not_available, query_canceled, and a login that fails now
            "55P03" | "57014" => Self::Unavailable,
            _ => match code.get(..2) {
                // Connection exceptions
                Some("08") => Self::Broken,
                // Insufficient resources, invalid authorization
                Some("53" | "28") => Self::Unavailable,
                _ => Self::Other,
            },
        }
    }
}

impl From<sqlx::Error> for MetadataError {
    fn from(error: sqlx::Error) -> Self {
        Fault::of(&error).about(error)
    }
}

impl From<rusqlite::Error> for MetadataError {
    fn from(error: rusqlite::Error) -> Self {
        Fault::of_sqlite(&error).about(error)
    }
}
