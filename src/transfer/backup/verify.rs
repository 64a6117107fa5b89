//! `backup verify`: sums, rows and references of a backup, and the bytes of its blobs.
//!
//! A file is looked into only after its sum was found right, so what is broken is seldom parsed at all.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::StreamExt as _;

use super::create::{Object, amount, objects, open_blobs};
use super::part::{PartReader, sum_fault};
use super::{DigestText, INDEX, Index, Part, blob_path};
use crate::metadata::dump::{Batch, Cell, SCHEMA, TABLES};
use crate::oci::digest::Digest;
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{BlobRead, Key, ReadSource};
use crate::transfer::objects::{Crew, hash};
use crate::transfer::{Amount, Result, TransferError, Watch, blocking};

/// What a backup was found to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Rows of facts.
    pub rows: u64,
    /// Blobs that are there with the right bytes.
    pub blobs: Amount,
    /// What is wrong; each was given to the watcher.
    pub findings: u64,
}

/// Checks a backup.
///
/// # Errors
/// [`TransferError::Broken`] when there is no backup that could be checked.
pub async fn verify(dir: &Path, watch: &Arc<dyn Watch>) -> Result<VerifyReport> {
    let at = dir.to_owned();
    let index = blocking(move || Index::read(&at)).await?;
    let mut report = VerifyReport::default();
    let faults = verify_facts(dir, &index, watch).await?;
    report.rows = index.facts.iter().map(|part| part.rows).sum();
    report.findings = faults.len() as u64;
    for fault in faults {
        watch.finding(fault);
    }
    if report.findings == 0 && index.blobs.is_some() {
        verify_blobs(dir, &index, watch, &mut report).await?;
    }
    Ok(report)
}

/// What is wrong with the facts.
pub(super) async fn verify_facts(dir: &Path, index: &Index, watch: &Arc<dyn Watch>) -> Result<Vec<String>> {
    watch.stage("checking facts", Amount::default());
    let named: Vec<&str> = index.facts.iter().map(|part| part.table.as_str()).collect();
    let known: Vec<&str> = TABLES.iter().map(|table| table.name).filter(|name| named.contains(name)).collect();
    if index.schema > SCHEMA {
        return Ok(vec![format!("{INDEX}: a newer bonded made this backup; take that one to restore it")]);
    }
    if named != known {
        return Ok(vec![format!("{INDEX}: the tables are not those of a bonded")]);
    }
    let mut faults = Vec::new();
    for part in index.facts.clone() {
        let (at, of) = (dir.to_owned(), part.clone());
        if let Some(fault) = blocking(move || sum_fault(&at, &of)).await? {
            faults.push(format!("{}: {fault}", part.file));
        }
    }
    if faults.is_empty() {
        let (at, parts) = (dir.to_owned(), index.facts.clone());
        faults = blocking(move || check_rows(&at, &parts)).await?;
    }
    Ok(faults)
}

/// Most findings that are listed; more say nothing more.
const FINDINGS_MAX: usize = 1000;

/// Reads every row and follows its references. Blocks.
fn check_rows(dir: &Path, parts: &[Part]) -> Result<Vec<String>> {
    let mut checker = Checker::default();
    for part in parts {
        let mut reader = match PartReader::open(dir, part) {
            Err(TransferError::Broken { reason, .. }) => return Ok(vec![format!("{}: {reason}", part.file)]),
            other => other?,
        };
        loop {
            match reader.next_batch() {
                Err(TransferError::Broken { reason, .. }) => {
                    checker.faults.push(format!("{}: {reason}", part.file));
                    return Ok(checker.faults);
                }
                Ok(Some(batch)) => checker.check(&batch),
                Ok(None) => break,
                Err(other) => return Err(other),
            }
            if checker.faults.len() > FINDINGS_MAX {
                return Ok(checker.faults);
            }
        }
    }
    Ok(checker.faults)
}

/// A column (or two) of one table that names a row of another.
struct Reference {
    table: &'static str,
    columns: &'static [&'static str],
    parent: Parent,
    invariant: &'static str,
}

/// Tables that others refer to, by what they are referred to.
#[derive(Clone, Copy)]
enum Parent {
    Repository,
    Blob,
    Member,
    Manifest,
}

