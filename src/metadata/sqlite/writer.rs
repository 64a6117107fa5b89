//! The one task that writes.
//!
//! - It owns one connection and a thread, since a COMMIT waits for the disk. Calls come over a bounded queue; those that wait are made one transaction.
//! - A call that fails leaves nothing and does not touch the others: when one of a transaction fails, each of them gets one
//!   of its own. That is rare, while a savepoint for each would make SQLite keep a copy of every page that it changes.
//! - A call is answered after COMMIT, and runs to its end whether or not somebody still waits for the answer.
//! - A call says whether its effect may be lost when the power goes; a transaction of nothing else does not wait for the
//!   disk. The next one that does takes everything before it along.
//! - When the task dies, [`Writer::died`] is cancelled and every later call fails.

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::metadata::sqlite::checkpoints::Checkpoints;
use crate::metadata::sqlite::conn::SqliteConn;
use crate::metadata::{MetadataError, Result};

/// Most calls in one transaction: bounds what one failed COMMIT takes along, and how long the first one waits.
const GROUP_CALLS_MAX: usize = 256;

/// What becomes of a write when the power goes after it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stands.
    Kept,
    /// It may be gone, with whatever came after it.
    MayBeLost,
}

/// The way to the writing task.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Call>>,
    closing: CancellationToken,
    died: CancellationToken,
    tasks: TaskTracker,
}

impl Writer {
    /// Starts the task on its connection.
    pub(super) fn start(conn: SqliteConn, queue_max: usize, checkpoints: Checkpoints) -> Self {
        let (queue, calls) = mpsc::channel(queue_max.max(1));
        let (closing, died, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let work = write_all(conn, calls, closing.clone(), died.clone().drop_guard(), checkpoints);
        // Nothing in it waits but for calls, so the thread is all it needs.
        let runtime = Handle::current();
        tasks.spawn_blocking(move || runtime.block_on(work));
        tasks.close();
        Self { queue, closing, died, tasks }
    }

    /// Runs `work` inside the next transaction and waits for its COMMIT, and with [`Fate::Kept`] for the disk.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] when the queue is full or the task is gone; otherwise what `work` or COMMIT gives.
    pub(super) async fn call<T, F>(&self, fate: Fate, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Waiting { fate, work: Box::new(work), result: None, reply });
        self.queue.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => unavailable("too many writes wait"),
            mpsc::error::TrySendError::Closed(_) => unavailable("it does not take writes any more"),
        })?;
        answer.await.map_err(|_| unavailable("the writing task ended"))?
    }

    /// Cancelled when the task has ended other than by [`close`](Self::close).
    pub(super) fn died(&self) -> &CancellationToken {
        &self.died
    }

    /// Takes no more calls, finishes those that wait, and ends the task.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

/// The task: one group after the other until the queue is closed and empty.
async fn write_all(
    mut conn: SqliteConn,
    mut calls: mpsc::Receiver<Box<dyn Call>>,
    closing: CancellationToken,
    alive: DropGuard,
    mut checkpoints: Checkpoints,
) {
    // One that was taken off the queue for another kind of transaction.
    let mut held_over = None;
    loop {
        let next = tokio::select! {
            biased;
            () = closing.cancelled(), if !calls.is_closed() => {
                calls.close();
                continue;
            }
            call = async { if held_over.is_some() { held_over.take() } else { calls.recv().await } } => call,
        };
        let Some(first) = next else { break };
        match write_group(&mut conn, first, &mut calls).await {
            Ok(next) => {
                held_over = next;
                checkpoints.count();
            }
            Err(error) => {
                tracing::error!(%error, "the database's writing task ends");
                return;
            }
        }
    }
    alive.disarm();
    checkpoints.close();
    if let Err(error) = conn.command("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the write-ahead log stays; the next start reads it");
    }
    if let Err(error) = conn.close() {
        tracing::warn!(%error, "the database did not close well");
    }
}

