//! crane: push, list, pull, copy, tag, append, validate, delete.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Tool, artifact, expect_gone, expect_lines, image, last_manifest, write_layout};
use crate::content::{gzip, tar};
use crate::runner::Context;

pub(crate) async fn run(context: &Context) -> Result<()> {
    let crane = Tool::find(context, "crane")?;
    let host = context.wire.authority();
    let (repo, copy) = (context.repo("crane"), context.repo("crane-copy"));
    let (at, copied) = (format!("{host}/{repo}"), format!("{host}/{copy}"));
    let image = image(context);
    let digest = last_manifest(&image)?.digest.clone();
    write_layout(Path::new(&crane.path("layout")), &image, "v1")?;
    crane.run(&["push", "layout", &format!("{at}:v1")]).await?;
    ensure!(crane.run(&["digest", &format!("{at}:v1")]).await? == digest, "crane digest is not {digest}");
    crane.run(&["tag", &format!("{at}:v1"), "v2"]).await?;
    let artifact = artifact(context);
    write_layout(Path::new(&crane.path("artifact")), &artifact, "v1")?;
    crane.run(&["push", "artifact", &format!("{at}:artifact")]).await?;
    expect_lines(&crane.run(&["ls", &at]).await?, &["artifact", "v1", "v2"])?;
    ensure!(crane.run(&["catalog", host]).await?.lines().any(|line| line == repo), "the catalog lacks {repo}");
    crane.run(&["validate", "--remote", &format!("{at}:v1")]).await?;
    crane.run(&["pull", &format!("{at}:v1"), "by-tag.tar"]).await?;
    crane.run(&["pull", "--format=oci", &format!("{at}@{digest}"), "by-digest"]).await?;
    let pulled = std::fs::read_to_string(crane.path("by-digest/index.json"))?;
    ensure!(pulled.contains(&digest), "pulled by digest: {pulled}");
    let manifest = crane.run(&["manifest", &format!("{at}:artifact")]).await?;
    ensure!(manifest.as_bytes() == last_manifest(&artifact)?.bytes, "crane manifest printed {manifest}");
    let blob = &artifact.blobs[0];
    crane.run(&["blob", &format!("{at}@{}", blob.digest)]).await?;
    crane.run(&["copy", &format!("{at}:v1"), &format!("{copied}:v1")]).await?;
    append(context, &crane, &copied).await?;
    ensure!(crane.run(&["digest", &format!("{copied}:v1")]).await? == digest, "the copy has another digest");
    crane.run(&["delete", &format!("{at}@{digest}")]).await?;
    for reference in ["v1", "v2", &digest] {
        expect_gone(context, &repo, reference).await?;
    }
    crane.run_refused(&["digest", &format!("{at}:v1")]).await?;
    crane.run(&["validate", "--remote", &format!("{copied}:v1")]).await.map(drop)
}

/// A layer on top of an image that is in the registry: only the new layer and config are pushed.
async fn append(context: &Context, crane: &Tool, at: &str) -> Result<()> {
    let layer = gzip(&tar("more.txt", context.random.word().as_bytes()));
    std::fs::write(crane.path("more.tar.gz"), layer)?;
    let (base, target) = (format!("{at}:v1"), format!("{at}:more"));
    crane.run(&["append", "--base", &base, "--new_layer", "more.tar.gz", "--new_tag", &target]).await?;
    crane.run(&["validate", "--remote", &target]).await.map(drop)
}