/// What the foreign keys of the schema say.
const REFERENCES: &[Reference] = &[
    Reference { table: "repo_blobs", columns: &["repo_id"], parent: Parent::Repository, invariant: "I3" },
    Reference { table: "repo_blobs", columns: &["blob_id"], parent: Parent::Blob, invariant: "I3" },
    Reference { table: "manifests", columns: &["repo_id"], parent: Parent::Repository, invariant: "I3" },
    Reference {
        table: "manifest_blobs",
        columns: &["manifest_id", "repo_id"],
        parent: Parent::Manifest,
        invariant: "I3",
    },
    Reference { table: "manifest_blobs", columns: &["repo_id", "blob_id"], parent: Parent::Member, invariant: "I3" },
    Reference {
        table: "manifest_children",
        columns: &["parent_id", "repo_id"],
        parent: Parent::Manifest,
        invariant: "I3",
    },
    Reference {
        table: "manifest_children",
        columns: &["child_id", "repo_id"],
        parent: Parent::Manifest,
        invariant: "I3",
    },
    Reference { table: "tags", columns: &["manifest_id", "repo_id"], parent: Parent::Manifest, invariant: "I4" },
    Reference { table: "tag_events", columns: &["repo_id"], parent: Parent::Repository, invariant: "I4" },
];

/// Follows references. Rows come in key order, so what was seen is a sorted list.
#[derive(Default)]
struct Checker {
    repositories: Vec<i64>,
    blobs: Vec<i64>,
    members: Vec<(i64, i64)>,
    manifests: Vec<(i64, i64)>,
    last: Option<(&'static str, Vec<Cell>)>,
    faults: Vec<String>,
}

impl Checker {
    fn check(&mut self, batch: &Batch) {
        let table = batch.table.name;
        self.faults.extend(content_faults(batch));
        for row in &batch.rows {
            let integer = |name: &str| batch.position(name).and_then(|at| row.get(at)).and_then(Cell::as_integer);
            self.check_order(batch, row);
            for reference in REFERENCES.iter().filter(|reference| reference.table == table) {
                let target: Vec<i64> = reference.columns.iter().filter_map(|column| integer(column)).collect();
                // A reference that is not filled yet refers to nothing.
                if target.len() == reference.columns.len() && !self.has(reference.parent, &target) {
                    let (columns, invariant) = (reference.columns.join(", "), reference.invariant);
                    self.faults.push(format!("{invariant}: {table} {}: {columns} names nothing", first(row)));
                }
            }
            match table {
                "repositories" => self.repositories.extend(integer("id")),
                "blobs" => self.blobs.extend(integer("id")),
                "repo_blobs" => self.members.extend(integer("repo_id").zip(integer("blob_id"))),
                "manifests" => self.manifests.extend(integer("id").zip(integer("repo_id"))),
                _ => {}
            }
        }
    }

    fn has(&self, parent: Parent, target: &[i64]) -> bool {
        match (parent, target) {
            (Parent::Repository, [id]) => self.repositories.binary_search(id).is_ok(),
            (Parent::Blob, [id]) => self.blobs.binary_search(id).is_ok(),
            (Parent::Member, [repo, blob]) => self.members.binary_search(&(*repo, *blob)).is_ok(),
            (Parent::Manifest, [id, repo]) => self.manifests.binary_search(&(*id, *repo)).is_ok(),
            _ => false,
        }
    }

    fn check_order(&mut self, batch: &Batch, row: &[Cell]) {
        let key = batch.table.key.iter().filter_map(|name| batch.position(name)).filter_map(|at| row.get(at));
        let key: Vec<Cell> = key.cloned().collect();
        let rises = match &self.last {
            Some((table, last)) if *table == batch.table.name => is_before(last, &key),
            _ => true,
        };
        if !rises || key.len() != batch.table.key.len() {
            self.faults.push(format!("{} {}: the rows are not in order", batch.table.name, first(row)));
        }
        self.last = Some((batch.table.name, key));
    }
}

fn is_before(one: &[Cell], other: &[Cell]) -> bool {
    let order = one.iter().zip(other).map(|(one, other)| match (one, other) {
        (Cell::Integer(one), Cell::Integer(other)) => one.cmp(other),
        (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
        _ => std::cmp::Ordering::Equal,
    });
    order.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).is_lt()
}

/// The number a row begins with, which is enough to find it.
fn first(row: &[Cell]) -> i64 {
    row.first().and_then(Cell::as_integer).unwrap_or_default()
}

/// What is wrong with bytes that rows hold themselves.
pub(in crate::transfer) fn content_faults(batch: &Batch) -> impl Iterator<Item = String> + '_ {
    let table = batch.table.name;
    let fault = move |row: &Vec<Cell>| Some(format!("I1: {table} {}: {}", first(row), content_fault(batch, row)?));
    batch.rows.iter().filter_map(fault)
}

