//! `backup create`: one snapshot of the facts, then the bytes they name, while the registry serves.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::StreamExt as _;

use super::part::{PartReader, PartWriter};
use super::{Blobs, DigestText, FORMAT, Index, Part, blob_path, hold};
use crate::clock::Timestamp;
use crate::metadata::dump::{Batch, Cell, SCHEMA, TABLES};
use crate::metadata::model::{BlobId, BlobLocation};
use crate::oci::digest::{Digest, Hasher};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{BlobRead, Key, StorageError};
use crate::transfer::objects::Crew;
use crate::transfer::{Amount, Result, Stores, TransferError, Watch, blocking};

/// What to put into a backup.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Whether the bytes of blobs, too.
    pub blobs: bool,
    /// The program that makes it, for people.
    pub made_by: String,
}

/// What was put into a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateReport {
    /// Rows of facts.
    pub rows: u64,
    /// Blobs in the folder.
    pub blobs: Amount,
    /// Blobs that facts name and whose bytes are wrong or missing.
    pub lacking: u64,
}

/// Makes a backup in `dir`.
///
/// # Errors
/// [`TransferError::Refused`] when another backup is being made there, or when it would drop the bytes of one that has
/// them.
pub async fn create(
    stores: &Stores,
    dir: &Path,
    options: CreateOptions,
    watch: &Arc<dyn Watch>,
) -> Result<CreateReport> {
    let now = stores.clock.now();
    let (at, with_blobs) = (dir.to_owned(), options.blobs);
    let _lock = blocking(move || take(&at, with_blobs)).await?;
    let instance = stores.metadata.instance().await?;
    let save = async {
        watch.stage("saving facts", Amount::default());
        let facts = save_facts(stores, dir, now).await?;
        let blobs = if options.blobs { Some(save_blobs(stores, dir, &facts, watch).await?) } else { None };
        Ok((facts, blobs))
    };
    let (facts, blobs) = hold::during(stores, dir, save).await?;
    let report = CreateReport {
        rows: facts.iter().map(|part| part.rows).sum(),
        blobs: blobs.as_ref().map(|blobs| Amount { blobs: blobs.count, bytes: blobs.bytes }).unwrap_or_default(),
        lacking: blobs.as_ref().map_or(0, |blobs| blobs.lacking.len() as u64),
    };
    let index = Index {
        format: FORMAT,
        made_by: options.made_by,
        schema: SCHEMA,
        instance: instance.id,
        made_at: now.as_micros(),
        made_at_text: httpdate::fmt_http_date(now.to_system_time()),
        facts,
        blobs,
    };
    let at = dir.to_owned();
    blocking(move || {
        index.write(&at)?;
        remove_old(&at, &index)
    })
    .await?;
    Ok(report)
}

/// Makes the folder and keeps others from making a backup there. Blocks.
fn take(dir: &Path, with_blobs: bool) -> Result<File> {
    let open = || -> io::Result<File> {
        fs::create_dir_all(dir)?;
        File::options().write(true).create(true).truncate(false).open(dir.join("lock"))
    };
    let lock = open().map_err(|error| TransferError::file(dir, error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(TransferError::Refused(format!("{}: another backup is being made there", dir.display())));
        }
        Err(TryLockError::Error(error)) => return Err(TransferError::file(dir, error)),
    }
    let had_blobs = Index::read(dir).is_ok_and(|index| index.blobs.is_some());
    if had_blobs && !with_blobs {
        return Err(TransferError::Refused(format!(
            "{}: the backup there has blobs, and this one would drop them; choose another folder, or add --blobs",
            dir.display()
        )));
    }
    Ok(lock)
}

/// Writes every table into a file of its own.
async fn save_facts(stores: &Stores, dir: &Path, now: Timestamp) -> Result<Vec<Part>> {
    let at = dir.to_owned();
    let folder = blocking(move || make_fresh(&at, now)).await?;
    let path = dir.join(&folder);
    let mut rows = stores.metadata.dump();
    let (mut parts, mut waiting): (Vec<Part>, Option<Batch>) = (Vec::new(), rows.next().await.transpose()?);
    for table in TABLES {
        let name = format!("{}.jsonl.gz", table.name);
        let (file, at) = (format!("{folder}/{name}"), path.join(name));
        let mut writer = blocking(move || PartWriter::create(at, table)).await?;
        while let Some(batch) = waiting.take_if(|batch| batch.table.name == table.name) {
            writer = blocking(move || writer.add(&batch.rows).map(|()| writer)).await?;
            waiting = rows.next().await.transpose()?;
        }
        parts.push(blocking(move || writer.finish(file)).await?);
    }
    Ok(parts)
}

