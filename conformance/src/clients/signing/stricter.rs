//! What cosign verifies and the registry does not: each is signed by the right key, and none of it says that this image was
//! released.

use anyhow::{Context as _, Result};
use conformance::servers::{SigningKey, SigningLab};
use serde_json::{Value, json};

use super::cosign::{Cosign, ROOT, Release, SERVICES};
use super::matrix::{Case, Format, Signer, Witness};
use super::registry::{Image, Registry};
use crate::content::{Algorithm, Blob, base64};
use crate::runner::Context;
use crate::scenarios::data_sets::{CONFIG, MANIFEST, manifest_path};
use crate::scenarios::push::{WAYS, push};

pub(super) async fn run(context: &Context) -> Result<()> {
    let lab = SigningLab::start()?;
    let cosign = Cosign::prepare(context, Release::V3, &lab, None).await?;
    let own = SigningKey::generate()?;
    cosign.write(OWN_KEY, &own.public_key())?;
    let policy = |name: &str, key: &str| {
        json!({
            "name": name, "mode": "warn", "match": { "repositories": [format!("{name}/**")] },
            "authorities": [{ "name": "signer", "key": { "pem": key } }], "signature": { "threshold": 1 },
        })
    };
    let policies = [policy("attested", &cosign.key()?), policy("signed", &own.public_key())];
    let registry = Registry::start(context, &policies, &cosign.trusted_root()).await?;
    attestation(context, &cosign, &registry).await.context("an attestation for a signature")?;
    for (what, change, expected) in PAYLOADS {
        let image = registry.push(context, &format!("signed/{}", context.random.word())).await?;
        let payload = change(&payload(&image), &image.digest);
        sign(&registry, &own, &image, &payload).await?;
        let arguments =
            ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key", OWN_KEY, &image.reference];
        cosign.run(Format::Tag, &arguments).await.with_context(|| format!("{what}: cosign does not verify"))?;
        registry.expect_apart(&image, *expected).await.with_context(|| (*what).to_owned())?;
    }
    registry.stop().await
}

/// Something said about an image, by the right key.
async fn attestation(context: &Context, cosign: &Cosign<'_>, registry: &Registry<'_>) -> Result<()> {
    let case = Case { format: Format::Bundle, signer: Signer::Key, witness: Witness::Nobody };
    let image = registry.push(context, &format!("attested/{}", context.random.word())).await?;
    cosign.write("sbom.json", &json!({ "spdxVersion": "SPDX-2.3", "name": "app" }).to_string())?;
    let arguments = ["attest", "--yes", "--allow-http-registry", "--type", "spdxjson", "--predicate", "sbom.json"];
    let services = ["--signing-config", SERVICES, "--trusted-root", ROOT, "--key", "signer.key", &image.reference];
    cosign.write_services(case)?;
    cosign.run(Format::Bundle, &[&arguments[..], &services].concat()).await?;
    cosign.verify(case, &image.reference).await.context("cosign does not verify")?;
    registry.expect(&image, "unsigned", None).await?;
    cosign.sign(case, &image.reference).await?;
    registry.expect(&image, "pass", None).await
}

/// What is done to a payload (the payload and the digest of the image).
type Change = fn(&str, &str) -> String;

/// What is then said of it by the registry, and by `bonded verify` where it reads the signatures itself.
type Expected = [(&'static str, Option<&'static str>); 2];

const PASSES: Expected = [("pass", None); 2];
const MALFORMED: Expected = [("fail", Some("malformed")); 2];

const PAYLOADS: &[(&str, Change, Expected)] = &[
    ("a payload as it should be", |payload, _| payload.to_owned(), PASSES),
    (
        "a payload of another type",
        |payload, _| payload.replace("cosign container image signature", "anything"),
        MALFORMED,
    ),
    ("a member that stands twice", |payload, digest| twice(payload, digest, "docker-manifest-digest"), MALFORMED),
    (
        "a member that stands twice but for its case",
        |payload, digest| twice(payload, digest, "Docker-Manifest-Digest"),
        MALFORMED,
    ),
];

/// The digest of nothing first, and that of the image behind it, where cosign looks.
fn twice(payload: &str, digest: &str, name: &str) -> String {
    let member = format!(r#""docker-manifest-digest":"{digest}""#);
    let other = Algorithm::Sha256.digest(b"");
    payload.replace(&member, &format!(r#""docker-manifest-digest":"{other}","{name}":"{digest}""#))
}

/// What cosign signs for a `.sig` tag.
fn payload(image: &Image) -> String {
    let critical = json!({
        "identity": { "docker-reference": image.repo }, "image": { "docker-manifest-digest": image.digest },
        "type": "cosign container image signature",
    });
    json!({ "critical": critical, "optional": null }).to_string()
}

/// Puts a signature under its tag, as cosign does.
async fn sign(registry: &Registry<'_>, key: &SigningKey, image: &Image, payload: &str) -> Result<()> {
    let blob = Blob::new(Algorithm::Sha256, payload.as_bytes().to_vec());
    let config = Blob::new(Algorithm::Sha256, &b"{}"[..]);
    for blob in [&blob, &config] {
        push(&registry.wire, &image.repo, blob, WAYS[0]).await?;
    }
    let descriptor = |media_type: &str, blob: &Blob| -> Value {
        json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.len() })
    };
    let mut layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &blob);
    layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": base64(&key.sign(payload.as_bytes())?) });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": [layer],
    });
    let path = manifest_path(&image.repo, &format!("{}.sig", image.digest.replace(':', "-")));
    registry.wire.put(&path).header("content-type", MANIFEST).body(manifest.to_string()).expect(201).await.map(drop)
}

const OWN_KEY: &str = "own.pub";
