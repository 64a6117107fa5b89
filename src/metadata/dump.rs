//! All facts as rows: what `store copy` moves and what a backup holds.
//!
//! - [`TABLES`] names every table and column that is a fact, parents before children, so that rows may be inserted in
//!   this order. Sessions, objects waiting to be removed and holds are no facts: they are about one store's objects.
//! - A dump is one consistent snapshot, read table by table in key order; a load is one transaction.
//! - A test compares the columns with both migrated schemas, so that a later migration cannot forget one.

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::clock::Timestamp;
use crate::metadata::Result;

use crate::metadata::sql::Statement;

pub use crate::metadata::sql::facts::TABLES;

/// Version of the newest migration whose columns [`TABLES`] lists.
pub const SCHEMA: i64 = 20_261_124_002_000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number, an id or a time in microseconds.
    Integer,
    /// Yes or no.
    Flag,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A table of facts.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// The columns that rows are ordered by, one or two; no two rows agree in them.
    pub key: &'static [&'static str],
    /// Rows read at a time: few where a row may be large.
    pub batch_rows: u32,
    /// Reads the rows after a key.
    pub(crate) select: &'static Statement,
    /// Inserts rows.
    pub(crate) insert: &'static Statement,
    /// Deletes some rows.
    pub(crate) clear: &'static Statement,
    /// Makes new ids follow those that were inserted.
    pub(crate) sequence: &'static Statement,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// None.
    Null,
    /// Of [`Kind::Integer`] and [`Kind::Flag`].
    Integer(i64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Bytes`].
    Bytes(Bytes),
}

/// Some rows of one table.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The table.
    pub table: &'static Table,
    /// The columns that the rows have: all of them, or fewer in a backup that an older program made.
    pub columns: Vec<Column>,
    /// The rows, cells in the order of `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// All facts, batch by batch, in the order of [`TABLES`].
pub type Rows = BoxStream<'static, Result<Batch>>;

/// How facts are put in the place of others.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Now.
    pub now: Timestamp,
    /// Whether objects of blobs that were known before and are not any more have to be removed.
    pub doom_unknown: bool,
    /// Whether this ends a copy that [`copy_begin`](crate::metadata::MetadataStore::copy_begin) began.
    pub ends_copy: bool,
}

/// Which database this is, and whether it is another one's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Random, made with the database.
    pub id: String,
    /// The instance that this one is a copy of.
    pub copy_of: Option<String>,
    /// When the last copy into it was finished; `None` while the first one is not.
    pub copied_at: Option<Timestamp>,
    /// When it was first served after the copy began.
    pub served_at: Option<Timestamp>,
    /// Whether it has no facts, no sessions and no objects to remove.
    pub empty: bool,
}

impl Table {
    /// The table of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<Column> {
        self.columns.iter().copied().find(|column| column.name == name)
    }
}

impl Batch {
    /// Where a column stands in the rows.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|candidate| candidate.name == column)
    }
}

impl Cell {
    /// Its number.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Its text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The smallest value of a kind, which no row's key has.
    pub(crate) fn before_all(kind: Kind) -> Self {
        match kind {
            Kind::Integer | Kind::Flag => Self::Integer(i64::MIN),
            Kind::Text => Self::Text(String::new()),
            Kind::Bytes => Self::Bytes(Bytes::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_columns_and_not_more_than_two() {
        for table in TABLES {
            assert!((1..=2).contains(&table.key.len()), "{}", table.name);
            assert!(table.key.iter().all(|key| table.column(key).is_some()), "{}", table.name);
        }
    }
}
