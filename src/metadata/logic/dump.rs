//! Reading all facts as of one moment, putting others in their place, and which database this is.

use std::collections::HashSet;
use std::future::Future;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row, TypeInfo as _, ValueRef as _};

use crate::clock::Timestamp;
use crate::metadata::dump::{Batch, Cell, Instance, LoadOptions, Rows, TABLES, Table};
use crate::metadata::logic::{Conn, FromSqlite, SqliteRow, SqliteValue, Value, accounts, values};
use crate::metadata::rows::{expect_rows, inconsistent, texts};
use crate::metadata::sql::audit::{LOADED, LOADING};
use crate::metadata::sql::dump as sql;
use crate::metadata::{MetadataError, Result};
use crate::storage::Key;

/// Most bytes in one statement that inserts, as far as whole rows allow.
const INSERT_BYTES_MAX: usize = 8 << 20;

/// All facts as of the moment at which `open` gives a connection that sees no later one.
pub(super) fn dump<S, F>(open: F) -> Rows
where
    S: DerefMut<Target: Conn> + Send + 'static,
    F: Future<Output = Result<S>> + Send + 'static,
{
    let all = |conn| {
        let cursor = Cursor { conn, table: 0, after: None };
        stream::try_unfold(cursor, |mut cursor| async move {
            let batch = cursor.next().await?;
            Ok(batch.map(|batch| (batch, cursor)))
        })
    };
    stream::once(open).map_ok(all).try_flatten().boxed()
}

/// Where a dump stands.
struct Cursor<S> {
    conn: S,
    table: usize,
    /// Key of the last row read of this table.
    after: Option<Vec<Cell>>,
}

impl<S: DerefMut<Target: Conn> + Send> Cursor<S> {
    async fn next(&mut self) -> Result<Option<Batch>> {
        while let Some(table) = TABLES.get(self.table) {
            let rows = self.read(table).await?;
            let full = rows.len() == table.batch_rows as usize;
            self.after = rows.last().filter(|_| full).map(|row| key_of(table, row));
            if !full {
                self.table += 1;
            }
            if !rows.is_empty() {
                return Ok(Some(Batch { table, columns: table.columns.to_vec(), rows }));
            }
        }
        Ok(None)
    }

    async fn read(&mut self, table: &'static Table) -> Result<Vec<Vec<Cell>>> {
        let after = self.after.take().unwrap_or_else(|| before_all(table));
        let mut values: Vec<Value<'_>> = after.iter().map(Value::from).collect();
        values.push(table.batch_rows.into());
        let rows: Vec<Cells> = self.conn.all(table.select, &values).await?;
        Ok(rows.into_iter().map(|Cells(cells)| cells).collect())
    }
}

/// A key before that of every row.
fn before_all(table: &Table) -> Vec<Cell> {
    let kinds = table.key.iter().filter_map(|name| table.column(name)).map(|column| column.kind);
    kinds.map(Cell::before_all).collect()
}

fn key_of(table: &Table, row: &[Cell]) -> Vec<Cell> {
    let at = |name: &&str| table.columns.iter().position(|column| column.name == *name);
    table.key.iter().filter_map(at).filter_map(|at| row.get(at)).cloned().collect()
}

impl<'a> From<&'a Cell> for Value<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Int(None),
            Cell::Integer(number) => Self::Int(Some(*number)),
            Cell::Text(text) => text.as_str().into(),
            Cell::Bytes(bytes) => bytes.as_ref().into(),
        }
    }
}

/// A row, whatever its columns are.
struct Cells(Vec<Cell>);

impl FromRow<'_, PgRow> for Cells {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let cell = |at: usize| -> sqlx::Result<Cell> {
            let raw = row.try_get_raw(at)?;
            if raw.is_null() {
                return Ok(Cell::Null);
            }
            // Numbers, texts and bytes are all that the tables have.
            match raw.type_info().name() {
                "INT8" => row.try_get(at).map(Cell::Integer),
                "TEXT" => row.try_get(at).map(Cell::Text),
                _ => row.try_get::<Vec<u8>, _>(at).map(|bytes| Cell::Bytes(bytes.into())),
            }
        };
        (0..row.len()).map(cell).collect::<sqlx::Result<_>>().map(Self)
    }
}

impl FromSqlite for Cells {
    fn from_sqlite(row: &mut SqliteRow) -> Result<Self> {
        let cell = |value| match value {
            SqliteValue::Null => Ok(Cell::Null),
            SqliteValue::Integer(number) => Ok(Cell::Integer(number)),
            SqliteValue::Text(text) => Ok(Cell::Text(text)),
            SqliteValue::Blob(bytes) => Ok(Cell::Bytes(bytes.into())),
            SqliteValue::Real(_) => Err(MetadataError::Driver("no table has numbers of that kind".into())),
        };
        std::mem::take(&mut row.values).into_iter().map(cell).collect::<Result<_>>().map(Self)
    }
}

