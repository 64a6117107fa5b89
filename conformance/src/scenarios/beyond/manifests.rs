//! Manifests of every kind that real clients push, stored and served as they came.

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::{push_image, push_set};
use crate::scenarios::data_sets::{
    CONFIG, EXAMPLE, INDEX, LAYER_GZIP, MANIFEST, manifest_path, push_manifest, read_manifest,
};
use crate::scenarios::generate::{Image, Manifest, Set};
use crate::scenarios::push::{self, Way};

const GROUP: &str = "manifests";

/// Media types of Docker's image manifest, version 2, schema 2.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "Docker schema 2 and manifest list", docker),
        scenario(GROUP, "Docker manifest with OCI layers", docker_with_oci_layers),
        scenario(GROUP, "of a type that nobody knows", unknown_type),
        scenario(GROUP, "without mediaType", without_media_type),
        scenario(GROUP, "Content-Type with parameters", content_type_parameters),
        scenario(GROUP, "served whatever Accept says", accept_is_ignored),
        scenario(GROUP, "index of blobs", index_of_blobs),
        scenario(GROUP, "white space is kept", white_space),
        scenario(GROUP, "of exactly 4 MiB", four_mebibytes),
        scenario(GROUP, "pushed twice", pushed_twice),
        scenario(GROUP, "range of a manifest", range_of_manifest),
    ]
}

/// A manifest of this type over a config and a layer that are pushed first.
async fn push_with(context: &Context, repo: &str, kinds: [&'static str; 3]) -> Result<Manifest> {
    let [media_type, config_type, layer_type] = kinds;
    let config = Blob::new(Algorithm::Sha256, json!({"unique": context.random.word()}).to_string());
    let layer = Blob::random(&context.random, 700);
    for blob in [&config, &layer] {
        push::push(&context.wire, repo, blob, Way::PostPut).await?;
    }
    let body = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": config.digest, "size": config.len()},
        "layers": [{"mediaType": layer_type, "digest": layer.digest, "size": layer.len()}],
    });
    let manifest = manifest(media_type, body.to_string());
    push_manifest(&context.wire, repo, &manifest.digest, &manifest, &[]).await?;
    Ok(manifest)
}

fn manifest(media_type: &'static str, text: impl Into<Bytes>) -> Manifest {
    let bytes = text.into();
    Manifest { digest: Algorithm::Sha256.digest(&bytes), bytes, media_type, subject: None }
}

async fn docker(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let child = push_with(context, &repo, [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER]).await?;
    let entry = json!({
        "mediaType": DOCKER_MANIFEST, "digest": child.digest, "size": child.bytes.len(),
        "platform": {"os": "linux", "architecture": "amd64"},
    });
    let list = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry]});
    let list = manifest(DOCKER_LIST, list.to_string());
    push_manifest(&context.wire, &repo, "list", &list, &[]).await?;
    read_manifest(&context.wire, &repo, "list", &list).await?;
    read_manifest(&context.wire, &repo, &child.digest, &child).await?;
    context.wire.delete(&manifest_path(&repo, &child.digest)).expect_error(405, "DENIED").await?;
    Ok(())
}

async fn docker_with_oci_layers(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let mixed = push_with(context, &repo, [DOCKER_MANIFEST, DOCKER_CONFIG, LAYER_GZIP]).await?;
    read_manifest(&context.wire, &repo, &mixed.digest, &mixed).await
}

async fn unknown_type(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let odd = push_with(context, &repo, ["application/vnd.example.manifest.v1+json", EXAMPLE, EXAMPLE]).await?;
    read_manifest(&context.wire, &repo, &odd.digest, &odd).await
}

async fn without_media_type(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let config = Blob::new(Algorithm::Sha256, "{}");
    push::push(&context.wire, &repo, &config, Way::PostOnly).await?;
    let entry = json!({"mediaType": CONFIG, "digest": config.digest, "size": 2});
    let body = json!({"schemaVersion": 2, "config": entry, "layers": []});
    let plain = manifest(MANIFEST, body.to_string());
    push_manifest(&context.wire, &repo, "plain", &plain, &[]).await?;
    read_manifest(&context.wire, &repo, "plain", &plain).await
}

async fn content_type_parameters(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let image = push_image(context, &repo, "one").await?;
    let path = manifest_path(&repo, "two");
    let kind = format!("{MANIFEST}; charset=utf-8");
    context.wire.put(&path).header("content-type", kind).body(image.bytes.clone()).expect(201).await?;
    read_manifest(&context.wire, &repo, "two", &image).await
}

async fn accept_is_ignored(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let image = push_image(context, &repo, "one").await?;
    for accept in [DOCKER_MANIFEST, "application/json", "text/html"] {
        let answer = context.wire.get(&manifest_path(&repo, "one")).header("accept", accept).expect(200).await?;
        answer.expect_header("content-type", MANIFEST)?.expect_body(&image.bytes)?;
    }
    Ok(())
}

/// A build cache is an index whose children are layers.
async fn index_of_blobs(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let blobs = [(); 2].map(|()| Blob::random(&context.random, 600));
    let mut entries: Vec<Value> = Vec::new();
    for blob in &blobs {
        push::push(&context.wire, &repo, blob, Way::PostOnly).await?;
        entries.push(json!({"mediaType": LAYER_GZIP, "digest": blob.digest, "size": blob.len()}));
    }
    let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let cache = manifest(INDEX, body.to_string());
    push_manifest(&context.wire, &repo, "cache", &cache, &[]).await?;
    read_manifest(&context.wire, &repo, "cache", &cache).await?;
    let path = push::blob_path(&repo, &blobs[0].digest);
    context.wire.delete(&path).expect_error(405, "DENIED").await?;
    Ok(())
}

async fn white_space(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let image = push_image(context, &repo, "one").await?;
    let spaced = [b"\n \t", image.bytes.as_ref(), b"\r\n"].concat();
    let spaced = manifest(MANIFEST, spaced);
    push_manifest(&context.wire, &repo, "spaced", &spaced, &[]).await?;
    read_manifest(&context.wire, &repo, "spaced", &spaced).await
}

/// The specification asks for at least 4 MB.
async fn four_mebibytes(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let image = push_image(context, &repo, "one").await?;
    let mut bytes = image.bytes.to_vec();
    bytes.resize(4 << 20, b' ');
    let large = manifest(MANIFEST, bytes);
    push_manifest(&context.wire, &repo, "large", &large, &[]).await?;
    let too_large = [large.bytes.as_ref(), b" "].concat();
    let call = context.wire.put(&manifest_path(&repo, "larger")).header("content-type", MANIFEST);
    call.body(too_large).expect_error(413, "MANIFEST_INVALID").await?;
    Ok(())
}

async fn pushed_twice(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let mut set = Set::default();
    set.index_of_images(&context.random, &Image::default());
    for _ in 0..2 {
        push_set(context, &repo, &set).await?;
    }
    Ok(())
}

/// One client asks for manifests with an open range, and reads either answer.
async fn range_of_manifest(context: &Context) -> Result<()> {
    let repo = context.repo("manifests");
    let image = push_image(context, &repo, "one").await?;
    let call = context.wire.get(&manifest_path(&repo, "one")).header("range", "bytes=0-");
    let answer = call.send().await?.expect_any(&[200, 206])?;
    answer.expect_body(&image.bytes)?;
    Ok(())
}
