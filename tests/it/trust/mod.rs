//! Signature policies, on the wire.

mod attacks;
mod attested;
mod blobs;
mod documents;
mod dryrun;
mod forms;
mod indexes;
mod lists;
mod pulls;
mod readers;
mod registries;
mod revoked;
mod samples;
mod signer;
mod sweep;
mod tags;
mod twice;
mod verdicts;
mod verify;
mod warnings;

use bonded::verify::policy::Policies;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::{TestApp, expect};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};
use signer::Signer;

/// A policy for `prod/**` that takes signatures of one signer, and excepts nobody.
fn policy_of(signer: &Signer) -> Value {
    json!({
        "name": "prod", "match": {"repositories": ["prod/**"]}, "mode": "enforce", "on": ["push", "pull"],
        "authorities": [{"name": "release", "key": {"pem": signer.pem()}, "tlog": "ignore", "timestamp": "ignore"}],
        "signature": {"threshold": 1, "of": ["release"]}, "unverifiedReaders": "nobody",
    })
}

fn set(mut policy: Value, member: &str, value: Value) -> Value {
    policy[member] = value;
    policy
}

/// Has a registry enforce policies.
fn enforce(app: &TestApp, policies: &[Value]) {
    let document = json!({"apiVersion": "trust/v1", "policies": policies}).to_string();
    let none = |name: &str| Err(format!("there is no file {name}"));
    let loaded = Policies::load(document.as_bytes(), &none).unwrap_or_else(|faults| panic!("{faults:?}"));
    app.registry.gate().policies().replace(loaded, app.registry.now());
}

fn with(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    crate::access::with(request, token)
}

/// Stores an image, before there is a policy that could mind; gives the bytes of its manifest.
async fn image(app: &TestApp, repo: &str, tag: &str, seed: u8) -> Vec<u8> {
    let image = ImageBuilder::new().layer(&[seed; 5000]);
    app.push_image(repo, tag, &image).await;
    image.manifest()
}

/// An index that lists manifests of one type.
fn index_of(media_type: &str, children: &[&[u8]]) -> Vec<u8> {
    let children: Vec<_> = children.iter().map(|child| descriptor(media_type, child)).collect();
    json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": children}).to_string().into_bytes()
}

/// Stores five indexes, each of which lists the one before, and the first an image; gives the bytes of all, from below.
async fn chain_of_indexes(app: &TestApp, image: Vec<u8>) -> Vec<Vec<u8>> {
    let mut chain = vec![image];
    for level in 1..=5 {
        let media_type = if level == 1 { IMAGE_MANIFEST } else { IMAGE_INDEX };
        let index = index_of(media_type, &[&chain[level - 1]]);
        app.push_manifest("prod/app", &format!("level-{level}"), IMAGE_INDEX, &index).await;
        chain.push(index);
    }
    chain
}

fn path(repo: &str, reference: &str) -> String {
    format!("/v2/{repo}/manifests/{reference}")
}

async fn ok(request: RequestBuilder) -> Response {
    expect(request, StatusCode::OK).await
}

/// A refusal of a policy; gives what its `detail` says.
#[track_caller]
fn refused(request: RequestBuilder) -> impl Future<Output = Value> {
    let answer = expect(request, StatusCode::FORBIDDEN);
    async {
        let body: Value = serde_json::from_slice(&answer.await.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(body["errors"][0]["code"], "DENIED", "{body}");
        body["errors"][0]["detail"].clone()
    }
}

fn shown(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

fn digest_path(repo: &str, manifest: &[u8]) -> String {
    path(repo, &sha256(manifest))
}
