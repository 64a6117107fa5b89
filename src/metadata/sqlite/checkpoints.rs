//! The thread that moves pages from the write-ahead log into the database while the writer goes on.
//!
//! It waits for two syncs each time, which the writer would otherwise do between two transactions. The log begins anew only
//! when all of it has been moved, which under load happens in the writer, at a size that bounds the log.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::metadata::sqlite::conn::SqliteConn;

/// Transactions after which pages are moved.
const TRANSACTIONS: u32 = 500;

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpoints {
    due: SyncSender<()>,
    transactions: u32,
    thread: Option<thread::JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(conn: SqliteConn) -> Self {
        let (due, wanted) = sync_channel(1);
        let thread = thread::Builder::new().name("checkpoints".to_owned()).spawn(move || move_pages(&conn, &wanted));
        // Without the thread the writer does all of it, only later and at once.
        Self { due, transactions: 0, thread: thread.ok() }
    }

    /// Counts a transaction.
    pub(super) fn count(&mut self) {
        self.transactions += 1;
        // A full channel: the thread is about to begin already.
        if self.transactions >= TRANSACTIONS && self.due.try_send(()).is_ok() {
            self.transactions = 0;
        }
    }

    /// Ends the thread and waits for it.
    pub(super) fn close(self) {
        let Self { due, thread, .. } = self;
        drop(due);
        if let Some(thread) = thread {
            // It logs its own errors; that it panicked changes nothing for the database.
            let _ = thread.join();
        }
    }
}

fn move_pages(conn: &SqliteConn, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        if let Err(error) = conn.command("PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::warn!(%error, "pages were not moved into the database; the writer will do it");
        }
    }
}
