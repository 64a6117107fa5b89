//! One connection, as the logic sees it: statements go in, records come out, and no dialect shows.

use std::borrow::Cow;
use std::future::Future;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::Record;
use crate::metadata::rows::json;
use crate::metadata::sql::Statement;
use futures_util::future::BoxFuture;

/// A connection to one of the databases.
///
/// A driver writes the three methods without a body; the logic calls the others. A statement that the database does not
/// need (its text is empty) finds no row and changes none.
pub(crate) trait Conn: Send {
    /// A row as the database gives it.
    type Row: Send + 'static;

    /// Runs a statement and gives every row.
    fn rows<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<Vec<Self::Row>>>;

    /// Runs a statement and says how many rows it changed.
    fn run<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<u64>>;

    /// Reads a row.
    fn record<R: Record>(row: Self::Row) -> Result<R>;

    /// The one record of what a statement gave; it is an error when there is none.
    fn sole<R: Record>(rows: Vec<Self::Row>) -> Result<R> {
        Self::record(rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)?)
    }

    /// Every record that a statement gives.
    fn all<R: Record>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<R>>> + Send {
        let rows = self.rows(statement, values);
        async move { rows.await?.into_iter().map(Self::record).collect() }
    }

    /// The first record that a statement gives, if there is one.
    fn first<R: Record>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Option<R>>> + Send {
        let rows = self.rows(statement, values);
        async move { rows.await?.into_iter().next().map(Self::record).transpose() }
    }

    /// The one record that a statement gives; it is an error when there is none.
    fn one<R: Record>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<R>> + Send {
        let rows = self.rows(statement, values);
        async move { Self::sole(rows.await?) }
    }

    /// Runs a statement that only reads, and gives every row. A connection may give them again until somebody commits.
    fn rows_again<'c>(
        &'c mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> BoxFuture<'c, Result<Vec<Self::Row>>> {
        self.rows(statement, values)
    }

    /// [`one`](Self::one) by way of [`rows_again`](Self::rows_again).
    fn one_again<R: Record>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<R>> + Send {
        let rows = self.rows_again(statement, values);
        async move { Self::sole(rows.await?) }
    }

    /// The column of every row that a statement of one column gives.
    fn column<T>(&mut self, statement: &Statement, values: &[Value<'_>]) -> impl Future<Output = Result<Vec<T>>> + Send
    where
        (T,): Record,
    {
        let records = self.all::<(T,)>(statement, values);
        async move { Ok(records.await?.into_iter().map(|(value,)| value).collect()) }
    }

    /// The column of the one row that a statement of one column gives.
    fn scalar<T>(&mut self, statement: &Statement, values: &[Value<'_>]) -> impl Future<Output = Result<T>> + Send
    where
        (T,): Record,
    {
        let record = self.one::<(T,)>(statement, values);
        async move { Ok(record.await?.0) }
    }
}

/// A parameter of a statement.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// A number, a moment, an id.
    Int(Option<i64>),
    /// A text, or rows as JSON.
    Text(Option<Cow<'a, str>>),
    /// Bytes.
    Bytes(Option<&'a [u8]>),
    /// A list of numbers.
    Ints(&'a [i64]),
    /// A list of texts.
    Texts(&'a [String]),
}

impl<'a> Value<'a> {
    /// Rows of values as one parameter.
    pub(crate) fn rows<T: serde::Serialize>(rows: &[T]) -> Self {
        Self::Text(Some(Cow::Owned(json(rows))))
    }

    /// A value that is written as its text.
    pub(crate) fn shown(value: &impl ToString) -> Self {
        Self::Text(Some(Cow::Owned(value.to_string())))
    }

    /// The same for one that may be missing.
    pub(crate) fn shown_option(value: Option<&impl ToString>) -> Self {
        Self::Text(value.map(|value| Cow::Owned(value.to_string())))
    }

    /// A text that may be missing.
    pub(crate) fn text_option(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(Some(i64::from(number)))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(moment: Timestamp) -> Self {
        Self::Int(Some(moment.as_micros()))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(moment: Option<Timestamp>) -> Self {
        Self::Int(moment.map(Timestamp::as_micros))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a [i64]> for Value<'a> {
    fn from(list: &'a [i64]) -> Self {
        Self::Ints(list)
    }
}

impl<'a> From<&'a [String]> for Value<'a> {
    fn from(list: &'a [String]) -> Self {
        Self::Texts(list)
    }
}

/// The parameters of a statement, each made a [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::metadata::logic::Value::from($value)),*] };
}
pub(crate) use values;
