//! The blob groups of the official suite, once for each digest algorithm: reading, mounting, ranges, cancelling.

use anyhow::{Result, ensure};

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::blob_pushes;
use crate::scenarios::push::{self, Way, blob_path};

pub(crate) fn all() -> Vec<Scenario> {
    [("sha256 blobs", Algorithm::Sha256), ("sha512 blobs", Algorithm::Sha512)]
        .into_iter()
        .flat_map(|(group, algorithm)| of_algorithm(group, algorithm))
        .collect()
}

fn of_algorithm(group: &'static str, algorithm: Algorithm) -> Vec<Scenario> {
    let mut scenarios = vec![scenario(group, "get-missing", async move |c: &Context| get_missing(c, algorithm).await)];
    scenarios.extend(blob_pushes::good(group, algorithm));
    scenarios.extend([
        scenario(group, "mount", async move |c: &Context| mount(c, algorithm, true).await),
        scenario(group, "mount anonymous", async move |c: &Context| mount(c, algorithm, false).await),
        scenario(group, "mount missing", async move |c: &Context| mount_missing(c, algorithm).await),
        scenario(group, "post cancel", async move |c: &Context| post_cancel(c).await),
        scenario(group, "range requests", async move |c: &Context| ranges(c, algorithm).await),
        scenario(group, "empty", async move |c: &Context| known(c, algorithm, b"").await),
        scenario(group, "emptyJSON", async move |c: &Context| known(c, algorithm, b"{}").await),
    ]);
    scenarios.extend(blob_pushes::bad(group, algorithm));
    scenarios
}

async fn get_missing(context: &Context, algorithm: Algorithm) -> Result<()> {
    let blob = Blob::new(algorithm, context.random.bytes(512));
    let path = blob_path(&context.repo("layers"), &blob.digest);
    context.wire.get(&path).expect(404).await?;
    context.wire.head(&path).expect(404).await?;
    Ok(())
}

/// With `from` and without: 201, the bytes are there, and both repositories can let go of them.
async fn mount(context: &Context, algorithm: Algorithm, with_from: bool) -> Result<()> {
    let (source, repo) = (context.repo("source"), context.repo("layers"));
    let blob = Blob::new(algorithm, context.random.bytes(512));
    push::push(&context.wire, &source, &blob, Way::PostPut).await?;
    let from = if with_from { format!("&from={source}") } else { String::new() };
    let target = format!("/v2/{repo}/blobs/uploads/?mount={}{from}", blob.digest);
    let answer = context.wire.post(&target).body("").expect(201).await?;
    answer.expect_header("docker-content-digest", &blob.digest)?;
    context.wire.get(&answer.location()?).expect(200).await?.expect_body(&blob.bytes)?;
    push::read_back(&context.wire, &repo, &blob).await?;
    push::delete(&context.wire, &repo, &blob.digest).await?;
    push::read_back(&context.wire, &source, &blob).await?;
    push::delete(&context.wire, &source, &blob.digest).await
}

/// A blob that is nowhere cannot be mounted: a session is opened instead, and works.
async fn mount_missing(context: &Context, algorithm: Algorithm) -> Result<()> {
    let (source, repo) = (context.repo("source"), context.repo("layers"));
    let blob = Blob::new(algorithm, context.random.bytes(512));
    let target = format!("/v2/{repo}/blobs/uploads/?mount={}&from={source}", blob.digest);
    let answer = context.wire.post(&target).body("").expect(202).await?;
    push::put(&context.wire, &answer.location()?, &blob, blob.bytes.clone()).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await?;
    push::delete(&context.wire, &repo, &blob.digest).await
}

async fn post_cancel(context: &Context) -> Result<()> {
    let location = push::begin(&context.wire, &context.repo("layers")).await?;
    context.wire.delete(&location).expect(204).await?;
    context.wire.get(&location).expect_error(404, "BLOB_UPLOAD_UNKNOWN").await?;
    Ok(())
}

async fn ranges(context: &Context, algorithm: Algorithm) -> Result<()> {
    let repo = context.repo("layers");
    let blob = Blob::new(algorithm, context.random.bytes(2048));
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    let path = blob_path(&repo, &blob.digest);
    let served =
        [("500-1499", 500..1500), ("500-", 500..2048), ("-500", 1548..2048), ("2000-5000", 2000..2048), ("0-0", 0..1)];
    for (range, place) in served {
        let answer = context.wire.get(&path).header("range", format!("bytes={range}")).expect(206).await?;
        answer.expect_header("content-range", &format!("bytes {}-{}/2048", place.start, place.end - 1))?;
        answer.expect_body(&blob.bytes[place])?;
    }
    for range in ["500-0", "5000-10000"] {
        let answer = context.wire.get(&path).header("range", format!("bytes={range}")).send().await?;
        ensure!(answer.status == 416, "{}, expected 416", answer.describe());
    }
    push::delete(&context.wire, &repo, &blob.digest).await
}

/// Content that is in every registry already may be pushed all the same.
async fn known(context: &Context, algorithm: Algorithm, content: &'static [u8]) -> Result<()> {
    let repo = context.repo("layers");
    let blob = Blob::new(algorithm, content);
    for way in [Way::PostOnly, Way::PostPut] {
        push::push(&context.wire, &repo, &blob, way).await?;
        push::read_back(&context.wire, &repo, &blob).await?;
    }
    push::delete(&context.wire, &repo, &blob.digest).await
}
