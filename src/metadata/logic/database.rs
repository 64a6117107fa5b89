//! What a driver has to offer so that the logic makes a store of it.

use std::fmt;
use std::future::Future;
use std::ops::DerefMut;

use futures_util::future::BoxFuture;

use crate::metadata::Result;
use crate::metadata::logic::Conn;

/// A database that runs pieces of work on its connections.
///
/// A piece of work may be run more than once; it leaves nothing behind when it fails.
pub(crate) trait Database: fmt::Debug + Send + Sync + 'static {
    /// Its connections.
    type Conn: Conn;

    /// Runs statements that only read; each sees the database as it is then.
    fn read<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Self::Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static;

    /// Runs statements as one transaction, which is committed when this returns what the work gave.
    fn write<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Self::Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static;

    /// The same for the progress of an upload, which a power cut may take back: the client is told where the session
    /// stands, or that it is gone, and sends the rest. The end of the process takes nothing back.
    fn write_progress<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Self::Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        self.write(work)
    }

    /// A connection that sees the database as it is now, whatever is written later; dropping it ends that.
    type Snapshot: DerefMut<Target = Self::Conn> + Send + 'static;

    /// Begins to read all facts as of one moment.
    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot>> + Send + 'static;

    /// An error when it is known without asking that no statement can run.
    fn check(&self) -> Result<()>;

    /// Finishes what is under way and closes the connections.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
