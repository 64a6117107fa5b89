//! The registry that is measured, as the rows that pushes would have left, put in by `MetadataStore::load`.
//!
//! - Half of the manifests are in one large repository, each with a tag. A tenth are there as well and refer to the first
//!   of these. The others are in repositories of four, each with a tag.
//! - Each manifest names ten blobs of its own, the first of which, a config, is in its row.
//! - Beside them, for each manifest, half a blob has a lease and no manifest yet, half a blob has no repository and waits
//!   for its collection, and one more is due for it.

use std::ops::Range;

use anyhow::{Context as _, Result};
use bonded::clock::Timestamp;
use bonded::metadata::MetadataStore;
use bonded::metadata::dump::{Batch, Cell, LoadOptions, Table};
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::name::{RepoName, Tag};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

/// The moment at which everything was pushed, and at which everything is measured.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// When leases and waits end: not while something is measured.
pub(crate) const LATER: Timestamp = Timestamp::from_micros(1_900_000_000_000_000);

/// The artifact type of every referrer but the last.
pub(crate) const COMMON_TYPE: &str = "application/vnd.example.signature.v1+json";

/// The artifact type of the last referrer.
pub(crate) const RARE_TYPE: &str = "application/vnd.example.sbom.v1+json";

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

const BLOBS_EACH: u64 = 10;
const SMALL_REPOSITORY: u64 = 4;
const LARGE: i64 = 1;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) manifests: u64,
    /// Those with a tag in the large repository: the first ones.
    pub(crate) tagged: u64,
    /// Those behind them, which refer to the first of all.
    pub(crate) referrers: u64,
}

impl Shape {
    pub(crate) fn of(manifests: u64) -> Self {
        Self { manifests, tagged: manifests / 2, referrers: manifests / 10 }
    }

    /// All blobs, those without manifest included.
    pub(crate) fn blobs(self) -> u64 {
        self.named_blobs() + 2 * self.manifests
    }

    pub(crate) fn small_repositories(self) -> u64 {
        self.in_small().div_ceil(SMALL_REPOSITORY)
    }

    fn in_small(self) -> u64 {
        self.manifests - self.tagged - self.referrers
    }

    fn named_blobs(self) -> u64 {
        self.manifests * BLOBS_EACH
    }

    /// Repository of a manifest: its row id.
    fn repository(self, manifest: u64) -> i64 {
        let behind = manifest.checked_sub(self.tagged + self.referrers);
        behind.map_or(LARGE, |number| LARGE + 1 + id(number / SMALL_REPOSITORY))
    }

    /// Tag of a manifest.
    fn tag(self, manifest: u64) -> Option<String> {
        let refers = (self.tagged..self.tagged + self.referrers).contains(&manifest);
        (!refers).then(|| format!("v{manifest:06}"))
    }

    /// Name and tag of one manifest of a small repository.
    pub(crate) fn in_small_repository(self, number: u64) -> (RepoName, Tag) {
        let manifest = self.tagged + self.referrers + number % self.in_small();
        (repository_name(self.repository(manifest)), tag_name(manifest))
    }
}

/// Name of a repository by its row id.
fn repository_name(id: i64) -> RepoName {
    let name = if id == LARGE { "growth/large".to_owned() } else { format!("growth/small/{id:06}") };
    name.parse().expect("a repository name")
}

pub(crate) fn large() -> RepoName {
    repository_name(LARGE)
}

/// Name of a small repository.
pub(crate) fn small(number: u64) -> RepoName {
    repository_name(LARGE + 1 + id(number))
}

pub(crate) fn tag_name(manifest: u64) -> Tag {
    format!("v{manifest:06}").parse().expect("a tag")
}

pub(crate) fn blob_digest(blob: u64) -> Digest {
    Digest::of(Algorithm::Sha256, format!("blob {blob}").as_bytes())
}