/// What is wrong with the bytes that a row itself holds, or with the place it names.
fn content_fault(batch: &Batch, row: &[Cell]) -> Option<String> {
    let cell = |name: &str| batch.position(name).and_then(|at| row.get(at));
    let bytes = match batch.table.name {
        "manifests" => cell("payload")?.as_bytes(),
        "blobs" => {
            let (key, inline) = (cell("object_key").and_then(Cell::as_text), cell("inline").and_then(Cell::as_bytes));
            if key.is_some() == inline.is_some() || key.is_some_and(|key| Key::parse(key).is_none()) {
                return Some("its bytes are neither an object nor in the row".to_owned());
            }
            inline
        }
        _ => return None,
    };
    let Some(digest) = cell("digest")?.as_text()?.parse::<Digest>().ok() else {
        return Some("its digest is none".to_owned());
    };
    let actual = Digest::of(digest.algorithm(), bytes?);
    (actual != digest).then(|| format!("has the bytes of {actual}, not of {digest}"))
}

async fn verify_blobs(dir: &Path, index: &Index, watch: &Arc<dyn Watch>, report: &mut VerifyReport) -> Result<()> {
    watch.stage("checking blobs", amount(dir, &index.facts).await?);
    let lacking = lacking(index);
    let mut crew = Crew::new();
    let Some(reader) = open_blobs(dir, &index.facts).await? else { return Ok(()) };
    let mut batches = Box::pin(reader.into_stream());
    while let Some(batch) = batches.next().await {
        for object in objects(&batch?) {
            if lacking.contains(&object.digest) {
                report.take(Some(Err(format!("blob {} was missing when the backup was made", object.digest))), watch);
                continue;
            }
            let (dir, watch_it) = (dir.to_owned(), Arc::clone(watch));
            let check = async move {
                let checked = blob_fault(&dir, &object).await?.map_or(Ok(object.size), Err);
                watch_it.moved(Amount { blobs: 1, bytes: object.size });
                Ok(checked)
            };
            report.take(crew.start(check).await?, watch);
        }
    }
    while let Some(ended) = crew.next().await? {
        report.take(Some(ended), watch);
    }
    Ok(())
}

impl VerifyReport {
    fn take(&mut self, ended: Option<std::result::Result<u64, String>>, watch: &Arc<dyn Watch>) {
        match ended {
            Some(Ok(bytes)) => self.blobs.add(Amount { blobs: 1, bytes }),
            Some(Err(finding)) => {
                self.findings += 1;
                watch.finding(finding);
            }
            None => {}
        }
    }
}

/// Blobs that were missing when the backup was made.
pub(super) fn lacking(index: &Index) -> HashSet<Digest> {
    index.blobs.iter().flat_map(|blobs| &blobs.lacking).map(|DigestText(digest)| digest.clone()).collect()
}

/// What is wrong with the bytes of a blob in a backup.
async fn blob_fault(dir: &Path, object: &Object) -> Result<Option<String>> {
    let Some(read) = open_blob(dir, object).await? else {
        return Ok(Some(format!("blob {} is missing", object.digest)));
    };
    let size = read.size;
    let (actual, _) = hash(read.into_stream(READ_CHUNK_BYTES), &object.digest).await?;
    if size != object.size {
        return Ok(Some(format!("blob {} has {size} bytes instead of {}", object.digest, object.size)));
    }
    Ok((actual != object.digest).then(|| format!("blob {} has the bytes of {actual}", object.digest)))
}

/// The bytes of a blob in a backup.
pub(super) async fn open_blob(dir: &Path, object: &Object) -> Result<Option<BlobRead>> {
    let path = blob_path(dir, &object.digest);
    blocking(move || {
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::open(&path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        match open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TransferError::file(&path, error)),
            Ok((file, size)) => Ok(Some(BlobRead { size, source: ReadSource::File { file, range: 0..size } })),
        }
    })
    .await
}
