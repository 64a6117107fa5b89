//! The groups of the official suite about manifests that are not there or not named well.

use anyhow::Result;

use crate::content::Algorithm;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::data_sets::MANIFEST;
use crate::scenarios::generate::{Image, Set};
use crate::scenarios::push::{self, WAYS};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("suite", "missing-manifest", missing_manifest),
        scenario("suite", "invalid-digest-format", invalid_digest_format),
    ]
}

async fn missing_manifest(context: &Context) -> Result<()> {
    let repo = context.repo("errors");
    let digest = Algorithm::Sha256.digest(&context.random.bytes(1024));
    for reference in [digest, format!("missing-{}", context.random.word())] {
        let path = format!("/v2/{repo}/manifests/{reference}");
        context.wire.get(&path).expect_error(404, "MANIFEST_UNKNOWN").await?;
        context.wire.head(&path).expect(404).await?;
    }
    Ok(())
}

async fn invalid_digest_format(context: &Context) -> Result<()> {
    let repo = context.repo("errors");
    let mut set = Set::default();
    set.image(&context.random, &Image::default());
    for blob in &set.blobs {
        push::push(&context.wire, &repo, blob, WAYS[0]).await?;
    }
    let path = format!("/v2/{repo}/manifests/sha256:baddigeststring");
    let bytes = set.manifests[0].bytes.clone();
    context.wire.put(&path).header("content-type", MANIFEST).body(bytes).expect_error(400, "DIGEST_INVALID").await?;
    context.wire.get(&path).send().await?.expect_any(&[400, 404])?;
    for blob in &set.blobs {
        push::delete(&context.wire, &repo, &blob.digest).await?;
    }
    Ok(())
}