/// Facts that wait to be loaded. They can be read once, so a load is not run again.
pub(super) type Waiting = Arc<Mutex<Option<Rows>>>;

/// Makes facts wait.
pub(super) fn waiting(rows: Rows) -> Waiting {
    Arc::new(Mutex::new(Some(rows)))
}

/// Puts facts in the place of all that is there.
pub(super) async fn load<C: Conn>(tx: &mut C, rows: Waiting, options: LoadOptions) -> Result<()> {
    let taken = rows.lock().unwrap_or_else(PoisonError::into_inner).take();
    let again = || MetadataError::Unavailable("others were in the way of the facts; load them again".to_owned());
    let mut rows = taken.ok_or_else(again)?;
    tx.rows(&sql::NO_HURRY, &[]).await?;
    accounts::bump(tx).await?;
    tx.run(&sql::DOOM_UPLOADS, values![options.now]).await?;
    tx.run(&sql::CLEAR_UPLOADS, &[]).await?;
    if options.doom_unknown {
        tx.run(&sql::DOOM_BLOBS, values![options.now]).await?;
    }
    tx.run(&LOADING, &[]).await?;
    for table in TABLES.iter().rev() {
        while tx.run(table.clear, &[]).await? > 0 {}
    }
    while let Some(batch) = rows.next().await {
        insert(tx, &batch?).await?;
    }
    tx.run(&LOADED, &[]).await?;
    for table in TABLES {
        tx.rows(table.sequence, &[]).await?;
    }
    tx.run(&sql::UNDOOM_BLOBS, &[]).await?;
    tx.run(&sql::UNSIGN, &[]).await?;
    if options.ends_copy {
        let ended = tx.run(&sql::COPY_END, values![options.now]).await?;
        expect_rows(&sql::COPY_END, 1, ended)?;
    }
    Ok(())
}

/// Inserts rows, some at a time.
async fn insert<C: Conn>(tx: &mut C, batch: &Batch) -> Result<()> {
    let places: Vec<Option<usize>> = batch.table.columns.iter().map(|column| batch.position(column.name)).collect();
    let (mut some, mut bytes) = (Vec::new(), 0);
    for (number, row) in batch.rows.iter().enumerate() {
        let cell = |place: &Option<usize>| place.and_then(|at| row.get(at)).map_or(Json::Null, json);
        some.push(places.iter().map(cell).collect::<Vec<Json>>());
        bytes += row.iter().filter_map(Cell::as_bytes).map(bytes::Bytes::len).sum::<usize>();
        if bytes >= INSERT_BYTES_MAX || number + 1 == batch.rows.len() {
            let inserted = tx.run(batch.table.insert, &[Value::rows(&some)]).await?;
            expect_rows(batch.table.insert, some.len() as u64, inserted)?;
            (some, bytes) = (Vec::new(), 0);
        }
    }
    Ok(())
}

/// A cell as the statements of [`TABLES`] take it.
fn json(cell: &Cell) -> Json {
    match cell {
        Cell::Null => Json::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Bytes(bytes) => hex::encode(bytes).into(),
    }
}

/// Which database this is.
pub(super) async fn instance<C: Conn>(conn: &mut C) -> Result<Instance> {
    let row: (String, Option<String>, Option<i64>, Option<i64>, bool) = conn.one(&sql::INSTANCE, &[]).await?;
    let (id, copy_of, copied_at, served_at, empty) = row;
    let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
    Ok(Instance { id, copy_of, copied_at: time(copied_at), served_at: time(served_at), empty })
}

/// The secret that proves the names of upload sessions.
pub(super) async fn session_key<C: Conn>(conn: &mut C) -> Result<[u8; 32]> {
    let key: Vec<u8> = conn.scalar(&sql::SESSION_KEY, &[]).await?;
    key.try_into().map_err(|_| inconsistent("instance", "session_key", "1", "it has not 32 bytes"))
}

/// Marks this database as a copy.
pub(super) async fn copy_begin<C: Conn>(tx: &mut C, of: &str) -> Result<()> {
    let begun = tx.run(&sql::COPY_BEGIN, values![of]).await?;
    expect_rows(&sql::COPY_BEGIN, 1, begun)
}

/// Marks a copy as served; `false` when it is not whole.
pub(super) async fn copy_serve<C: Conn>(tx: &mut C, now: Timestamp) -> Result<bool> {
    tx.run(&sql::SERVE_COPY, values![now]).await?;
    let instance = instance(tx).await?;
    Ok(instance.copy_of.is_none() || instance.copied_at.is_some())
}

/// For each key, whether a blob with sound bytes has it.
pub(super) async fn sound<C: Conn>(conn: &mut C, keys: &[Key]) -> Result<Vec<bool>> {
    let sound: Vec<String> = conn.column(&sql::SOUND_KEYS, values![texts(keys).as_slice()]).await?;
    let sound: HashSet<String> = sound.into_iter().collect();
    Ok(keys.iter().map(|key| sound.contains(key.as_str())).collect())
}
