//! Backups: all facts as of one moment, and the bytes on request, in a folder that explains itself.
//!
//! ```text
//! <dir>/backup.json                      what the backup is; renamed into place last, so that it is whole or absent
//! <dir>/facts-<time>/<table>.jsonl.gz    rows as JSON, one a line, in key order; the first line names the columns
//! <dir>/blobs/sha256/ab/<hex>            bytes, each proven before it got its name
//! <dir>/lock                             held while a backup is made
//! ```
//!
//! A run into the same folder leaves the finished backup alone until the new one has taken its place; only then do the
//! old facts go, and blobs that the new facts do not name.

mod create;
mod hold;
mod part;
mod restore;
mod verify;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Result, TransferError};
use crate::oci::digest::{Digest, DigestError};

pub use create::{CreateOptions, CreateReport, create};
pub use restore::{RestoreOptions, RestoreReport, restore};
pub(super) use verify::content_faults;
pub use verify::{VerifyReport, verify};

/// Version of the layout of a backup.
const FORMAT: u32 = 1;

/// Name of the file that says what the backup is.
const INDEX: &str = "backup.json";

/// Largest `backup.json` in bytes.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// What a backup is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Index {
    /// Version of the layout.
    format: u32,
    /// The program that made it.
    made_by: String,
    /// The newest migration that its columns follow.
    schema: i64,
    /// The database it was made from.
    instance: String,
    /// Microseconds since 1970 UTC.
    made_at: i64,
    /// The same for people.
    made_at_text: String,
    /// The facts, in the order in which they are restored.
    facts: Vec<Part>,
    /// The blobs, if they are included.
    blobs: Option<Blobs>,
}

/// A file of rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    table: String,
    /// Below the folder of the backup.
    file: String,
    rows: u64,
    /// Size of the file in bytes.
    bytes: u64,
    /// SHA-256 of the file.
    digest: DigestText,
}

/// Blobs of a backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Blobs {
    count: u64,
    bytes: u64,
    /// Those that facts name and that could not be had; not in the folder.
    lacking: Vec<DigestText>,
}

/// A digest, written as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct DigestText(Digest);

impl TryFrom<String> for DigestText {
    type Error = DigestError;

    fn try_from(text: String) -> std::result::Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

impl From<DigestText> for String {
    fn from(text: DigestText) -> Self {
        text.0.to_string()
    }
}

impl Index {
    /// Reads and checks the file. Blocks.
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(INDEX);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TransferError::broken(dir, "there is no finished backup here"),
            _ => TransferError::file(&path, error),
        })?;
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| TransferError::file(&path, error))?;
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| TransferError::broken(&path, error))?;
        if index.format != FORMAT {
            let reason = format!("its format is {}, this program knows {FORMAT}", index.format);
            return Err(TransferError::broken(&path, reason));
        }
        for part in &index.facts {
            if !is_plain(&part.file) {
                return Err(TransferError::broken(&path, format!("`{}` is not a file of the backup", part.file)));
            }
        }
        Ok(index)
    }

    /// Puts the file in its place, durably, with everything that was written before. Blocks.
    fn write(&self, dir: &Path) -> Result<()> {
        let (path, draft) = (dir.join(INDEX), dir.join("backup.json.new"));
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            rustix::fs::syncfs(&file)?;
            fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| TransferError::file(&path, error))
    }
}

/// Whether a relative path stays in its folder.
fn is_plain(path: &str) -> bool {
    crate::storage::Key::parse(path).is_some()
}

/// Where a blob's bytes are in a backup.
fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    dir.join("blobs").join(digest.algorithm().as_str()).join(&hex[..2]).join(hex)
}
