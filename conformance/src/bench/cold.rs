//! Files that are on the disk and not in memory.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{Advice, fadvise};

/// Takes the files below a folder out of the page cache, as far as they are written out.
pub(crate) fn forget(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else if let Ok(file) = File::open(&path) {
            // A file that is gone or cannot be forgotten stays as warm as it is.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
    Ok(())
}
