//! The data folder: made when it is missing, held by one server at a time, and marked while that server runs.
//!
//! ```text
//! <data>/bonded.db    facts (with -wal and -shm beside it)
//! <data>/blobs/       bytes
//! <data>/lock         locked while a server runs; "<process id> <durability>" while it has not stopped cleanly
//! ```
//!
//! The kernel lets go of the lock when the process ends, however it ends; the text in it stays, and so tells the next
//! server that the last one did not stop by itself.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::config::Durability;

/// Why the folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another server holds it.
    #[error(
        "the data folder {} is served by another process{}; stop that one first, or choose another folder with --data",
        path.display(),
        by(process)
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it; empty when it does not say.
        process: String,
    },
    /// It cannot be made or written to.
    #[error("the data folder {} cannot be used: {source}; make it writable, or choose another with --data", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

fn by(process: &str) -> String {
    if process.is_empty() { String::new() } else { format!(" ({process})") }
}

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: File,
    unclean_since: Option<Timestamp>,
}

impl DataFolder {
    /// Makes the folder when it is missing, takes it for this process, and marks it as in use. Blocks on the disk.
    ///
    /// # Errors
    /// Either variant of [`FolderError`].
    pub fn take(path: &Path, durability: Durability) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unusable)?;
        let mark = read_mark(&mut lock).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let process = mark.split_whitespace().next().map(|id| format!("process {id}")).unwrap_or_default();
                return Err(FolderError::InUse { path: path.to_owned(), process });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let relaxed_before = mark.split_whitespace().nth(1) == Some(name(Durability::Relaxed));
        let unclean_since = if relaxed_before { last_write(path) } else { None };
        let mut folder = Self { path: path.to_owned(), lock, unclean_since };
        folder.mark(&format!("{} {}\n", std::process::id(), name(durability))).map_err(unusable)?;
        Ok(folder)
    }

    /// The last time anything was written before a server without strict durability stopped uncleanly; `None` when
    /// nothing can have been lost.
    pub fn unclean_since(&self) -> Option<Timestamp> {
        self.unclean_since
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that this server stopped by itself. Everything written before is on disk when this returns. Blocks.
    ///
    /// # Errors
    /// What the operating system says; the folder stays marked.
    pub fn release(mut self) -> io::Result<()> {
        rustix::fs::syncfs(&self.lock)?;
        self.mark("")
    }

    fn mark(&mut self, text: &str) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(text.as_bytes())?;
        self.lock.sync_all()
    }
}

fn name(durability: Durability) -> &'static str {
    match durability {
        Durability::Strict => "strict",
        Durability::Relaxed => "relaxed",
    }
}

fn read_mark(lock: &mut File) -> io::Result<String> {
    let mut text = String::new();
    lock.take(MARK_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// When the database was last written to. A clock is of no use here: the machine may have been off for days since.
fn last_write(path: &Path) -> Option<Timestamp> {
    let modified = |name: &str| fs::metadata(path.join(name)).and_then(|file| file.modified()).ok();
    ["bonded.db", "bonded.db-wal"].into_iter().filter_map(modified).max().map(Timestamp::from_system_time)
}

/// Longest mark that is read.
const MARK_BYTES_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_holds_the_folder() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("a/b");
        let held = DataFolder::take(&path, Durability::Strict).expect("it is free");
        let refused = DataFolder::take(&path, Durability::Strict).expect_err("it is held").to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(held);
        DataFolder::take(&path, Durability::Strict).expect("it is free again");
    }

    #[test]
    fn only_an_unclean_stop_without_strict_durability_is_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("bonded.db"), "x").expect("a database");
        let take = |durability| DataFolder::take(folder.path(), durability).expect("it is free");
        assert_eq!(take(Durability::Strict).unclean_since(), None, "never used");
        assert_eq!(take(Durability::Relaxed).unclean_since(), None, "strict before");
        let unclean = take(Durability::Relaxed);
        assert!(unclean.unclean_since().is_some(), "dropped without release");
        unclean.release().expect("released");
        assert_eq!(take(Durability::Strict).unclean_since(), None, "released before");
    }

    #[test]
    fn a_file_in_its_place_is_one_sentence() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("file");
        fs::write(&path, "").expect("a file");
        let refused = DataFolder::take(&path, Durability::Strict).expect_err("not a folder").to_string();
        assert!(refused.starts_with("the data folder ") && !refused.contains('\n'), "{refused}");
    }
}
