//! Judging here: the signatures are fetched from the registry, which is believed in nothing.

use std::path::Path;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::listing::signatures_of;
use super::remote::{Image, Remote, RemoteError};
use super::{Finding, VerifyArgs};
use crate::app::files::read_at_most;
use crate::cli::progress::Steps;
use crate::cli::{Failure, policy};
use crate::clock::SystemClock;
use crate::oci::digest::Digest;
use crate::oci::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST};
use crate::oci::reference::Reference;
use crate::verify::discovery::{Found, signature_tags};
use crate::verify::policy::{Budget, Gate, Judgement, Policies, combine, order};
use crate::verify::verdict::{Reason, ReasonCode};

/// Most bytes of a key or a trusted root.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Judges the signatures of an artifact by the policy that the options give.
pub(super) async fn verify(
    remote: &Remote,
    image: &Image,
    args: &VerifyArgs,
    steps: &Steps,
) -> Result<Finding, RemoteError> {
    let policies = policies(args).map_err(RemoteError::Usage)?;
    let applying = policies.applying(&image.repository, Gate::Pull, None);
    if applying.is_empty() {
        let message = format!("no policy of the document is about {}", image.repository);
        return Err(RemoteError::Usage(Failure::usage(message)));
    }
    let digest = resolve(remote, image).await?;
    let clock = SystemClock;
    let mut judgement = Judgement::new(applying.iter().copied(), &image.repository, &digest, &clock, Budget::default());
    let found = find(remote, image, &digest, steps).await?;
    steps.next(format!("checking the signatures of {digest}"));
    for found in order(&[], found) {
        if judgement.is_decided() {
            break;
        }
        if !judgement.admits(found.as_ref()) {
            continue;
        }
        let layer = found.layer();
        let path = format!("/v2/{}/blobs/{}", image.repository, layer.digest);
        match remote.get(&path, "*/*").await {
            Ok(answer) if Digest::of(layer.digest.algorithm(), &answer.body) == layer.digest => {
                judgement.offer(&found.with(Bytes::from(answer.body)));
            }
            Ok(_) | Err(RemoteError::Unknown(_)) => {
                let message = "its bytes are missing, or have another digest".to_owned();
                let artifact = Some(found.as_ref().artifact.clone());
                judgement.miss(&Reason { authority: None, artifact, code: ReasonCode::Malformed, message });
            }
            Err(error) => return Err(error),
        }
    }
    let combined = combine(applying.iter().map(|policy| policy.mode).zip(judgement.finish()));
    let verdict = combined.verdict;
    let place = format!("{}/{}@{digest}", image.host, image.repository);
    let help = policies.get(&verdict.policy).and_then(|policy| policy.help(&verdict, &place));
    let mut body = verdict.to_json(&digest, help.as_deref());
    body["refused"] = Value::from(combined.refuses);
    let warns = !combined.warnings.is_empty();
    let outcome = if !combined.refuses && warns { "pass" } else { verdict.outcome.as_str() };
    let reasons = verdict.reasons.iter().map(|reason| reason.code.as_str().to_owned()).collect();
    Ok(Finding { outcome: outcome.to_owned(), reasons, warns, body, digest })
}

/// The digest that a reference stands for; the bytes behind it are checked by whoever pulls them.
async fn resolve(remote: &Remote, image: &Image) -> Result<Digest, RemoteError> {
    let headers = head(remote, image).await?;
    if let Reference::Digest(digest) = &image.reference {
        return Ok(digest.clone());
    }
    let digest = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
    let digest = digest.and_then(|text| text.parse().ok());
    digest.ok_or_else(|| RemoteError::Failed("the registry does not tell the digest of the tag".to_owned()))
}

/// Asks for the manifest; one that is not there is an error, and one that a policy refuses is none.
pub(super) async fn head(remote: &Remote, image: &Image) -> Result<HeaderMap, RemoteError> {
    let accept = [OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST].join(", ");
    let path = format!("/v2/{}/manifests/{}", image.repository, image.reference);
    remote.head(&path, &accept).await
}

/// Signatures by tag and by reference.
async fn find(remote: &Remote, image: &Image, digest: &Digest, steps: &Steps) -> Result<Vec<Found>, RemoteError> {
    steps.next(format!("looking for signatures of {digest}"));
    let mut references: Vec<Reference> = signature_tags(digest).into_iter().map(Reference::Tag).collect();
    references.extend(signatures_of(remote, image, digest).await?.into_iter().map(Reference::Digest));
    let mut found = Vec::new();
    for (at, reference) in references.iter().enumerate() {
        steps.next(format!("reading what may be signatures: {} of {}", at + 1, references.len()));
        let path = format!("/v2/{}/manifests/{reference}", image.repository);
        let body = match remote.get(&path, OCI_IMAGE_MANIFEST).await {
            Ok(answer) => answer.body,
            Err(RemoteError::Unknown(_)) => continue,
            Err(error) => return Err(error),
        };
        let artifact = match reference {
            Reference::Digest(named) if Digest::of(named.algorithm(), &body) != *named => continue,
            Reference::Digest(named) => named.clone(),
            Reference::Tag(_) => Digest::of(digest.algorithm(), &body),
        };
        found.extend(Found::in_manifest(digest, &artifact, &body));
    }
    Ok(found)
}

/// The document of a file, or one made of the other options.
fn policies(args: &VerifyArgs) -> Result<Policies, Failure> {
    let loaded = if let Some(path) = &args.policy {
        policy::load(path)?
    } else {
        let document = document(args)?;
        // A document names files of its own folder alone; this one has no folder, and one file.
        let root = args.trusted_root.as_deref().unwrap_or(Path::new(""));
        let file = |_: &str| read_at_most(root, FILE_BYTES_MAX).map_err(|why| format!("{}: {why}", root.display()));
        Policies::load(document.to_string().as_bytes(), &file)
    };
    let loaded = loaded.map_err(|faults| {
        let first = faults.0.first().map(ToString::to_string).unwrap_or_default();
        Failure::usage(format!("the policy cannot be used: {first}"))
    })?;
    Ok(loaded.policies)
}

fn document(args: &VerifyArgs) -> Result<Value, Failure> {
    let (authority, roots) = match (&args.key, &args.trusted_root) {
        (Some(key), _) => {
            let pem = read_at_most(key, FILE_BYTES_MAX)
                .map_err(|error| Failure::usage(format!("{}: {error}", key.display())))?;
            let pem = String::from_utf8_lossy(&pem).into_owned();
            (json!({"name": "key", "key": {"pem": pem}, "tlog": "ignore", "timestamp": "ignore"}), json!({}))
        }
        (None, Some(_)) => {
            let identity = json!({"issuer": args.issuer, "subject": args.identity});
            let keyless = json!({"trustRoot": "given", "identities": [identity]});
            (json!({"name": "identity", "keyless": keyless}), json!({"given": {"file": "trusted_root.json"}}))
        }
        (None, None) => return Err(Failure::usage("--identity needs --trusted-root")),
    };
    let mut document = json!({
        "apiVersion": "trust/v1",
        "policies": [{
            "name": "command-line", "match": {"repositories": ["**"]}, "mode": "enforce", "on": ["pull"],
            "authorities": [authority], "signature": {"threshold": 1},
        }],
    });
    if roots.as_object().is_some_and(|roots| !roots.is_empty()) {
        document["trustRoots"] = roots;
    }
    Ok(document)
}