/// One transaction: `first` and whatever waits behind it by now. Gives a call that has to be in the next one.
///
/// An error means that the connection is of no use any more.
async fn write_group(
    conn: &mut SqliteConn,
    first: Box<dyn Call>,
    calls: &mut mpsc::Receiver<Box<dyn Call>>,
) -> Result<Option<Box<dyn Call>>> {
    let fate = first.fate();
    if let Err(failure) = begin(conn, fate) {
        return refuse(first, &failure).map(|()| None);
    }
    let (mut group, mut next, mut held_over) = (Vec::new(), Some(first), None);
    while let Some(mut call) = next {
        if fate == Fate::MayBeLost && call.fate() == Fate::Kept {
            held_over = Some(call);
            break;
        }
        if call.run(conn).await.is_err() {
            roll_back(conn)?;
            if group.is_empty() {
                call.answer(None);
                return Ok(None);
            }
            group.push(call);
            return write_apart(conn, group).await.map(|()| None);
        }
        group.push(call);
        next = if group.len() < GROUP_CALLS_MAX { calls.try_recv().ok() } else { None };
    }
    let committed = conn.command("COMMIT").map_err(|error| Failure::of(&error.into()));
    if committed.is_err() {
        roll_back(conn)?;
    }
    for call in group {
        call.answer(committed.as_ref().err());
    }
    Ok(held_over)
}

/// Begins anew after one call of a transaction failed: each in a transaction of its own.
async fn write_apart(conn: &mut SqliteConn, group: Vec<Box<dyn Call>>) -> Result<()> {
    for mut call in group {
        if let Err(failure) = begin(conn, call.fate()) {
            refuse(call, &failure)?;
            continue;
        }
        let ran = call.run(conn).await;
        let written = ran.and_then(|()| conn.command("COMMIT").map_err(|error| Failure::of(&error.into())));
        if written.is_err() {
            roll_back(conn)?;
        }
        call.answer(written.as_ref().err());
    }
    Ok(())
}

fn begin(conn: &mut SqliteConn, fate: Fate) -> std::result::Result<(), Failure> {
    let begun = conn.wait_for_disk(fate == Fate::Kept).and_then(|()| conn.command("BEGIN IMMEDIATE"));
    begun.map_err(|error| Failure::of(&error.into()))
}

/// Answers a call for which no transaction could begin. An error means that none ever will.
fn refuse(call: Box<dyn Call>, failure: &Failure) -> Result<()> {
    call.answer(Some(failure));
    if failure.passing { Ok(()) } else { Err(failure.to_error()) }
}

