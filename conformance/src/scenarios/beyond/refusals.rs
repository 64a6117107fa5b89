//! Manifests that break a rule are refused when they are pushed, not when they are pulled.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::push_image;
use crate::scenarios::data_sets::{CONFIG, INDEX, LAYER_GZIP, MANIFEST, manifest_path};
use crate::scenarios::push::{self, Way};

const GROUP: &str = "refused manifests";

pub(crate) fn all() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = CASES
        .into_iter()
        .map(|(name, media_type, spoil)| {
            scenario(GROUP, name, async move |context: &Context| refused(context, media_type, spoil).await)
        })
        .collect();
    scenarios.extend([
        scenario(GROUP, "missing content is named", missing_content),
        scenario(GROUP, "content of another repository", foreign_content),
        scenario(GROUP, "too large without a length", too_large_streamed),
    ]);
    scenarios
}

/// Makes a bad manifest of a good one.
type Spoil = fn(Value) -> String;

/// Name, `Content-Type`, and what is done to an image manifest that would be accepted.
const CASES: [(&str, &str, Spoil); 12] = [
    ("mediaType unlike Content-Type", INDEX, |good| good.to_string()),
    ("no JSON", MANIFEST, |_| "not a manifest".to_owned()),
    ("no object", MANIFEST, |good| format!("[{good}]")),
    ("empty", MANIFEST, |_| String::new()),
    ("bytes behind the document", MANIFEST, |good| format!("{good}{{}}")),
    ("duplicate keys", MANIFEST, |good| good.to_string().replacen('{', r#"{"layers":[],"#, 1)),
    ("both layers and manifests", MANIFEST, |mut good| {
        good["manifests"] = json!([]);
        good.to_string()
    }),
    ("negative size", MANIFEST, |mut good| {
        good["config"]["size"] = json!(-1);
        good.to_string()
    }),
    ("malformed digest", MANIFEST, |mut good| {
        good["config"]["digest"] = json!("sha256:short");
        good.to_string()
    }),
    ("without a config", MANIFEST, |mut good| {
        good.as_object_mut().map(|good| good.remove("config"));
        good.to_string()
    }),
    ("nested too deep", MANIFEST, |good| {
        let deep = format!("{{\"deep\":{}{},", "[".repeat(10_000), "]".repeat(10_000));
        good.to_string().replacen('{', &deep, 1)
    }),
    ("Docker schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", |_| {
        json!({"schemaVersion": 1, "name": "a", "tag": "b", "architecture": "amd64", "fsLayers": [], "history": []})
            .to_string()
    }),
];

async fn refused(context: &Context, media_type: &str, spoil: Spoil) -> Result<()> {
    let repo = context.repo("refusals");
    let good = push_image(context, &repo, "good").await?;
    let path = manifest_path(&repo, "bad");
    let bad = spoil(serde_json::from_slice(&good.bytes)?);
    let call = context.wire.put(&path).header("content-type", media_type).body(bad);
    call.expect_error(400, "MANIFEST_INVALID").await?;
    context.wire.head(&path).expect(404).await?;
    Ok(())
}

/// One entry of `errors` for each digest, so that a client knows what to push.
async fn missing_content(context: &Context) -> Result<()> {
    let repo = context.repo("refusals");
    let known = Blob::new(Algorithm::Sha256, "{}");
    push::push(&context.wire, &repo, &known, Way::PostOnly).await?;
    let absent = [(); 2].map(|()| Blob::random(&context.random, 10));
    let layers = absent.clone().map(|it| json!({"mediaType": LAYER_GZIP, "digest": it.digest, "size": it.len()}));
    let config = json!({"mediaType": CONFIG, "digest": known.digest, "size": 2});
    let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let call = context.wire.put(&manifest_path(&repo, "bad")).header("content-type", MANIFEST);
    let answer = call.body(body.to_string()).expect_error(404, "MANIFEST_BLOB_UNKNOWN").await?;
    let errors = answer.json()?["errors"].as_array().cloned().unwrap_or_default();
    ensure!(errors.len() == 2, "{}: one entry for each missing blob", answer.describe());
    for blob in absent {
        let named = errors.iter().any(|entry| entry.to_string().contains(&blob.digest));
        ensure!(named, "{}: {} is not named", answer.describe(), blob.digest);
    }
    let children = json!([{"mediaType": MANIFEST, "digest": known.digest.replace('4', "5"), "size": 2}]);
    let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    let call = context.wire.put(&manifest_path(&repo, "bad")).header("content-type", INDEX);
    call.body(body.to_string()).expect_error(404, "MANIFEST_BLOB_UNKNOWN").await?;
    Ok(())
}

/// "Unknown" is said of a repository, not of the registry.
async fn foreign_content(context: &Context) -> Result<()> {
    let image = push_image(context, &context.repo("refusals"), "good").await?;
    let call = context.wire.put(&manifest_path(&context.repo("refusals"), "bad")).header("content-type", MANIFEST);
    call.body(image.bytes).expect_error(404, "MANIFEST_BLOB_UNKNOWN").await?;
    Ok(())
}

async fn too_large_streamed(context: &Context) -> Result<()> {
    let path = manifest_path(&context.repo("refusals"), "bad");
    let pieces: Vec<_> = (0..5).map(|_| Ok(vec![b' '; 1 << 20].into())).collect();
    let call = context.wire.put(&path).header("content-type", MANIFEST).stream(futures_util::stream::iter(pieces));
    call.expect_error(413, "MANIFEST_INVALID").await?;
    Ok(())
}
