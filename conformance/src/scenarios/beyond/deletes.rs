//! Deleting: what is in use stays, what is gone gives its space back.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::content::Blob;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::{push_image, push_set};
use crate::scenarios::data_sets::{LAYER, manifest_path, read_manifest};
use crate::scenarios::generate::{Common, Image, Set};
use crate::scenarios::push::{self, Way, blob_path};

const GROUP: &str = "deletes";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "blob in use", blob_in_use),
        scenario(GROUP, "manifest in use", manifest_in_use),
        scenario(GROUP, "blob pushed again", pushed_again),
        scenario(GROUP, "blob leaves other repositories alone", other_repositories),
        scenario(GROUP, "purge=wait gives the space back", purge_wait),
        scenario(GROUP, "whole repository", whole_repository),
    ]
}

/// The refusal names the manifest that has to go first.
async fn blob_in_use(context: &Context) -> Result<()> {
    let repo = context.repo("deletes");
    let mut set = Set::default();
    set.image(&context.random, &Image::default());
    push_set(context, &repo, &set).await?;
    for blob in &set.blobs {
        let answer = context.wire.delete(&blob_path(&repo, &blob.digest)).expect_error(405, "DENIED").await?;
        ensure!(answer.describe().contains(&set.manifests[0].digest), "{} names no manifest", answer.describe());
        push::read_back(&context.wire, &repo, blob).await?;
    }
    context.wire.delete(&manifest_path(&repo, &set.manifests[0].digest)).expect(202).await?;
    for blob in &set.blobs {
        push::delete(&context.wire, &repo, &blob.digest).await?;
    }
    Ok(())
}

async fn manifest_in_use(context: &Context) -> Result<()> {
    let repo = context.repo("deletes");
    let mut set = Set::default();
    let child = set.image(&context.random, &Image::default());
    set.index(&context.random, &Common::default(), &[child]);
    push_set(context, &repo, &set).await?;
    let [child, index] = set.manifests.as_slice() else { anyhow::bail!("an index of one image") };
    let answer = context.wire.delete(&manifest_path(&repo, &child.digest)).expect_error(405, "DENIED").await?;
    ensure!(answer.describe().contains(&index.digest), "{} names no index", answer.describe());
    read_manifest(&context.wire, &repo, &child.digest, child).await?;
    context.wire.delete(&manifest_path(&repo, &index.digest)).expect(202).await?;
    context.wire.delete(&manifest_path(&repo, &child.digest)).expect(202).await?;
    Ok(())
}

/// A delete that is late must not hit what was pushed after it.
async fn pushed_again(context: &Context) -> Result<()> {
    let repo = context.repo("deletes");
    let blob = Blob::random(&context.random, 50_000);
    for _ in 0..5 {
        push::push(&context.wire, &repo, &blob, Way::PostPut).await?;
        context.wire.delete(&blob_path(&repo, &blob.digest)).expect(202).await?;
        context.wire.get(&blob_path(&repo, &blob.digest)).expect_error(404, "BLOB_UNKNOWN").await?;
    }
    push::push(&context.wire, &repo, &blob, Way::PostPut).await?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn other_repositories(context: &Context) -> Result<()> {
    let (repo, other) = (context.repo("deletes"), context.repo("other"));
    let blob = Blob::random(&context.random, 50_000);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    push::push(&context.wire, &other, &blob, Way::PostOnly).await?;
    context.wire.delete(&format!("{}?purge=wait", blob_path(&repo, &blob.digest))).expect(202).await?;
    push::read_back(&context.wire, &other, &blob).await
}

/// The bytes are gone when the answer comes, HEADs of the pusher notwithstanding.
async fn purge_wait(context: &Context) -> Result<()> {
    const LAYER_BYTES: usize = 8 << 20;
    let data = context.own_server()?.bytes_folder();
    let repo = context.repo("deletes");
    let (image, layer) = with_large_layer(context, LAYER_BYTES);
    push::push(&context.wire, &repo, &layer, Way::PostPut).await?;
    push_set(context, &repo, &image).await?;
    push::read_back(&context.wire, &repo, &layer).await?;
    let before = folder_bytes(&data)?;
    let path = manifest_path(&repo, &image.manifests[0].digest);
    context.wire.delete(&format!("{path}?purge=wait")).expect(202).await?;
    let after = folder_bytes(&data)?;
    let freed = before.saturating_sub(after);
    ensure!(freed >= LAYER_BYTES as u64, "the store had {before} bytes and has {after}: {freed} freed");
    context.wire.head(&blob_path(&repo, &layer.digest)).expect(404).await?;
    Ok(())
}

fn with_large_layer(context: &Context, size: usize) -> (Set, Blob) {
    let layer = Blob::random(&context.random, size);
    let mut set = Set::default();
    let entry = serde_json::json!({
        "mediaType": LAYER, "digest": layer.digest, "size": layer.len(),
    });
    set.image(&context.random, &Image { foreign: vec![entry], layers: 0, ..Image::default() });
    (set, layer)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        // A file may go between the listing and the look at it; then it holds no bytes.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

async fn whole_repository(context: &Context) -> Result<()> {
    context.own_server()?;
    let (repo, other) = (context.repo("deletes"), context.repo("other"));
    let image = push_image(context, &repo, "latest").await?;
    let kept = push_image(context, &other, "latest").await?;
    let answer = context.wire.delete(&format!("/api/v1/repositories/{repo}")).send().await?;
    answer.expect_any(&[200, 202, 204])?;
    context.wire.get(&format!("/v2/{repo}/tags/list")).expect_error(404, "NAME_UNKNOWN").await?;
    for reference in ["latest", &image.digest] {
        context.wire.get(&manifest_path(&repo, reference)).expect(404).await?;
    }
    read_manifest(&context.wire, &other, "latest", &kept).await?;
    context.wire.delete(&format!("/api/v1/repositories/{repo}")).expect(404).await?;
    let again = push_image(context, &repo, "latest").await?;
    read_manifest(&context.wire, &repo, "latest", &again).await
}
