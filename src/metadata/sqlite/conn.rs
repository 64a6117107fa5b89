//! A connection to SQLite, for the logic.
//!
//! A statement runs where it is asked for and is done when it returns: it takes microseconds, and a hop to a thread of
//! its own would cost more. So the futures given here are ready, and never wait.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, Value as OwnValue, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, Rows};

use crate::metadata::Result;
use crate::metadata::logic::{Conn, Record, SqliteRow, Value};
use crate::metadata::rows::json;
use crate::metadata::sql::Statement;
use crate::metadata::sqlite::SqliteOptions;
use crate::metadata::sqlite::kept::Kept;

/// Prepared statements that a connection keeps: all there are.
const STATEMENTS_CACHED: usize = 256;

/// An open connection.
#[derive(Debug)]
pub(crate) struct SqliteConn {
    conn: Connection,
    /// The columns of statements that gave rows, by their text.
    names: HashMap<&'static str, Arc<[String]>>,
    /// Whether a COMMIT waits for the disk; `None`: that was decided once for all.
    synchronous: Option<bool>,
    /// Rows that it may give again; `None`: it keeps none.
    kept: Option<Kept>,
}

impl SqliteConn {
    /// Opens a database that is there, with further settings.
    pub(super) fn open(options: &SqliteOptions, settings: &[(&str, &str)]) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Self::of(Connection::open_with_flags(&options.path, flags)?);
        conn.conn.busy_timeout(options.busy_timeout)?;
        conn.conn.pragma_update(None, "foreign_keys", "ON")?;
        for (name, value) in settings {
            conn.conn.pragma_update(None, name, value)?;
        }
        Ok(conn)
    }

    fn of(conn: Connection) -> Self {
        conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Self { conn, names: HashMap::new(), synchronous: None, kept: None }
    }

    /// Runs a statement that has no parameters and gives nothing worth reading.
    pub(super) fn command(&self, sql: &'static str) -> rusqlite::Result<()> {
        drain(self.conn.prepare_cached(sql)?.raw_query())
    }

    /// From now on it keeps rows that are asked for again. It must not write: it would not notice that.
    pub(super) fn with_memory(mut self) -> Self {
        self.kept = Some(Kept::default());
        self
    }

    /// From now on [`wait_for_disk`](Self::wait_for_disk) decides for each transaction.
    pub(super) fn with_choice(mut self) -> Self {
        self.synchronous = Some(true);
        self
    }

    /// Says whether the next COMMIT waits for the disk, where that is not decided once for all. Not inside a transaction.
    pub(super) fn wait_for_disk(&mut self, wait: bool) -> rusqlite::Result<()> {
        if self.synchronous.is_some_and(|waits| waits != wait) {
            // Without waiting the file stays whole all the same: SQLite syncs the log before it copies from it.
            self.command(if wait { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.synchronous = Some(wait);
        }
        Ok(())
    }

    /// Whether no transaction is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.conn.is_autocommit()
    }

    /// Closes it. When it is dropped instead, errors are lost.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.conn.close().map_err(|(_, error)| error)
    }

    fn query(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<SqliteRow>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let names = self
            .names
            .entry(sql)
            .or_insert_with(|| statement.column_names().into_iter().map(str::to_owned).collect())
            .clone();
        let (mut rows, mut found) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next()? {
            let values = (0..names.len()).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<OwnValue>>>()?;
            found.push(SqliteRow { names: Arc::clone(&names), values });
        }
        Ok(found)
    }

    fn query_again(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<SqliteRow>> {
        let question = (sql, format!("{values:?}"));
        if let Some(kept) = &mut self.kept {
            // Asked before the rows are read: what somebody commits in between makes them look older than they are.
            let version = self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
            if let Some(rows) = kept.find(version, &question) {
                return Ok(rows);
            }
        }
        let rows = self.query(sql, values)?;
        if let Some(kept) = &mut self.kept {
            kept.keep(question, &rows);
        }
        Ok(rows)
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64> {
        let mut statement = self.conn.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        drain(statement.raw_query())?;
        drop(statement);
        Ok(self.conn.changes())
    }
}

#[cfg(test)]
impl SqliteConn {
    /// An empty database that is gone with the connection.
    pub(super) fn in_memory() -> Self {
        Self::of(Connection::open_in_memory().expect("a database in memory"))
    }
}

impl Conn for SqliteConn {
    type Row = SqliteRow;

    fn rows<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<Vec<SqliteRow>>> {
        let rows = if statement.sqlite.is_empty() { Ok(Vec::new()) } else { self.query(statement.sqlite, values) };
        Box::pin(ready(rows))
    }

    fn rows_again<'c>(
        &'c mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> BoxFuture<'c, Result<Vec<SqliteRow>>> {
        Box::pin(ready(self.query_again(statement.sqlite, values)))
    }

    fn run<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<u64>> {
        let changed = if statement.sqlite.is_empty() { Ok(0) } else { self.execute(statement.sqlite, values) };
        Box::pin(ready(changed))
    }

    fn record<R: Record>(mut row: SqliteRow) -> Result<R> {
        R::from_sqlite(&mut row)
    }
}

/// Binds values: to SQLite `$2` is a name, and its place is that of its first use.
fn bind(statement: &mut CachedStatement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        statement.raw_bind_parameter(place, value.map_or(ToSqlOutput::Owned(OwnValue::Null), parameter))?;
    }
    Ok(())
}

fn parameter<'v>(value: &'v Value<'_>) -> ToSqlOutput<'v> {
    match value {
        Value::Int(Some(number)) => ToSqlOutput::Owned(OwnValue::Integer(*number)),
        Value::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(Cow::as_ref(text).as_bytes())),
        Value::Bytes(Some(bytes)) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Value::Int(None) | Value::Text(None) | Value::Bytes(None) => ToSqlOutput::Owned(OwnValue::Null),
        Value::Ints(list) => ToSqlOutput::Owned(OwnValue::Text(json(list))),
        Value::Texts(list) => ToSqlOutput::Owned(OwnValue::Text(json(list))),
    }
}

fn drain(mut rows: Rows<'_>) -> rusqlite::Result<()> {
    while rows.next()?.is_some() {}
    Ok(())
}
