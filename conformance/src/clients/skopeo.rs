//! skopeo: copies between a layout on disk and the registry and within the registry, lists, inspects, deletes.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Tool, artifact, digest_of, expect_gone, image, last_manifest, write_layout};
use crate::runner::Context;

pub(crate) async fn run(context: &Context) -> Result<()> {
    let skopeo = Tool::find(context, "skopeo")?.with(&["--insecure-policy"]);
    let host = context.wire.authority();
    let (repo, copy) = (context.repo("skopeo"), context.repo("skopeo-copy"));
    let at = |repo: &str, reference: &str| format!("docker://{host}/{repo}{reference}");
    for (name, set) in [("image", image(context)), ("artifact", artifact(context))] {
        let layout = skopeo.path(name);
        write_layout(Path::new(&layout), &set, "v1")?;
        let source = format!("oci:{layout}:v1");
        let push = ["copy", "--dest-tls-verify=false", "--preserve-digests"];
        skopeo.run(&[&push[..], &[&source, &at(&repo, &format!(":{name}"))]].concat()).await?;
        let digest = digest_of(context, &repo, name).await?;
        ensure!(digest == last_manifest(&set)?.digest, "the {name} changed on its way: {digest}");
        pull(&skopeo, &at(&repo, &format!(":{name}")), &format!("{name}-by-tag")).await?;
        pull(&skopeo, &at(&repo, &format!("@{digest}")), &format!("{name}-by-digest")).await?;
        let both = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"];
        let (from, to) = (at(&repo, &format!(":{name}")), at(&copy, &format!(":{name}")));
        skopeo.run(&[&both[..], &[&from, &to]].concat()).await?;
        ensure!(digest_of(context, &copy, name).await? == digest, "the copy has another digest");
    }
    let compressed = format!("oci:{}:v1", skopeo.path("image"));
    skopeo.run(&["copy", "--dest-tls-verify=false", &compressed, &at(&repo, ":gzip")]).await?;
    skopeo.run(&["copy", "--dest-tls-verify=false", "-f", "v2s2", &compressed, &at(&repo, ":docker")]).await?;
    let listed = skopeo.run(&["list-tags", "--tls-verify=false", &at(&repo, "")]).await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let wanted = serde_json::json!(["artifact", "docker", "gzip", "image"]);
    ensure!(listed["Tags"] == wanted, "skopeo list-tags printed {listed}");
    let inspected = skopeo.run(&["inspect", "--tls-verify=false", &at(&repo, ":image")]).await?;
    ensure!(inspected.contains(&digest_of(context, &repo, "image").await?), "skopeo inspect printed {inspected}");
    // It resolves the tag and deletes the manifest by digest.
    let digest = digest_of(context, &repo, "image").await?;
    skopeo.run(&["delete", "--tls-verify=false", &at(&repo, ":image")]).await?;
    expect_gone(context, &repo, "image").await?;
    expect_gone(context, &repo, &digest).await?;
    pull(&skopeo, &at(&copy, ":image"), "after-delete").await
}

async fn pull(skopeo: &Tool, source: &str, folder: &str) -> Result<()> {
    let target = format!("dir:{}", skopeo.path(folder));
    skopeo.run(&["copy", "--src-tls-verify=false", source, &target]).await.map(drop)
}