/// Digest of a blob that a manifest names.
pub(crate) fn blob_of(manifest: u64, layer: u64) -> Digest {
    blob_digest(manifest * BLOBS_EACH + layer)
}

pub(crate) fn manifest_digest(manifest: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &payload(manifest))
}

/// A manifest's bytes, about as many as an image of ten blobs has.
fn payload(manifest: u64) -> Bytes {
    let layers: Vec<String> = (1..BLOBS_EACH)
        .map(|layer| {
            let digest = blob_of(manifest, layer);
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":100000}}"#
            )
        })
        .collect();
    let config = blob_of(manifest, 0);
    Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":600}},"layers":[{}]}}"#,
        layers.join(",")
    ))
}

/// Puts everything in; an empty database is expected.
pub(crate) async fn load(store: &dyn MetadataStore, shape: Shape) -> Result<()> {
    let (all, named, blobs) = (shape.manifests, shape.named_blobs(), shape.blobs());
    let repositories = 1 + shape.small_repositories();
    let leased = named..named + all / 2;
    let tables = vec![
        rows("repositories", &["id", "path", "created_at"], 0..repositories, |number| Some(repository(number))),
        rows("blobs", BLOB, 0..blobs, move |blob| Some(blob_row(shape, blob))),
        rows("repo_blobs", MEMBER, 0..named, move |blob| Some(member(shape.repository(blob / BLOBS_EACH), blob, None))),
        rows("repo_blobs", MEMBER, leased, |blob| Some(member(LARGE, blob, Some(LATER)))),
        rows("manifests", MANIFEST, 0..all, move |manifest| Some(manifest_row(shape, manifest))),
        rows("manifest_blobs", EDGE, 0..named, move |blob| Some(edge(shape, blob))),
        rows("tags", &["repo_id", "name", "manifest_id", "updated_at"], 0..all, move |manifest| tag(shape, manifest)),
        rows("tag_events", EVENT, 0..all, move |manifest| event(shape, manifest)),
    ];
    let batches: Vec<_> = tables.into_iter().collect::<Result<_>>()?;
    let batches = stream::iter(batches.into_iter().flatten().map(Ok)).boxed();
    store.load(batches, LoadOptions { now: NOW, doom_unknown: false, ends_copy: false }).await?;
    Ok(())
}

const BLOB: &[&str] =
    &["id", "digest", "size", "object_key", "adopted", "orphan_since", "gc_after", "created_at", "inline"];
const MEMBER: &[&str] = &["repo_id", "blob_id", "lease_until", "leased_at", "gc_after"];
const MANIFEST: &[&str] = &[
    "id",
    "repo_id",
    "digest",
    "media_type",
    "artifact_type",
    "subject",
    "referrer",
    "state",
    "untagged_since",
    "created_at",
    "payload",
];
const EDGE: &[&str] = &["manifest_id", "pos", "repo_id", "digest", "size", "role", "blob_id"];
const EVENT: &[&str] = &["id", "repo_id", "name", "new_digest", "at"];

type Batches = Box<dyn Iterator<Item = Batch> + Send>;

/// The rows of one table, made when they are wanted.
fn rows(
    table: &str,
    columns: &[&str],
    numbers: Range<u64>,
    row: impl Fn(u64) -> Option<Vec<Cell>> + Send + 'static,
) -> Result<Batches> {
    let table = Table::named(table).context("a table")?;
    let columns: Vec<_> = columns.iter().map(|name| table.column(name)).collect::<Option<_>>().context("columns")?;
    let some = u64::from(table.batch_rows);
    let batches = numbers.clone().step_by(usize::try_from(some)?).map(move |start| {
        let rows = (start..numbers.end.min(start + some)).filter_map(&row).collect();
        Batch { table, columns: columns.clone(), rows }
    });
    Ok(Box::new(batches.filter(|batch| !batch.rows.is_empty())))
}

fn repository(number: u64) -> Vec<Cell> {
    let id = LARGE + id(number);
    vec![Cell::Integer(id), text(&repository_name(id)), time(NOW)]
}

