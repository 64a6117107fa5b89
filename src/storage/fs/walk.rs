//! Every object below a folder, one folder at a time.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, BoxStream, TryStreamExt};

use crate::storage::fs::disk::blocking;
use crate::storage::{Key, ObjectInfo, StorageError};

/// The objects of the store at `root` below `folder`. A folder is read when the stream comes to it, and held in memory until then.
pub(super) fn walk(root: PathBuf, folder: String) -> BoxStream<'static, Result<ObjectInfo, StorageError>> {
    let folders = stream::try_unfold((root, vec![folder]), |(root, mut pending)| async {
        let Some(folder) = pending.pop() else { return Ok(None) };
        let at = root.clone();
        let listing = blocking(move || Listing::read(&at, &folder).map_err(|error| StorageError::Other(error.into())));
        let Listing { folders, files } = listing.await?;
        pending.extend(folders);
        Ok(Some((stream::iter(files.into_iter().map(Ok)), (root, pending))))
    });
    Box::pin(folders.try_flatten())
}

/// What one folder holds.
#[derive(Default)]
struct Listing {
    /// Paths below the root, written as keys are.
    folders: Vec<String>,
    files: Vec<ObjectInfo>,
}

impl Listing {
    fn read(root: &Path, folder: &str) -> io::Result<Self> {
        let mut listing = Self::default();
        let entries = match fs::read_dir(root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            other => other?,
        };
        for entry in entries {
            match listing.add(folder, &entry?) {
                // It was removed while the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(listing)
    }

    fn add(&mut self, folder: &str, entry: &DirEntry) -> io::Result<()> {
        // What no key can name is not ours.
        let Ok(name) = entry.file_name().into_string() else { return Ok(()) };
        let path = format!("{folder}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            self.folders.push(path);
        } else if kind.is_file()
            && let Some(key) = Key::parse(&path)
        {
            self.files.push(ObjectInfo { key, size: Some(entry.metadata()?.len()) });
        }
        Ok(())
    }
}