/// Makes a folder that no backup has used. Blocks.
fn make_fresh(dir: &Path, now: Timestamp) -> Result<String> {
    let mut number = now.as_micros();
    loop {
        let folder = format!("facts-{number}");
        match fs::create_dir(dir.join(&folder)) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(TransferError::file(&dir.join(folder), error)),
        }
    }
}

/// A blob whose bytes are an object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) id: BlobId,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) key: Key,
}

/// The objects that rows of `blobs` name.
pub(super) fn objects(batch: &Batch) -> impl Iterator<Item = Object> + '_ {
    let columns = ["id", "digest", "size", "object_key"].map(|name| batch.position(name));
    batch.rows.iter().filter_map(move |row| {
        let cell = |at: usize| columns.get(at).copied().flatten().and_then(|at| row.get(at));
        Some(Object {
            id: BlobId(cell(0)?.as_integer()?),
            digest: cell(1)?.as_text()?.parse().ok()?,
            size: u64::try_from(cell(2)?.as_integer()?).ok()?,
            key: cell(3).and_then(Cell::as_text).and_then(Key::parse)?,
        })
    })
}

/// Opens the file of blobs among the facts.
pub(super) async fn open_blobs(dir: &Path, facts: &[Part]) -> Result<Option<PartReader>> {
    let Some(part) = facts.iter().find(|part| part.table == "blobs").cloned() else { return Ok(None) };
    let dir = dir.to_owned();
    blocking(move || PartReader::open(&dir, &part).map(Some)).await
}

/// Copies the bytes of every blob that the saved facts name.
async fn save_blobs(stores: &Stores, dir: &Path, facts: &[Part], watch: &Arc<dyn Watch>) -> Result<Blobs> {
    watch.stage("saving blobs", amount(dir, facts).await?);
    let (mut blobs, mut crew) = (Blobs::default(), Crew::new());
    let Some(reader) = open_blobs(dir, facts).await? else { return Ok(blobs) };
    let mut batches = Box::pin(reader.into_stream());
    while let Some(batch) = batches.next().await {
        for object in objects(&batch?) {
            let (stores, path, watch) = (stores.clone(), blob_path(dir, &object.digest), Arc::clone(watch));
            let saved = async move { save_blob(&stores, &object, path, &watch).await };
            blobs.take(crew.start(saved).await?);
        }
    }
    while let Some(ended) = crew.next().await? {
        blobs.take(Some(ended));
    }
    Ok(blobs)
}

/// How much there is to save.
pub(super) async fn amount(dir: &Path, facts: &[Part]) -> Result<Amount> {
    let mut amount = Amount::default();
    let Some(reader) = open_blobs(dir, facts).await? else { return Ok(amount) };
    let mut batches = Box::pin(reader.into_stream());
    while let Some(batch) = batches.next().await {
        objects(&batch?).for_each(|object| amount.add(Amount { blobs: 1, bytes: object.size }));
    }
    Ok(amount)
}

/// A saved blob's size, or the digest of one that cannot be had.
type Saved = std::result::Result<u64, Digest>;

impl Blobs {
    fn take(&mut self, ended: Option<Saved>) {
        match ended {
            Some(Ok(bytes)) => {
                self.count += 1;
                self.bytes += bytes;
            }
            Some(Err(digest)) => self.lacking.push(DigestText(digest)),
            None => {}
        }
    }
}

async fn save_blob(stores: &Stores, object: &Object, path: PathBuf, watch: &Arc<dyn Watch>) -> Result<Saved> {
    let size = object.size;
    if fs::metadata(&path).is_ok_and(|file| file.len() == size) {
        // It has its name only because its bytes were right.
        watch.moved(Amount { blobs: 1, bytes: size });
        return Ok(Ok(size));
    }
    let Some(mut why) = save_from(stores, object, &object.key, &path, watch).await? else { return Ok(Ok(size)) };
    // It may have been healed under another key since the facts were saved.
    let now = stores.metadata.blob_scan(BlobId(object.id.0 - 1), 1).await?.pop();
    if let Some(BlobLocation::Object(key)) = now.filter(|now| now.digest == object.digest).map(|now| now.location)
        && key != object.key
    {
        match save_from(stores, object, &key, &path, watch).await? {
            None => return Ok(Ok(size)),
            Some(again) => why = again,
        }
    }
    watch.finding(format!("blob {} is damaged: {why}", object.digest));
    Ok(Err(object.digest.clone()))
}

