//! A client that pushes and deletes without end and writes down what the server acknowledged, and nothing else.

use std::cell::{Cell, RefCell};

use anyhow::{Result, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use crate::content::{Algorithm, Blob, Random};
use crate::runner::Context;
use crate::scenarios::data_sets::{CONFIG, LAYER, MANIFEST, manifest_path};
use crate::scenarios::push::{self, Chunked, Way, blob_path};
use crate::wire::Wire;

/// An image whose tag was acknowledged.
struct Image {
    round: usize,
    repo: String,
    tag: String,
    digest: String,
    blobs: Vec<String>,
}

/// What the server promised.
#[derive(Default)]
pub(crate) struct Ledger {
    images: RefCell<Vec<Image>>,
    deleted: RefCell<Vec<Image>>,
    round: Cell<usize>,
}

impl Ledger {
    /// How much is written down: images, deletes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.images.borrow().len(), self.deleted.borrow().len())
    }

    /// What follows belongs to this round.
    pub(crate) fn begin_round(&self, round: usize) {
        self.round.set(round);
    }

    /// Checks every promise from the given round on.
    #[expect(clippy::await_holding_refcell_ref, reason = "nobody pushes while promises are checked")]
    pub(crate) async fn check(&self, wire: &Wire, since: usize) -> Result<()> {
        for image in self.images.borrow().iter().filter(|image| image.round >= since) {
            let answer = wire.get(&manifest_path(&image.repo, &image.tag)).expect(200).await?;
            answer.expect_header("docker-content-digest", &image.digest)?;
            check_bytes(&answer.body, &image.digest)?;
            for digest in &image.blobs {
                let answer = wire.get(&blob_path(&image.repo, digest)).expect(200).await?;
                check_bytes(&answer.body, digest)?;
            }
        }
        for image in self.deleted.borrow().iter().filter(|image| image.round >= since) {
            wire.head(&manifest_path(&image.repo, &image.digest)).expect(404).await?;
        }
        Ok(())
    }

    fn take(&self, random: &Random) -> Option<Image> {
        let mut images = self.images.borrow_mut();
        let at = usize::try_from(random.next()).unwrap_or_default().checked_rem(images.len())?;
        Some(images.swap_remove(at))
    }
}

fn check_bytes(bytes: &Bytes, digest: &str) -> Result<()> {
    let actual = Algorithm::Sha256.digest(bytes);
    ensure!(actual == digest, "{digest} has bytes of {actual}");
    Ok(())
}

/// Pushes images until something fails, which is the server's end.
pub(crate) async fn push_images(context: &Context, wire: &Wire, repo: &str, ledger: &Ledger) -> Result<()> {
    loop {
        let image = Image { round: ledger.round.get(), ..push_image(context, wire, repo).await? };
        ledger.images.borrow_mut().push(image);
        if context.random.below(6) == 0
            && let Some(image) = ledger.take(&context.random)
        {
            // From here until the answer it may be there or not, so it is written down in neither list.
            wire.delete(&manifest_path(&image.repo, &image.digest)).expect(202).await?;
            ledger.deleted.borrow_mut().push(Image { round: ledger.round.get(), ..image });
        }
    }
}

async fn push_image(context: &Context, wire: &Wire, repo: &str) -> Result<Image> {
    let mut layers = Vec::new();
    for _ in 0..=context.random.below(3) {
        // Some blobs are small enough for a database row.
        let size = [100, 3_000, 20_000, 600_000][usize::try_from(context.random.below(4))?];
        let blob = Blob::random(&context.random, size);
        push::push(wire, repo, &blob, way(&context.random)).await?;
        layers.push(blob);
    }
    let entries: Vec<_> =
        layers.iter().map(|blob| json!({"mediaType": LAYER, "digest": blob.digest, "size": blob.len()})).collect();
    let mut config = entries[0].clone();
    config["mediaType"] = CONFIG.into();
    let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": entries}).to_string();
    let (tag, digest) = (format!("t{}", context.random.word()), Algorithm::Sha256.digest(body.as_bytes()));
    let call = wire.put(&manifest_path(repo, &tag)).header("content-type", MANIFEST).body(body);
    call.expect(201).await?;
    let blobs = layers.into_iter().map(|blob| blob.digest).collect();
    Ok(Image { round: 0, repo: repo.to_owned(), tag, digest, blobs })
}

fn way(random: &Random) -> Way {
    let chunked = Chunked { chunks: 3, put_last: random.below(2) == 0, out_of_order: false };
    [Way::PostOnly, Way::PostPut, Way::Chunked(chunked), Way::Stream][usize::try_from(random.below(4)).unwrap_or(0)]
}

/// An upload that is under way when the server dies.
pub(crate) struct LongUpload {
    repo: String,
    blob: Blob,
    location: RefCell<Option<String>>,
    acknowledged: RefCell<usize>,
}

impl LongUpload {
    /// An upload of 32 MB, which nobody finishes in the time that the server has.
    pub(crate) fn new(context: &Context, repo: &str) -> Self {
        let blob = Blob::random(&context.random, 32 << 20);
        Self { repo: repo.to_owned(), blob, location: RefCell::default(), acknowledged: RefCell::default() }
    }

    /// Sends chunks until something fails.
    pub(crate) async fn send(&self, wire: &Wire) -> Result<()> {
        let mut location = push::begin(wire, &self.repo).await?;
        self.location.replace(Some(location.clone()));
        let mut at = 0;
        while at < self.blob.len() - 1 {
            let end = (at + LONG_UPLOAD_CHUNK).min(self.blob.len() - 1);
            let answer = push::chunk(wire, Method::PATCH, &location, &self.blob, at..end).await?.expect(202)?;
            location = answer.location()?;
            self.acknowledged.replace(end);
            at = end;
        }
        std::future::pending().await
    }

    /// Finishes the upload where the server says that it stands; gives that offset, if there was a session.
    pub(crate) async fn resume(&self, wire: &Wire) -> Result<Option<usize>> {
        let Some(location) = self.location.take() else { return Ok(None) };
        let (location, last) = push::status(wire, &location).await?;
        let offset = if last <= 0 { 0 } else { usize::try_from(last)? + 1 };
        let acknowledged = self.acknowledged.take();
        ensure!(offset >= acknowledged, "{acknowledged} bytes were acknowledged, after the restart there are {offset}");
        let target = crate::wire::with_query(&location, &format!("digest={}", self.blob.digest));
        push::chunk(wire, Method::PUT, &target, &self.blob, offset..self.blob.len()).await?.expect(201)?;
        push::read_back(wire, &self.repo, &self.blob).await?;
        Ok(Some(offset))
    }
}

const LONG_UPLOAD_CHUNK: usize = 300_000;
