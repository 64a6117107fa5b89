//! Rows as records, from either database.
//!
//! sqlx reads a row of Postgres by `FromRow`. A row of SQLite is a few values with the names of their columns, since it
//! outlives the statement that gave it; a record takes them out one by one.

use std::sync::Arc;

pub(crate) use rusqlite::types::Value as SqliteValue;
use sqlx::FromRow;
use sqlx::postgres::PgRow;

use crate::metadata::{MetadataError, Result};

/// A row of SQLite.
#[derive(Clone, Debug)]
pub(crate) struct SqliteRow {
    pub(crate) names: Arc<[String]>,
    pub(crate) values: Vec<SqliteValue>,
}

impl SqliteRow {
    /// Bytes that its texts and blobs take.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |value: &SqliteValue| match value {
            SqliteValue::Text(text) => text.len(),
            SqliteValue::Blob(blob) => blob.len(),
            SqliteValue::Null | SqliteValue::Integer(_) | SqliteValue::Real(_) => 0,
        };
        self.values.iter().map(bytes).sum()
    }

    /// Takes the value of a column out.
    pub(crate) fn take<T: FromValue>(&mut self, name: &str) -> Result<T> {
        let place = self.names.iter().position(|known| known == name);
        place.map_or_else(|| Err(unreadable(name)), |place| self.take_at(place))
    }

    fn take_at<T: FromValue>(&mut self, place: usize) -> Result<T> {
        let value = self.values.get_mut(place).map(|value| std::mem::replace(value, SqliteValue::Null));
        let name = || self.names.get(place).map_or("(none)", String::as_str);
        value.and_then(T::from_value).ok_or_else(|| unreadable(name()))
    }
}

fn unreadable(column: &str) -> MetadataError {
    MetadataError::Driver(format!("column `{column}` is missing or of another type").into())
}

/// What a column of SQLite can be read as.
pub(crate) trait FromValue: Sized {
    /// `None`: the value is of another type.
    fn from_value(value: SqliteValue) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: SqliteValue) -> Option<Self> {
        if let SqliteValue::Integer(number) = value { Some(number) } else { None }
    }
}

impl FromValue for bool {
    fn from_value(value: SqliteValue) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for String {
    fn from_value(value: SqliteValue) -> Option<Self> {
        if let SqliteValue::Text(text) = value { Some(text) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: SqliteValue) -> Option<Self> {
        match value {
            SqliteValue::Blob(bytes) => Some(bytes),
            SqliteValue::Text(text) => Some(text.into_bytes()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: SqliteValue) -> Option<Self> {
        if matches!(value, SqliteValue::Null) { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// What can be read from a row of SQLite.
pub(crate) trait FromSqlite: Sized {
    /// Takes the record out of a row.
    fn from_sqlite(row: &mut SqliteRow) -> Result<Self>;
}

/// A tuple takes the columns as they stand.
macro_rules! tuples {
    ($($name:ident $place:literal),+) => {
        impl<$($name: FromValue),+> FromSqlite for ($($name,)+) {
            fn from_sqlite(row: &mut SqliteRow) -> Result<Self> {
                Ok(($(row.take_at::<$name>($place)?,)+))
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);

/// Defines a record with a field for each column of that name.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($field_vis:vis $field:ident: $type:ty,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, sqlx::FromRow)]
        $vis struct $name { $($field_vis $field: $type,)+ }

        impl $crate::metadata::logic::FromSqlite for $name {
            fn from_sqlite(row: &mut $crate::metadata::logic::SqliteRow) -> $crate::metadata::Result<Self> {
                Ok(Self { $($field: row.take(stringify!($field))?,)+ })
            }
        }
    };
}
pub(crate) use record;

/// What can be read from a row of either database.
pub(crate) trait Record: FromSqlite + for<'r> FromRow<'r, PgRow> + Send {}

impl<R: FromSqlite + for<'r> FromRow<'r, PgRow> + Send> Record for R {}