fn roll_back(conn: &SqliteConn) -> Result<()> {
    match conn.command("ROLLBACK") {
        // SQLite ends the whole transaction by itself on some errors (a full disk). That there is none any more is what
        // was wanted.
        Ok(()) | Err(rusqlite::Error::SqliteFailure(..)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why a group failed, for each of its calls.
struct Failure {
    passing: bool,
    full: bool,
    text: String,
}

impl Failure {
    fn of(error: &MetadataError) -> Self {
        Self {
            passing: matches!(error, MetadataError::Unavailable(_)),
            full: matches!(error, MetadataError::Full(_)),
            text: error.to_string(),
        }
    }

    fn to_error(&self) -> MetadataError {
        match self {
            Self { passing: true, text, .. } => MetadataError::Unavailable(text.clone()),
            Self { full: true, text, .. } => MetadataError::Full(text.clone()),
            Self { text, .. } => MetadataError::Driver(text.clone().into()),
        }
    }
}

fn unavailable(reason: &str) -> MetadataError {
    MetadataError::Unavailable(reason.to_owned())
}

/// A call whose type of result does not matter to the task.
trait Call: Send {
    /// What may become of it.
    fn fate(&self) -> Fate;

    /// Does the work, perhaps once more, and keeps its result; an error means that it must leave nothing.
    fn run<'c>(&'c mut self, conn: &'c mut SqliteConn) -> BoxFuture<'c, std::result::Result<(), Failure>>;

    /// Tells whoever waits: the kept result, or that the group failed.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

type Work<T> = Box<dyn for<'c> Fn(&'c mut SqliteConn) -> BoxFuture<'c, Result<T>> + Send + Sync>;

struct Waiting<T> {
    fate: Fate,
    work: Work<T>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send> Call for Waiting<T> {
    fn fate(&self) -> Fate {
        self.fate
    }

    fn run<'c>(&'c mut self, conn: &'c mut SqliteConn) -> BoxFuture<'c, std::result::Result<(), Failure>> {
        Box::pin(async move {
            let result = self.result.insert((self.work)(conn).await);
            result.as_ref().map(drop).map_err(Failure::of)
        })
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let result = match (self.result, failure) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure.to_error()),
            (Some(done), None) => done,
            (None, None) => Err(unavailable("the write was not run")),
        };
        // Nobody waits any more: the write stands all the same.
        let _ = self.reply.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::logic::{Conn as _, values};
    use crate::metadata::sql::Statement;

    const NOTHING: Statement = Statement { name: "of a test", sqlite: "", postgres: "" };

    fn writer(queue_max: usize) -> Writer {
        let conn = SqliteConn::in_memory();
        conn.command("PRAGMA foreign_keys = ON").expect("a setting");
        conn.command("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").expect("a table");
        Writer::start(conn.with_choice(), queue_max, Checkpoints::start(SqliteConn::in_memory()))
    }

    async fn insert(writer: &Writer, n: i64) -> Result<()> {
        let insert = Statement { sqlite: "INSERT INTO numbers VALUES ($1)", ..NOTHING };
        writer
            .call(Fate::Kept, move |conn| Box::pin(async move { conn.run(&insert, values![n]).await.map(drop) }))
            .await
    }

    async fn numbers(writer: &Writer) -> Vec<i64> {
        let select = Statement { sqlite: "SELECT n FROM numbers ORDER BY n", ..NOTHING };
        let read = writer.call(Fate::Kept, move |conn| Box::pin(async move { conn.column(&select, &[]).await }));
        read.await.expect("numbers")
    }

    /// Polls `calls` once while the task is inside another call; so they wait together, and become one transaction.
    async fn behind_a_call<T>(writer: &Writer, fate: Fate, calls: impl Future<Output = T>) -> T {
        let (entered, inside) = oneshot::channel();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let once = std::sync::Mutex::new(Some((entered, held)));
        let first = writer.call(fate, move |_| {
            // It may be run again when another one of its transaction fails.
            if let Some((entered, held)) = once.lock().expect("nobody panics").take() {
                entered.send(()).expect("the test waits");
                // Blocks the task's thread until the other end is dropped.
                held.recv().expect_err("nothing is sent");
            }
            Box::pin(std::future::ready(Ok(())))
        });
        let others = async {
            inside.await.expect("the call is run");
            tokio::join!(biased; calls, async { drop(go_on) }).0
        };
        tokio::join!(first, others).1
    }

    #[tokio::test]
    async fn a_failed_call_does_not_touch_its_neighbours() {
        let writer = writer(16);
        let all = async { tokio::join!(insert(&writer, 1), insert(&writer, 1), insert(&writer, 2)) };
        let (one, again, two) = behind_a_call(&writer, Fate::Kept, all).await;
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(again, Err(MetadataError::Driver(_))), "{again:?}");
        assert_eq!(numbers(&writer).await, [1, 2]);
    }

    /// Whether the transaction of a call waits for the disk: `synchronous` is FULL.
    async fn waits_for_disk(writer: &Writer, fate: Fate) -> bool {
        let select = Statement { sqlite: "PRAGMA synchronous", ..NOTHING };
        let read = writer.call(fate, move |conn| Box::pin(async move { conn.scalar::<i64>(&select, &[]).await }));
        read.await.expect("a setting") == 2
    }

    #[tokio::test]
    async fn a_transaction_waits_for_the_disk_when_one_of_its_calls_must_stand() {
        let writer = writer(16);
        assert!(!waits_for_disk(&writer, Fate::MayBeLost).await);
        assert!(waits_for_disk(&writer, Fate::Kept).await);
        let all = async {
            tokio::join!(
                waits_for_disk(&writer, Fate::MayBeLost),
                waits_for_disk(&writer, Fate::Kept),
                waits_for_disk(&writer, Fate::MayBeLost),
            )
        };
        // The call in front must stand, so those behind it do too.
        assert_eq!(behind_a_call(&writer, Fate::Kept, all).await, (true, true, true));
        let all = async {
            tokio::join!(
                waits_for_disk(&writer, Fate::MayBeLost),
                waits_for_disk(&writer, Fate::Kept),
                waits_for_disk(&writer, Fate::MayBeLost),
            )
        };
        // Here the second begins a transaction of its own, which the third joins.
        assert_eq!(behind_a_call(&writer, Fate::MayBeLost, all).await, (false, true, true));
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let writer = writer(1);
        let both = async { tokio::join!(insert(&writer, 1), insert(&writer, 2)) };
        let (one, two) = behind_a_call(&writer, Fate::Kept, both).await;
        assert!(one.is_ok());
        assert!(matches!(two, Err(MetadataError::Unavailable(_))), "{two:?}");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_does_not_cancel_its_write() {
        let writer = writer(4);
        {
            let write = insert(&writer, 7);
            tokio::select! {
                biased;
                _ = write => {}
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(numbers(&writer).await, [7]);
    }

    #[tokio::test]
    async fn a_panic_ends_the_task_and_says_so() {
        let writer = writer(4);
        let broken: Result<()> = writer.call(Fate::Kept, |_| Box::pin(async { panic!("on purpose") })).await;
        assert!(matches!(broken, Err(MetadataError::Unavailable(_))));
        writer.died().cancelled().await;
        assert!(matches!(insert(&writer, 1).await, Err(MetadataError::Unavailable(_))));
    }

    #[tokio::test]
    async fn closing_finishes_what_waits_and_is_not_a_death() {
        let writer = writer(4);
        let (written, ()) = tokio::join!(insert(&writer, 1), writer.close());
        assert!(written.is_ok());
        assert!(!writer.died().is_cancelled());
        assert!(matches!(insert(&writer, 2).await, Err(MetadataError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_full_medium_fails_the_group_and_leaves_the_task_alive() {
        let writer = writer(16);
        let shrink = writer.call(Fate::Kept, |conn| {
            Box::pin(async move {
                conn.command("CREATE TABLE big (b BLOB)")?;
                Ok(conn.command("PRAGMA max_page_count = 8")?)
            })
        });
        shrink.await.expect("a small limit");
        let fill = |conn: &mut SqliteConn| Ok(conn.command("INSERT INTO big VALUES (zeroblob(1000000))")?);
        let full: Result<()> = writer.call(Fate::Kept, move |conn| Box::pin(async move { fill(conn) })).await;
        assert!(matches!(full, Err(MetadataError::Full(_))), "{full:?}");
        insert(&writer, 3).await.expect("room for a number");
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_everybody() {
        let writer = writer(16);
        let prepare = writer.call(Fate::Kept, |conn| {
            Box::pin(async move {
                let sql = "CREATE TABLE child (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)";
                Ok(conn.command(sql)?)
            })
        });
        prepare.await.expect("a table with a late check");
        let dangling =
            writer.call(Fate::Kept, |conn| Box::pin(async move { Ok(conn.command("INSERT INTO child VALUES (99)")?) }));
        let both = async { tokio::join!(insert(&writer, 1), dangling) };
        let (one, dangling): (_, Result<()>) = behind_a_call(&writer, Fate::Kept, both).await;
        assert!(one.is_err() && dangling.is_err(), "{one:?} {dangling:?}");
        assert!(numbers(&writer).await.is_empty());
    }
}
