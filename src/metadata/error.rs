//! What can go wrong with facts, named by what the caller can do about it.

/// A failure of the metadata store.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The store is not reachable, shutting down, or has more waiting writes than it takes; trying again may help.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
    /// The medium is full.
    #[error("the metadata store has no room: {0}")]
    Full(String),
    /// A stored row cannot be read as what it must be.
    #[error("table {table}, column {column}, row {row}: {reason}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// A write changed another number of rows than it must.
    #[error("{statement} changed {actual} rows instead of {expected}")]
    RowsAffected {
        /// The statement's name.
        statement: &'static str,
        /// How many rows it must change.
        expected: u64,
        /// How many it changed.
        actual: u64,
    },
    /// There is no database yet, and it may not be made.
    #[error("there is no database yet; `bonded serve` makes it")]
    Absent,
    /// The database's schema is newer than this program.
    #[error("the database was made by a newer version of bonded (its schema is {found}, this program knows {known})")]
    Newer {
        /// Version of the newest migration applied.
        found: i64,
        /// Version of the newest migration known.
        known: i64,
    },
    /// Anything the database driver reports.
    #[error("the database failed: {0}")]
    Driver(#[source] Box<dyn std::error::Error + Send + Sync>),
}