/// Writes the bytes under another name, and renames the file when they are right; otherwise says what is wrong.
async fn save_from(
    stores: &Stores,
    object: &Object,
    key: &Key,
    path: &Path,
    watch: &Arc<dyn Watch>,
) -> Result<Option<String>> {
    let read = match stores.storage.read(key, None).await {
        Err(error @ (StorageError::NotFound { .. } | StorageError::Corrupt { .. })) => {
            return Ok(Some(error.to_string()));
        }
        other => other?,
    };
    let draft = path.with_extension("new");
    let written = write_draft(read, &draft, object, watch).await?;
    let (path, is_right) = (path.to_owned(), written.is_none());
    blocking(move || {
        let ended = if is_right { fs::rename(&draft, &path) } else { fs::remove_file(&draft) };
        ended.map_err(|error| TransferError::file(&draft, error))
    })
    .await?;
    if is_right {
        watch.moved(Amount::blob());
    }
    Ok(written)
}

async fn write_draft(read: BlobRead, draft: &Path, object: &Object, watch: &Arc<dyn Watch>) -> Result<Option<String>> {
    let made = draft.to_owned();
    let mut file = blocking(move || {
        let make = || made.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&made));
        make().map_err(|error| TransferError::file(&made, error))
    })
    .await?;
    let mut stream = read.into_stream(READ_CHUNK_BYTES);
    let (mut hasher, mut bytes) = (Hasher::new(object.digest.algorithm()), 0);
    while let Some(piece) = stream.next().await {
        let piece = match piece {
            Err(error @ (StorageError::NotFound { .. } | StorageError::Corrupt { .. })) => {
                return Ok(Some(error.to_string()));
            }
            other => other?,
        };
        bytes += piece.len() as u64;
        watch.moved(Amount::bytes(piece.len() as u64));
        let at = draft.to_owned();
        (file, hasher) = blocking(move || {
            hasher.update(&piece);
            file.write_all(&piece).map_err(|error| TransferError::file(&at, error))?;
            Ok((file, hasher))
        })
        .await?;
    }
    if bytes != object.size {
        return Ok(Some(format!("has {bytes} bytes instead of {}", object.size)));
    }
    let actual = hasher.finish();
    Ok((actual != object.digest).then(|| format!("has the bytes of {actual}")))
}

/// Removes what earlier backups left and this one does not name. Blocks.
fn remove_old(dir: &Path, index: &Index) -> Result<()> {
    let current = index.facts.first().and_then(|part| part.file.split('/').next()).unwrap_or_default();
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let old = name.to_str().is_some_and(|name| name.starts_with("facts-") && name != current);
            if old && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| TransferError::file(dir, error))?;
    if index.blobs.is_some() { remove_unnamed(dir, index) } else { Ok(()) }
}

/// Removes blobs that the facts do not name. Blocks.
fn remove_unnamed(dir: &Path, index: &Index) -> Result<()> {
    let Some(part) = index.facts.iter().find(|part| part.table == "blobs") else { return Ok(()) };
    let mut reader = PartReader::open(dir, part)?;
    let mut named: Vec<[u8; 32]> = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        named.extend(objects(&batch).filter_map(|object| short(&object.digest)));
    }
    named.sort_unstable();
    let is_named = |path: &Path| {
        let digest = digest_of(path).as_ref().and_then(short);
        digest.is_some_and(|digest| named.binary_search(&digest).is_ok())
    };
    let remove = |path: &Path| if is_named(path) { Ok(()) } else { fs::remove_file(path) };
    each_file(&dir.join("blobs"), &remove).map_err(|error| TransferError::file(&dir.join("blobs"), error))
}

/// The first bytes of a digest, which are enough to tell blobs apart.
fn short(digest: &Digest) -> Option<[u8; 32]> {
    digest.as_bytes().first_chunk().copied()
}

/// The digest that a path below `blobs/` stands for.
fn digest_of(path: &Path) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?;
    let algorithm = path.parent()?.parent()?.file_name()?.to_str()?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Calls `visit` with every file below a folder. Blocks.
fn each_file(folder: &Path, visit: &impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { each_file(&entry.path(), visit)? } else { visit(&entry.path())? }
    }
    Ok(())
}
