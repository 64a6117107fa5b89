//! Signatures that cosign made, as a registry gets them; what is changed in one is the test's.

use std::fs;

use bonded::verify::policy::Policies;
use serde_json::{Value, json};

use super::signer::{Signed, bundle_of};
use crate::app::TestApp;
use crate::fixtures::{IMAGE_MANIFEST, sha256};
use crate::sources;

/// Some weeks after all of them were made, by the clock of the tests.
pub(super) const LATER: std::time::Duration = std::time::Duration::from_hours(30 * 24);

pub(super) fn data(path: &str) -> Vec<u8> {
    let path = sources::root().join("tests/data/signing").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The root that the samples were made under.
pub(super) fn root() -> Value {
    serde_json::from_slice(&data("trusted_root.lab.json")).expect("a trusted root")
}

/// The image of a sample.
pub(super) fn image_of(name: &str) -> Vec<u8> {
    data(&format!("{name}/subject.manifest.json"))
}

/// Its bundle.
pub(super) fn bundle(name: &str) -> Value {
    serde_json::from_slice(&data(&format!("{name}/bundle-0.sigstore.json"))).expect("a bundle")
}

/// A referrer of the image of a sample.
pub(super) fn referrer(name: &str, bundle: &Value) -> Signed {
    bundle_of(&image_of(name), bundle.to_string().into_bytes())
}

/// A registry that takes images without their blobs, at a time after the samples were made.
pub(super) async fn registry() -> TestApp {
    let app = TestApp::builder().sparse(&["prod/**"]).start().await;
    app.clock.advance(LATER);
    app
}

/// Stores the image of a sample under the sample's name; gives the path of its manifest.
pub(super) async fn push_image(app: &TestApp, name: &str) -> String {
    let manifest = image_of(name);
    app.push_manifest("prod/app", name, IMAGE_MANIFEST, &manifest).await;
    format!("/v2/prod/app/manifests/{}", sha256(&manifest))
}

/// A policy for those who have a certificate.
pub(super) fn keyless(issuer: &str, subject: (&str, &str)) -> Value {
    let mut identity = json!({"issuer": issuer});
    identity[subject.0] = Value::from(subject.1);
    json!({
        "name": "prod", "match": {"repositories": ["prod/**"]}, "mode": "enforce", "on": ["push", "pull"],
        "authorities": [{"name": "ci", "keyless": {"trustRoot": "lab", "identities": [identity]}}],
        "signature": {"threshold": 1, "of": ["ci"]}, "unverifiedReaders": "nobody",
    })
}

/// The one that takes what `keyless-new` is signed by.
pub(super) fn alice() -> Value {
    keyless("https://issuer.lab.example", ("subject", "alice@lab.example"))
}

/// The one that takes the key of most samples.
pub(super) fn by_key() -> Value {
    let pem = String::from_utf8(data("keys/key-p256.pub")).expect("PEM");
    let mut policy = alice();
    policy["authorities"] = json!([{"name": "ci", "key": {"pem": pem}, "trustRoot": "lab"}]);
    policy
}

/// Has a registry enforce a policy under a trusted root.
pub(super) fn enforce_under(app: &TestApp, root: &Value, policy: &Value) {
    let roots = json!({"lab": {"json": root.to_string()}});
    let document = json!({"apiVersion": "trust/v1", "trustRoots": roots, "policies": [policy]}).to_string();
    let none = |name: &str| Err(format!("there is no file {name}"));
    let loaded = Policies::load(document.as_bytes(), &none).unwrap_or_else(|faults| panic!("{faults:?}"));
    app.registry.gate().policies().replace(loaded, app.registry.now());
}
