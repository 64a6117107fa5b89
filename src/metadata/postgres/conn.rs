//! A connection to Postgres, for the logic: on loan, perhaps in a transaction.
//!
//! It remembers what went wrong, so that whoever lent it knows whether to try again, and it goes home only when it is fit
//! for the next one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Executor, Postgres};
use tokio::sync::OwnedSemaphorePermit;

use crate::metadata::logic::{Conn, Fault, Record, Value};
use crate::metadata::postgres::home::Home;
use crate::metadata::sql::Statement;
use crate::metadata::{MetadataError, Result};

/// A lent connection.
#[derive(Debug)]
pub(crate) struct PgConn {
    /// There until it is dropped.
    conn: Option<PoolConnection<Postgres>>,
    home: Arc<Home>,
    _permit: OwnedSemaphorePermit,
    /// Longest wait for an answer. The server has its own, shorter limit: this one is for a server that is gone.
    answer_max: Duration,
    in_transaction: bool,
    /// Whether a statement was begun whose answer nobody has waited for.
    under_way: bool,
    /// Whether any statement has been answered since it was lent.
    answered: bool,
    fault: Option<Fault>,
}

impl PgConn {
    pub(super) fn new(
        conn: PoolConnection<Postgres>,
        home: Arc<Home>,
        permit: OwnedSemaphorePermit,
        answer_max: Duration,
    ) -> Self {
        Self {
            conn: Some(conn),
            home,
            _permit: permit,
            answer_max,
            in_transaction: false,
            under_way: false,
            answered: false,
            fault: None,
        }
    }

    /// Whether the server has answered anything since the connection was lent. If not, nothing was done with it.
    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    /// What went wrong last.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.command("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(MetadataError::from)
    }

    /// Begins to read everything as it is now, whatever is written later.
    pub(super) async fn begin_snapshot(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.command("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(MetadataError::from)
    }

    /// Ends the transaction and keeps what it did.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] also when nobody knows whether it was kept: the connection broke over the question.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let outcome = self.command("COMMIT").await;
        match (outcome, self.fault) {
            (Ok(()), _) => {
                self.in_transaction = false;
                Ok(())
            }
            (Err(error), Some(Fault::Broken)) => {
                // Not to be run again by anybody who takes it for undone.
                self.fault = None;
                Err(MetadataError::Unavailable(format!("whether the write was kept is not known: {error}")))
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Ends the transaction and keeps nothing.
    pub(super) async fn rollback(&mut self) {
        let fault = self.fault;
        // A connection on which this fails is closed, which undoes the transaction as well.
        if fault != Some(Fault::Broken) && self.command("ROLLBACK").await.is_ok() {
            self.in_transaction = false;
        }
        self.fault = fault;
    }

    async fn command(&mut self, text: &'static str) -> sqlx::Result<()> {
        let limit = self.answer_max;
        let answer = answer(limit, self.live().execute(text)).await;
        self.note(answer).map(drop)
    }

    /// The connection, for a statement whose answer will be [noted](Self::note).
    fn live(&mut self) -> &mut PgConnection {
        self.under_way = true;
        self.conn.as_mut().expect("a lent connection is there until it is dropped")
    }

    fn note<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        self.under_way = false;
        match &answer {
            Ok(_) => self.answered = true,
            Err(error) => self.fault = Some(Fault::of(error)),
        }
        answer
    }
}

impl Conn for PgConn {
    type Row = PgRow;

    fn rows<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<Vec<PgRow>>> {
        if statement.postgres.is_empty() {
            return Box::pin(async { Ok(Vec::new()) });
        }
        let query = bind(statement, values);
        Box::pin(async move {
            let answer = answer(self.answer_max, query.fetch_all(self.live())).await;
            Ok(self.note(answer)?)
        })
    }

    fn run<'c>(&'c mut self, statement: &Statement, values: &[Value<'_>]) -> BoxFuture<'c, Result<u64>> {
        if statement.postgres.is_empty() {
            return Box::pin(async { Ok(0) });
        }
        let query = bind(statement, values);
        Box::pin(async move {
            let answer = answer(self.answer_max, query.execute(self.live())).await;
            Ok(self.note(answer)?.rows_affected())
        })
    }

    fn record<R: Record>(row: PgRow) -> Result<R> {
        Ok(R::from_row(&row)?)
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

fn bind<'q>(statement: &Statement, values: &[Value<'_>]) -> Query<'q> {
    values.iter().fold(sqlx::query(statement.postgres), |query, value| match value {
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Bytes(bytes) => query.bind(*bytes),
        Value::Ints(list) => query.bind(*list),
        Value::Texts(list) => query.bind(*list),
    })
}

impl Drop for PgConn {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.in_transaction || self.fault == Some(Fault::Broken) {
            // Closed at once, and not by the pool, which would first talk to a server that may be gone.
            drop(conn.detach());
        } else if !self.under_way {
            self.home.keep(conn);
        }
        // Else the pool waits for the answer before anybody else gets it.
    }
}

/// The answer to a statement; a server that says nothing for too long is gone.
async fn answer<T>(limit: Duration, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(limit, statement).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
