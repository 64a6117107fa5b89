//! Pushers and deleters of the same few blobs and images at once, with the collector in between.
//!
//! Whatever wins, nobody sees an internal error, and what is there at the end is whole.

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::content::{Algorithm, Blob};
use crate::runner::Context;
use crate::scenarios::data_sets::{CONFIG, LAYER, MANIFEST, manifest_path};
use crate::scenarios::push::{self, Way, blob_path};
use crate::wire::{Answer, Wire};

/// How long the race goes on.
const DURATION: Duration = Duration::from_secs(4);
const REPOS: [&str; 2] = ["races/a", "races/b"];
/// Different images; they share layers.
const IMAGES: usize = 4;

/// An image over shared blobs.
struct Image {
    blobs: Vec<Blob>,
    digest: String,
    body: String,
}

pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut registry = context.start_registry("").await?;
    let wire = Wire::new(&registry.url())?;
    let images = images(context);
    let end = Instant::now() + DURATION;
    let pushers = (0..6).map(|at| push_until(context, &wire, &images, REPOS[at % 2], end));
    let deleters = (0..3).map(|at| delete_until(context, &wire, &images, REPOS[at % 2], end));
    let (pushed, deleted) = tokio::try_join!(try_join_all(pushers), try_join_all(deleters))?;
    for repo in REPOS {
        for image in &images {
            check_whole(&wire, repo, image).await?;
            push_image(&wire, repo, image, Way::PostOnly).await?.expect(201)?;
            check_whole(&wire, repo, image).await?;
        }
    }
    registry.first().fsck().await.context("beside the running server")?;
    registry.stop().await?;
    registry.first().fsck().await?;
    let (pushed, deleted): (usize, usize) = (pushed.iter().sum(), deleted.iter().sum());
    context.note(format!("{pushed} pushes, {deleted} deletes"));
    Ok(())
}

fn images(context: &Context) -> Vec<Image> {
    let layers: Vec<Blob> = (0..IMAGES).map(|_| Blob::random(&context.random, 20_000)).collect();
    let entry = |kind: &str, blob: &Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.len()});
    let image = |at: usize| {
        let blobs = vec![layers[at].clone(), layers[(at + 1) % IMAGES].clone()];
        let entries = [entry(CONFIG, &blobs[0]), entry(LAYER, &blobs[1])];
        let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": entries[0], "layers": [entries[1]]});
        let body = body.to_string();
        Image { blobs, digest: Algorithm::Sha256.digest(body.as_bytes()), body }
    };
    (0..IMAGES).map(image).collect()
}

async fn push_until(context: &Context, wire: &Wire, images: &[Image], repo: &str, end: Instant) -> Result<usize> {
    let mut count = 0;
    while Instant::now() < end {
        let image = pick(context, images)?;
        let way = push::WAYS[usize::try_from(context.random.below(4))?];
        // A blob that was deleted meanwhile has to be pushed again; so says the answer.
        let answer = push_image(wire, repo, image, way).await?.expect_any(&[201, 404])?;
        if answer.status == 404 {
            answer.check_error(404, "MANIFEST_BLOB_UNKNOWN")?;
        }
        count += 1;
    }
    Ok(count)
}

async fn push_image(wire: &Wire, repo: &str, image: &Image, way: Way) -> Result<Answer> {
    for blob in &image.blobs {
        if wire.head(&blob_path(repo, &blob.digest)).send().await?.expect_any(&[200, 404])?.status == 404 {
            push::send(wire, repo, blob, way).await?.expect(201)?;
        }
    }
    let call = wire.put(&manifest_path(repo, &image.digest)).header("content-type", MANIFEST);
    call.body(image.body.clone()).send().await
}

async fn delete_until(context: &Context, wire: &Wire, images: &[Image], repo: &str, end: Instant) -> Result<usize> {
    let mut count = 0;
    while Instant::now() < end {
        let image = pick(context, images)?;
        let target = match context.random.below(3) {
            0 => blob_path(repo, &image.blobs[0].digest),
            1 => manifest_path(repo, &image.digest),
            _ => format!("{}?purge=wait", manifest_path(repo, &image.digest)),
        };
        wire.delete(&target).send().await?.expect_any(&[202, 404, 405])?;
        count += 1;
    }
    Ok(count)
}

fn pick<'a>(context: &Context, images: &'a [Image]) -> Result<&'a Image> {
    Ok(&images[usize::try_from(context.random.below(IMAGES as u64))?])
}

/// A manifest that is there has all its blobs.
async fn check_whole(wire: &Wire, repo: &str, image: &Image) -> Result<()> {
    let answer = wire.get(&manifest_path(repo, &image.digest)).send().await?.expect_any(&[200, 404])?;
    if answer.status == 200 {
        answer.expect_body(image.body.as_bytes())?;
        for blob in &image.blobs {
            push::read_back(wire, repo, blob).await?;
        }
    }
    Ok(())
}
