//! A connection to SQLite, for the logic.

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::metadata::Result;
use crate::metadata::logic::{Conn, Record, Value, bind};
use crate::metadata::rows::json;
use crate::metadata::sql::Statement;

impl Conn for SqliteConnection {
    type Row = SqliteRow;

    fn rows<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<Vec<SqliteRow>>> {
        if statement.sqlite.is_empty() {
            return Box::pin(async { Ok(Vec::new()) });
        }
        let query = bind!(sqlx::query(statement.sqlite), values, list => json(list), texts => json(texts));
        Box::pin(async move { Ok(query.fetch_all(self).await?) })
    }

    fn run<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<u64>> {
        if statement.sqlite.is_empty() {
            return Box::pin(async { Ok(0) });
        }
        let query = bind!(sqlx::query(statement.sqlite), values, list => json(list), texts => json(texts));
        Box::pin(async move { Ok(query.execute(self).await?.rows_affected()) })
    }

    fn record<R: Record>(row: &SqliteRow) -> sqlx::Result<R> {
        R::from_row(row)
    }
}
