//! Folders, errors and blocking calls: what every part of the driver needs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tokio::task::JoinError;

use crate::storage::{Key, StorageError};

/// The folder of everything that was not adopted.
const FOLDER: &str = "blobs";

/// The folders under it; each has 256 shards, so that no folder grows too large to read or sync.
const GROUPS: [&str; 3] = ["_", "sha256", "sha512"];

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of blocking work.
pub(super) fn joined<T>(result: Result<Result<T, StorageError>, JoinError>) -> Result<T, StorageError> {
    result.unwrap_or_else(|error| Err(StorageError::Other(error.into())))
}

/// Makes every shard folder that is not there yet, durably when `sync` says so. Blocks.
pub(super) fn make_shards(root: &Path, sync: bool) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let blobs = root.join(FOLDER);
    let mut made = make_folder(&blobs)?;
    for group in GROUPS {
        let group = blobs.join(group);
        let mut group_made = make_folder(&group)?;
        for shard in 0..=u8::MAX {
            group_made |= make_folder(&group.join(hex::encode([shard])))?;
        }
        if group_made && sync {
            sync_folder(&group)?;
        }
        made |= group_made;
    }
    if made && sync {
        sync_folder(&blobs)?;
        sync_folder(root)?;
    }
    Ok(())
}

/// Makes one folder; says whether it was not there.
fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a file for writing as `options` say; makes its folder when it is missing, as adopted keys have any shape.
pub(super) fn create(root: &Path, path: &Path, options: &OpenOptions, sync: bool) -> io::Result<File> {
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let folders: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| *folder != root).collect();
    for folder in folders.into_iter().rev() {
        if make_folder(folder)? && sync {
            sync_folder(folder.parent().unwrap_or(root))?;
        }
    }
    options.open(path)
}

/// Waits until the disk has the entries of a folder. Blocks.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Waits until the disk has the entry of a file. Blocks.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes files and, when `sync` says so, waits until the disk knows. One answer each, in order. Blocks.
pub(super) fn remove_all(files: &[(Key, PathBuf)], sync: bool) -> Vec<Result<(), StorageError>> {
    let removed: Vec<_> = files.iter().map(|(_, path)| missing_is_fine(fs::remove_file(path))).collect();
    let mut folders: BTreeMap<&Path, io::Result<()>> = BTreeMap::new();
    if sync {
        // Also for a file that was not there: an earlier call may have removed it and failed to sync.
        for folder in files.iter().filter_map(|(_, path)| path.parent()) {
            folders.entry(folder).or_insert_with(|| missing_is_fine(sync_folder(folder)));
        }
    }
    let answer = |((key, path), removed): (&(Key, PathBuf), io::Result<()>)| {
        removed.map_err(|error| io_error(key, error))?;
        match path.parent().and_then(|folder| folders.get(folder)) {
            Some(Err(error)) => Err(io_error(key, error.kind().into())),
            _ => Ok(()),
        }
    };
    files.iter().zip(removed).map(answer).collect()
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// What an I/O error on an object means to the caller.
pub(super) fn io_error(key: &Key, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StorageError::NotFound { key: key.to_string() },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StorageError::Denied(error.into()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full(error.into()),
        _ => StorageError::Other(error.into()),
    }
}

/// What an I/O error on an object that is looked for means. A folder that is not mounted has nothing, not even what was made
/// when the store was opened; that is no reason to believe that an object is lost.
pub(super) fn read_error(root: &Path, key: &Key, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if !root.join(FOLDER).is_dir() => {
            let why = format!("{}: the folders of the store are not there; is it mounted?", root.display());
            StorageError::Unavailable(why.into())
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => io_error(key, error),
        _ => StorageError::reading(error),
    }
}

/// An upload that cannot be continued.
pub(super) fn lost(key: &Key, reason: &str) -> StorageError {
    StorageError::UploadLost { key: key.to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_of_the_kernel_are_named_by_what_the_caller_can_do() {
        let kind = |errno: Errno| match io_error(&Key::opaque("00"), errno.into()) {
            StorageError::NotFound { .. } => "not found",
            StorageError::Denied(_) => "denied",
            StorageError::Full(_) => "full",
            StorageError::Other(_) => "other",
            _ => "unexpected",
        };
        for (errno, expected) in [
            (Errno::NOENT, "not found"),
            (Errno::NOTDIR, "not found"),
            (Errno::ACCESS, "denied"),
            (Errno::PERM, "denied"),
            (Errno::ROFS, "denied"),
            (Errno::NOSPC, "full"),
            (Errno::DQUOT, "full"),
            (Errno::IO, "other"),
        ] {
            assert_eq!(kind(errno), expected, "{errno}");
        }
    }
    #[test]
    fn an_object_that_is_looked_for_in_a_folder_that_is_away_is_not_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let kind = |errno: Errno| match read_error(folder.path(), &Key::opaque("00"), errno.into()) {
            StorageError::NotFound { .. } => "not found",
            StorageError::Unavailable(_) => "away",
            StorageError::Denied(_) => "denied",
            StorageError::Unreadable(_) => "unreadable",
            StorageError::Other(_) => "other",
            _ => "unexpected",
        };
        let all = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::MFILE];
        let expected = ["away", "away", "denied", "unreadable", "unreadable", "unreadable", "other"];
        assert_eq!(all.map(kind), expected);
        std::fs::create_dir(folder.path().join(FOLDER)).expect("made");
        assert_eq!([Errno::NOENT, Errno::NOTDIR].map(kind), ["not found", "not found"]);
    }
}
