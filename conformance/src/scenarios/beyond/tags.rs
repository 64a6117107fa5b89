//! Tags: moving, deleting, locking, and many pushes at once.

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::{push_image, push_set};
use crate::scenarios::data_sets::{manifest_path, push_manifest, read_manifest, tags_of};
use crate::scenarios::generate::{Image, Set};

const GROUP: &str = "tags";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "move", moved),
        scenario(GROUP, "delete leaves siblings", delete_leaves_siblings),
        scenario(GROUP, "go with their manifest", go_with_manifest),
        scenario(GROUP, "twelve by parameter", twelve_by_parameter),
        scenario(GROUP, "immutable", immutable),
        scenario(GROUP, "many pushed at once", many_at_once),
        scenario(GROUP, "one pushed by many at once", one_by_many),
    ]
}

async fn moved(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let old = push_image(context, &repo, "latest").await?;
    let new = push_image(context, &repo, "latest").await?;
    read_manifest(&context.wire, &repo, "latest", &new).await?;
    read_manifest(&context.wire, &repo, &old.digest, &old).await
}

async fn delete_leaves_siblings(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let manifest = push_image(context, &repo, "one").await?;
    push_manifest(&context.wire, &repo, "two", &manifest, &[]).await?;
    context.wire.delete(&manifest_path(&repo, "one")).expect(202).await?;
    context.wire.head(&manifest_path(&repo, "one")).expect(404).await?;
    read_manifest(&context.wire, &repo, "two", &manifest).await?;
    read_manifest(&context.wire, &repo, &manifest.digest, &manifest).await
}

async fn go_with_manifest(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let manifest = push_image(context, &repo, "one").await?;
    push_manifest(&context.wire, &repo, "two", &manifest, &[]).await?;
    push_image(context, &repo, "other").await?;
    context.wire.delete(&manifest_path(&repo, &manifest.digest)).expect(202).await?;
    context.wire.head(&manifest_path(&repo, "one")).expect(404).await?;
    let answer = context.wire.get(&format!("/v2/{repo}/tags/list")).expect(200).await?;
    ensure!(tags_of(&answer.json()?)? == ["other"], "{}", answer.describe());
    Ok(())
}

async fn twelve_by_parameter(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let manifest = push_image(context, &repo, "t00").await?;
    let tags: Vec<String> = (1..=12).map(|at| format!("t{at:02}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    push_manifest(&context.wire, &repo, &manifest.digest, &manifest, &tags).await?;
    for tag in tags {
        read_manifest(&context.wire, &repo, tag, &manifest).await?;
    }
    Ok(())
}

/// `immutable_tags = ["locked/**:v*"]`: the same digest again is a success, so that a repeated job does not fail.
async fn immutable(context: &Context) -> Result<()> {
    context.own_server()?;
    let repo = format!("locked/{}", context.repo("tags"));
    let first = push_image(context, &repo, "v1").await?;
    push_manifest(&context.wire, &repo, "v1", &first, &[]).await?;
    let other = push_image(context, &repo, "latest").await?;
    let put = |reference: &str, query: &str| {
        let target = format!("{}{query}", manifest_path(&repo, reference));
        context.wire.put(&target).header("content-type", other.media_type).body(other.bytes.clone())
    };
    put("v1", "").expect_error(403, "DENIED").await?;
    put(&other.digest, "?tag=free&tag=v1").expect_error(403, "DENIED").await?;
    context.wire.head(&manifest_path(&repo, "free")).expect(404).await?;
    for reference in ["v1", &first.digest] {
        context.wire.delete(&manifest_path(&repo, reference)).expect_error(403, "DENIED").await?;
    }
    read_manifest(&context.wire, &repo, "v1", &first).await?;
    let third = push_image(context, &repo, "latest").await?;
    read_manifest(&context.wire, &repo, "latest", &third).await?;
    context.wire.delete(&manifest_path(&repo, "latest")).expect(202).await?;
    Ok(())
}

const AT_ONCE: usize = 16;

async fn many_at_once(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let tags: Vec<String> = (0..AT_ONCE).map(|at| format!("t{at:02}")).collect();
    let manifests = try_join_all(tags.iter().map(|tag| push_image(context, &repo, tag))).await?;
    let answer = context.wire.get(&format!("/v2/{repo}/tags/list")).expect(200).await?;
    ensure!(tags_of(&answer.json()?)? == tags, "{}", answer.describe());
    for (tag, manifest) in tags.iter().zip(&manifests) {
        read_manifest(&context.wire, &repo, tag, manifest).await?;
    }
    Ok(())
}

async fn one_by_many(context: &Context) -> Result<()> {
    let repo = context.repo("tags");
    let mut set = Set::default();
    for _ in 0..AT_ONCE {
        set.image(&context.random, &Image { layers: 0, ..Image::default() });
    }
    push_set(context, &repo, &set).await?;
    let path = manifest_path(&repo, "contested");
    let puts = set.manifests.iter().map(|manifest| {
        context.wire.put(&path).header("content-type", manifest.media_type).body(manifest.bytes.clone()).expect(201)
    });
    try_join_all(puts).await?;
    let answer = context.wire.get(&path).expect(200).await?;
    let digest = answer.header("docker-content-digest")?;
    let winner = set.manifests.iter().find(|manifest| manifest.digest == digest);
    ensure!(winner.is_some_and(|it| it.bytes == answer.body), "{} is none of those pushed", answer.describe());
    Ok(())
}