fn blob_row(shape: Shape, blob: u64) -> Vec<Cell> {
    let digest = blob_digest(blob);
    let config = blob < shape.named_blobs() && blob.is_multiple_of(BLOBS_EACH);
    let (size, key, inline) = if config {
        (600, Cell::Null, Cell::Bytes(Bytes::from(vec![b'c'; 600])))
    } else {
        (100_000, text(&format!("blobs/sha256/{}", digest.hex())), Cell::Null)
    };
    // Behind those with a manifest or a lease come those that wait, and then those that are due.
    let behind = blob.checked_sub(shape.named_blobs() + shape.manifests / 2);
    let (orphan_since, gc_after) = match behind {
        None => (Cell::Null, Cell::Null),
        Some(number) if number < shape.manifests / 2 => (time(NOW), time(LATER)),
        Some(_) => (time(NOW), time(NOW)),
    };
    let (id, adopted) = (Cell::Integer(id(blob) + 1), Cell::Integer(0));
    vec![id, text(&digest), Cell::Integer(size), key, adopted, orphan_since, gc_after, time(NOW), inline]
}

fn member(repository: i64, blob: u64, lease: Option<Timestamp>) -> Vec<Cell> {
    let until = || lease.map_or(Cell::Null, time);
    let leased_at = lease.map_or(Cell::Null, |_| time(NOW));
    vec![Cell::Integer(repository), Cell::Integer(id(blob) + 1), until(), leased_at, until()]
}

fn manifest_row(shape: Shape, manifest: u64) -> Vec<Cell> {
    let payload = payload(manifest);
    let digest = Digest::of(Algorithm::Sha256, &payload);
    let refers = shape.tag(manifest).is_none();
    let last = manifest + 1 == shape.tagged + shape.referrers;
    let artifact_type = if last { RARE_TYPE } else { COMMON_TYPE };
    let descriptor =
        format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":2000,"artifactType":"{artifact_type}"}}"#);
    let when = |yes: bool, cell: Cell| if yes { cell } else { Cell::Null };
    vec![
        Cell::Integer(id(manifest) + 1),
        Cell::Integer(shape.repository(manifest)),
        text(&digest),
        text(&IMAGE),
        when(refers, text(&artifact_type)),
        when(refers, text(&manifest_digest(0))),
        when(refers, text(&descriptor)),
        text(&"live"),
        when(refers, time(NOW)),
        time(NOW),
        Cell::Bytes(payload),
    ]
}

fn edge(shape: Shape, blob: u64) -> Vec<Cell> {
    let (manifest, layer) = (blob / BLOBS_EACH, blob % BLOBS_EACH);
    let (size, role) = if layer == 0 { (600, "config") } else { (100_000, "layer") };
    vec![
        Cell::Integer(id(manifest) + 1),
        Cell::Integer(id(layer)),
        Cell::Integer(shape.repository(manifest)),
        text(&blob_digest(blob)),
        Cell::Integer(size),
        text(&role),
        Cell::Integer(id(blob) + 1),
    ]
}

fn tag(shape: Shape, manifest: u64) -> Option<Vec<Cell>> {
    let name = shape.tag(manifest)?;
    Some(vec![Cell::Integer(shape.repository(manifest)), text(&name), Cell::Integer(id(manifest) + 1), time(NOW)])
}

fn event(shape: Shape, manifest: u64) -> Option<Vec<Cell>> {
    let name = shape.tag(manifest)?;
    let repository = Cell::Integer(shape.repository(manifest));
    Some(vec![Cell::Integer(id(manifest) + 1), repository, text(&name), text(&manifest_digest(manifest)), time(NOW)])
}

fn id(number: u64) -> i64 {
    i64::try_from(number).expect("a number of rows")
}

fn text(value: &impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

fn time(moment: Timestamp) -> Cell {
    Cell::Integer(moment.as_micros())
}
