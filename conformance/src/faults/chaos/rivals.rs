//! Workers that push and delete the same few images at once. Nobody can know what is there, but what is there is whole.

use anyhow::{Result, bail};
use serde_json::json;
use tokio::time::Instant;

use super::nodes::{Expect, Nodes};
use super::upload;
use crate::content::{Algorithm, Blob};
use crate::scenarios::data_sets::{CONFIG, LAYER, MANIFEST, manifest_path};
use crate::scenarios::push::blob_path;

const REPO: &str = "chaos/rivals";
/// Different images; neighbours share a layer.
const IMAGES: usize = 4;
/// How often a manifest may come and go between two looks at it and its blobs.
const LOOKS_MAX: usize = 10;

/// Fights until `end`.
pub(super) async fn fight(nodes: &Nodes<'_>, pool: &[Blob], end: Instant) -> Result<()> {
    while Instant::now() < end {
        let image = Image::number(pool, nodes.pick(IMAGES));
        match nodes.pick(4) {
            0 | 1 => image.push(nodes).await?,
            2 => image.delete_some(nodes).await?,
            _ => image.check_whole(nodes).await?,
        }
    }
    Ok(())
}

/// Deletes whatever is there.
pub(super) async fn delete_all(nodes: &Nodes<'_>) -> Result<()> {
    let target = format!("/v2/{REPO}/tags/list");
    let answer = nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.get(&target)).await?.answer;
    if answer.status == 404 {
        return Ok(());
    }
    for tag in answer.json()?["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()) {
        // Each tag is the hexadecimal part of its manifest's digest.
        let path = manifest_path(REPO, &format!("sha256:{tag}"));
        nodes.insist(Expect(&[202, 404], &[202, 404]), |wire| wire.delete(&path)).await?;
    }
    Ok(())
}

struct Image {
    blobs: [Blob; 2],
    body: String,
    digest: String,
}

impl Image {
    fn number(pool: &[Blob], at: usize) -> Self {
        let blobs = [pool[at % pool.len()].clone(), pool[(at + 1) % IMAGES % pool.len()].clone()];
        let entry = |kind: &str, blob: &Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.len()});
        let (config, layer) = (entry(CONFIG, &blobs[0]), entry(LAYER, &blobs[1]));
        let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).to_string();
        Self { blobs, digest: Algorithm::Sha256.digest(body.as_bytes()), body }
    }

    fn path(&self) -> String {
        manifest_path(REPO, &self.digest)
    }

    async fn push(&self, nodes: &Nodes<'_>) -> Result<()> {
        for blob in &self.blobs {
            let path = blob_path(REPO, &blob.digest);
            let head = nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.head(&path)).await?.answer;
            if head.status == 404 {
                upload::push(nodes, REPO, blob).await?;
            }
        }
        let path = manifest_path(REPO, self.digest.trim_start_matches("sha256:"));
        // Somebody may have deleted a blob meanwhile; then the answer says so, and one would push again.
        let put = |wire: &crate::wire::Wire| wire.put(&path).header("content-type", MANIFEST).body(self.body.clone());
        let answer = nodes.insist(Expect(&[201, 404], &[201, 404]), put).await?.answer;
        if answer.status == 404 {
            answer.check_error(404, "MANIFEST_BLOB_UNKNOWN")?;
            nodes.stats.heard("404 MANIFEST_BLOB_UNKNOWN");
        }
        nodes.stats.did("rival push");
        Ok(())
    }

    async fn delete_some(&self, nodes: &Nodes<'_>) -> Result<()> {
        let target = match nodes.pick(3) {
            0 => blob_path(REPO, &self.blobs[0].digest),
            1 => self.path(),
            _ => format!("{}?purge=wait", self.path()),
        };
        nodes.insist(Expect(&[202, 404, 405], &[202, 404, 405]), |wire| wire.delete(&target)).await?;
        nodes.stats.did("rival delete");
        Ok(())
    }

    async fn check_whole(&self, nodes: &Nodes<'_>) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            let path = self.path();
            let answer = nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.get(&path)).await?.answer;
            if answer.status == 404 || self.has_blobs(nodes).await? {
                nodes.stats.did("rival pull");
                return Ok(());
            }
        }
        bail!("{} is there without its blobs", self.digest)
    }

    async fn has_blobs(&self, nodes: &Nodes<'_>) -> Result<bool> {
        for blob in &self.blobs {
            let path = blob_path(REPO, &blob.digest);
            let answer = nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.get(&path)).await?.answer;
            if answer.status == 404 {
                return Ok(false);
            }
            answer.expect_body(&blob.bytes)?;
        }
        Ok(true)
    }
}
