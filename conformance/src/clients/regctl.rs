//! regctl: images, artifacts with a subject, referrers, copies with referrers, deletes of tags, manifests and blobs.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Tool, digest_of, expect_gone, expect_lines, image, last_manifest, write_layout};
use crate::content::Blob;
use crate::runner::Context;
use crate::scenarios::push::{self, Way, blob_path};

pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut regctl = Tool::find(context, "regctl")?;
    regctl.environment.push(("REGCTL_CONFIG", regctl.path("regctl.json")));
    let host = context.wire.authority();
    regctl.run(&["registry", "set", host, "--tls", "disabled"]).await?;
    let (repo, copy) = (context.repo("regctl"), context.repo("regctl-copy"));
    let (at, copied) = (format!("{host}/{repo}"), format!("{host}/{copy}"));
    let image = image(context);
    let digest = last_manifest(&image)?.digest.clone();
    write_layout(Path::new(&regctl.path("layout")), &image, "v1")?;
    regctl.run(&["image", "copy", "ocidir://layout:v1", &format!("{at}:v1")]).await?;
    ensure!(digest_of(context, &repo, "v1").await? == digest, "the image changed on its way");
    push_artifacts(&regctl, &at).await?;
    expect_lines(&regctl.run(&["tag", "ls", &at]).await?, &["artifact", "v1"])?;
    let repositories = regctl.run(&["repo", "ls", host]).await?;
    ensure!(repositories.lines().any(|line| line == repo), "regctl repo ls lacks {repo}");
    let referrers = regctl.run(&["artifact", "list", &format!("{at}:v1")]).await?;
    ensure!(referrers.contains("application/vnd.example.sbom"), "regctl artifact list printed {referrers}");
    ensure!(regctl.run(&["artifact", "get", &format!("{at}:artifact")]).await? == "hello", "the artifact is not hello");
    regctl.run(&["image", "copy", &format!("{at}:v1"), "ocidir://by-tag:v1"]).await?;
    regctl.run(&["image", "copy", &format!("{at}@{digest}"), "ocidir://by-digest:v1"]).await?;
    regctl.run(&["image", "copy", "--referrers", &format!("{at}:v1"), &format!("{copied}:v1")]).await?;
    ensure!(digest_of(context, &copy, "v1").await? == digest, "the copy has another digest");
    let referrers = regctl.run(&["artifact", "list", &format!("{copied}:v1")]).await?;
    ensure!(referrers.contains("application/vnd.example.sbom"), "the copy lost its referrers: {referrers}");
    regctl.run(&["tag", "delete", &format!("{at}:artifact")]).await?;
    expect_gone(context, &repo, "artifact").await?;
    regctl.run(&["manifest", "delete", &format!("{at}@{digest}")]).await?;
    expect_gone(context, &repo, "v1").await?;
    // The image's blobs went with it; one that no manifest names has to be deleted.
    let blob = Blob::random(&context.random, 5000);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    regctl.run(&["blob", "head", &at, &blob.digest]).await?;
    regctl.run(&["blob", "delete", &at, &blob.digest]).await?;
    context.wire.head(&blob_path(&repo, &blob.digest)).expect(404).await?;
    regctl.run(&["image", "copy", &format!("{copied}:v1"), "ocidir://after-delete:v1"]).await.map(drop)
}

/// One artifact with a tag and one that refers to the image.
async fn push_artifacts(regctl: &Tool, at: &str) -> Result<()> {
    std::fs::write(regctl.path("hello.txt"), "hello")?;
    let put = ["artifact", "put", "--file", "hello.txt", "--file-media-type", "text/plain", "--artifact-type"];
    regctl.run(&[&put[..], &["application/vnd.example.file", &format!("{at}:artifact")]].concat()).await?;
    let subject = format!("{at}:v1");
    regctl.run(&[&put[..], &["application/vnd.example.sbom", "--subject", &subject]].concat()).await.map(drop)
}
