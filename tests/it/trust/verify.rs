//! `bonded verify` as a CI job meets it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::samples::{self, alice, bundle, by_key, data, enforce_under, image_of, keyless, push_image, referrer};
use super::signer::{Signed, Signer, bundle_of, sig_tag};
use super::{enforce, image, path, policy_of, set};
use crate::access::Town;
use crate::app::{TestApp, expect};
use crate::cli::{bonded, run, stdout, text};
use crate::fixtures::sha256;

/// Exit code and what was printed.
pub(super) async fn verify(app: &TestApp, what: &str, arguments: &[&str]) -> (i32, String) {
    let reference = format!("{}/{what}", app.address);
    let output = run(&[&["verify", reference.as_str()], arguments].concat()).await;
    let printed = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit code"), printed)
}

pub(super) fn file(folder: &tempfile::TempDir, name: &str, bytes: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    text(&path).to_owned()
}

/// A digest that nobody has pushed.
fn absent() -> String {
    format!("prod/app@{}", sha256(b"nothing"))
}

#[tokio::test]
async fn signatures_are_judged_here_by_a_key_or_a_policy() {
    let app = TestApp::start().await;
    let (signer, other) = (Signer::new(), Signer::new());
    let folder = tempfile::tempdir().expect("a folder");
    let (key, wrong) = (file(&folder, "a.pub", &signer.pem()), file(&folder, "b.pub", &other.pem()));
    let document = json!({"apiVersion": "trust/v1", "policies": [policy_of(&signer)]}).to_string();
    let policy = file(&folder, "policy.json", &document);
    let manifest = image(&app, "prod/app", "v1", 1).await;
    let by_digest = format!("prod/app@{}", sha256(&manifest));

    for what in ["prod/app:v1", &by_digest] {
        assert_eq!(verify(&app, what, &["--key", &key]).await.0, 10);
    }
    for absent in ["prod/app:v9", &absent()] {
        let (code, printed) = verify(&app, absent, &["--key", &key]).await;
        assert_eq!(code, 11, "{printed}");
    }
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    for with in [["--key", &key], ["--policy", &policy]] {
        let (code, printed) = verify(&app, "prod/app:v1", &with).await;
        assert!(code == 0 && printed.contains("verified") && printed.contains("signed by key:sha256:"), "{printed}");
    }
    let (code, printed) = verify(&app, &by_digest, &["--key", &wrong, "-o", "json"]).await;
    let told: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((code, &told["verdict"]), (12, &json!("fail")), "{printed}");
    other.simple(&manifest).push(&app, "prod/app", Some(&sig_tag(&manifest)), None).await;
    assert_eq!(verify(&app, "prod/app:v1", &["--key", &wrong]).await.0, 0, "a tag of cosign 2");

    let elsewhere = verify(&app, "other/app:v1", &["--policy", &policy]).await;
    assert_eq!(elsewhere.0, 2, "{}", elsewhere.1);
    let root = file(&folder, "root.json", &samples::root().to_string());
    for wrong in [
        &["--key", &policy][..],
        &["--key", "/nowhere"],
        &["--trusted-root", &root],
        &["--key", &key, "--trusted-root", "/nowhere"],
        &["--key", &key, "--identity", "a", "--issuer", "b", "--trusted-root", &root],
        &["--identity", "a", "--issuer", "b"],
        &["--server", "--policy", &policy],
    ] {
        let (code, printed) = verify(&app, "prod/app:v1", wrong).await;
        assert_eq!(code, 2, "{printed}");
    }
    assert_eq!(run(&["verify", "no-reference", "--key", &key]).await.status.code(), Some(2));
}

#[tokio::test]
async fn the_registry_is_asked_for_its_verdict() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 2).await;
    let (code, printed) = verify(&app, "prod/app:v1", &[]).await;
    assert!(code == 1 && printed.contains("no policy"), "{printed}");
    enforce(&app, &[policy_of(&signer)]);
    assert_eq!(verify(&app, "prod/app:v1", &["--server"]).await.0, 10);
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    assert_eq!(verify(&app, "prod/app:v1", &["--server"]).await.0, 0);
    for absent in ["prod/app:v9", &absent()] {
        assert_eq!(verify(&app, absent, &["--server"]).await.0, 11, "{absent}");
    }
    let digests = json!({"digests": [sha256(&manifest)]});
    enforce(&app, &[set(policy_of(&signer), "revoke", digests)]);
    assert_eq!(verify(&app, "prod/app:v1", &[]).await.0, 15);
    let warn = set(set(policy_of(&Signer::new()), "mode", json!("warn")), "name", json!("other"));
    enforce(&app, &[policy_of(&signer), warn]);
    assert_eq!(verify(&app, "prod/app:v1", &[]).await.0, 0);
    assert_eq!(verify(&app, "prod/app:v1", &["--strict"]).await.0, 12);
}

/// A document under the root of the samples.
fn document(policy: &Value) -> String {
    let roots = json!({"lab": {"json": samples::root().to_string()}});
    json!({"apiVersion": "trust/v1", "trustRoots": roots, "policies": [policy]}).to_string()
}

/// Exit codes by a policy: of what is judged here, and of what the registry says.
async fn codes(app: &TestApp, what: &str, policy: &Value, options: &[&str]) -> [i32; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let document = file(&folder, "policy.json", &document(policy));
    let (here, printed) = verify(app, what, &[&["--policy", &document], options].concat()).await;
    enforce_under(app, &samples::root(), policy);
    let (there, answered) = verify(app, what, &[&["--server"], options].concat()).await;
    println!("{printed}\n{answered}");
    [here, there]
}

/// An image of the samples with its signature.
async fn push_signed(app: &TestApp, name: &str) {
    push_image(app, name).await;
    referrer(name, &bundle(name)).push(app, "prod/app", None, None).await;
}

#[tokio::test]
async fn every_code_says_what_is_wrong() {
    let app = samples::registry().await;
    let unsigned = image(&app, "prod/app", "unsigned", 3).await;
    for name in ["keyless-new", "key-new-notlog"] {
        push_signed(&app, name).await;
    }
    let codes = async |tag: &str, policy: Value| codes(&app, &format!("prod/app:{tag}"), &policy, &[]).await;
    let bob = || keyless("https://issuer.lab.example", ("subject", "bob@lab.example"));
    assert_eq!(codes("keyless-new", alice()).await, [0; 2]);
    assert_eq!(codes("key-new-notlog", by_key()).await, [0; 2]);
    assert_eq!(codes("unsigned", alice()).await, [10; 2]);
    assert_eq!(codes("absent", alice()).await, [11; 2]);
    assert_eq!(codes("keyless-new", bob()).await, [12; 2], "identity_mismatch");
    let mut logged = by_key();
    logged["authorities"][0]["tlog"] = json!("require");
    assert_eq!(codes("key-new-notlog", logged).await, [12; 2], "tlog_missing");
    let slsa = json!([{"predicateType": "https://slsa.dev/provenance/v1", "of": ["ci"]}]);
    assert_eq!(codes("keyless-new", set(alice(), "attestations", slsa)).await, [14; 2]);
    let digests = json!({"digests": [sha256(&unsigned)]});
    assert_eq!(codes("unsigned", set(alice(), "revoke", digests)).await, [15; 2]);
}

#[tokio::test]
async fn no_certificate_is_another_code_than_the_wrong_one() {
    let app = samples::registry().await;
    for name in ["keyless-new", "key-new-notlog"] {
        push_signed(&app, name).await;
    }
    let codes = async |tag: &str, policy: &Value| codes(&app, &format!("prod/app:{tag}"), policy, &[]).await;
    assert_eq!(codes("key-new-notlog", &alice()).await, [13; 2]);
    let mut either = alice();
    let stranger = json!({"name": "release", "key": {"pem": Signer::new().pem()}});
    either["authorities"].as_array_mut().expect("a list").push(stranger);
    either["signature"]["of"] = json!(["ci", "release"]);
    assert_eq!(codes("key-new-notlog", &either).await, [12; 2], "a key would do");
    let bob = keyless("https://issuer.lab.example", ("subject", "bob@lab.example"));
    let signer = Signer::new();
    signer.bundle(&image_of("keyless-new")).push(&app, "prod/app", None, None).await;
    assert_eq!(codes("keyless-new", &bob).await, [12; 2], "there is one, of somebody else");
    bundle_of(&image_of("key-new-notlog"), b"junk".to_vec()).push(&app, "prod/app", None, None).await;
    assert_eq!(codes("key-new-notlog", &alice()).await, [13; 2], "junk has none either");
}

#[tokio::test]
async fn strict_takes_a_policy_that_warns_for_one_that_enforces() {
    let app = samples::registry().await;
    image(&app, "prod/app", "unsigned", 4).await;
    for name in ["keyless-new", "key-new-notlog"] {
        push_signed(&app, name).await;
    }
    let warn = set(alice(), "mode", json!("warn"));
    let slsa = json!([{"predicateType": "https://slsa.dev/provenance/v1", "of": ["ci"]}]);
    let attested = set(warn.clone(), "attestations", slsa);
    for (tag, policy, code) in [
        ("keyless-new", &warn, 0),
        ("unsigned", &warn, 10),
        ("key-new-notlog", &warn, 13),
        ("keyless-new", &attested, 14),
    ] {
        let what = format!("prod/app:{tag}");
        assert_eq!(codes(&app, &what, policy, &[]).await, [0; 2], "{tag}");
        assert_eq!(codes(&app, &what, policy, &["--strict"]).await, [code; 2], "{tag}");
    }
}

#[tokio::test]
async fn a_trusted_root_has_a_key_logged_and_stands_for_those_of_a_policy() {
    let app = samples::registry().await;
    for name in ["keyless-new", "key-new-notlog", "key-new-tlog-tsa"] {
        push_signed(&app, name).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = file(&folder, "given.json", &samples::root().to_string());
    let key = file(&folder, "key.pub", &String::from_utf8(data("keys/key-p256.pub")).expect("PEM"));
    for (tag, code) in [("key-new-tlog-tsa", 0), ("key-new-notlog", 12)] {
        let (said, printed) = verify(&app, &format!("prod/app:{tag}"), &["--key", &key, "--trusted-root", &root]).await;
        assert!(said == code && (code == 0 || printed.contains("tlog_missing")), "{tag}: {printed}");
    }

    // Somebody else's authorities, under the name that the document has for them.
    let mut strange = samples::root();
    strange["certificateAuthorities"] = json!([]);
    let strange = file(&folder, "root.json", &strange.to_string());
    let roots = json!({"lab": {"file": "root.json"}});
    let named = json!({"apiVersion": "trust/v1", "trustRoots": roots, "policies": [alice()]}).to_string();
    let named = file(&folder, "policy.json", &named);
    for (options, code) in [(&["--trusted-root", &root][..], 0), (&[], 12), (&["--trusted-root", &strange], 12)] {
        let (said, printed) = verify(&app, "prod/app:keyless-new", &[&["--policy", &named], options].concat()).await;
        assert_eq!(said, code, "{options:?}: {printed}");
    }
}

#[tokio::test]
async fn a_policy_and_a_signer_have_to_hold_both() {
    let app = samples::registry().await;
    push_signed(&app, "keyless-new").await;
    let (signer, folder) = (Signer::new(), tempfile::tempdir().expect("a folder"));
    let root = file(&folder, "root.json", &samples::root().to_string());
    let (key, by_alice) = (file(&folder, "a.pub", &signer.pem()), file(&folder, "alice.json", &document(&alice())));
    let by_signer = file(&folder, "signer.json", &document(&policy_of(&signer)));
    let code = async |options: &[&str]| verify(&app, "prod/app:keyless-new", options).await.0;
    let identity = |name| ["--identity", name, "--issuer", "https://issuer.lab.example", "--trusted-root", &root];
    assert_eq!(code(&["--policy", &by_alice]).await, 0);
    assert_eq!(code(&["--policy", &by_alice, "--key", &key]).await, 12, "the key has not signed");
    assert_eq!(code(&[&["--policy", &by_signer][..], &identity("alice@lab.example")].concat()).await, 12);
    signer.bundle(&image_of("keyless-new")).push(&app, "prod/app", None, None).await;
    assert_eq!(code(&["--policy", &by_alice, "--key", &key]).await, 0);
    assert_eq!(code(&[&["--policy", &by_signer][..], &identity("alice@lab.example")].concat()).await, 0);
    assert_eq!(code(&[&["--policy", &by_signer][..], &identity("bob@lab.example")].concat()).await, 12);
}

#[tokio::test]
async fn junk_beside_a_signature_is_a_miss() {
    let app = TestApp::start().await;
    let (signer, folder) = (Signer::new(), tempfile::tempdir().expect("a folder"));
    let key = file(&folder, "a.pub", &signer.pem());
    let (signed, junk, sbom) = (
        image(&app, "prod/app", "signed", 5).await,
        image(&app, "prod/app", "junk", 6).await,
        image(&app, "prod/app", "sbom", 7).await,
    );
    for subject in [&signed, &junk] {
        let bundle = bundle_of(subject, b"junk".to_vec());
        bundle.push(&app, "prod/app", None, None).await;
        let mut twice: Value = serde_json::from_slice(&bundle.manifest).expect("JSON");
        let layer = twice["layers"][0].clone();
        twice["layers"].as_array_mut().expect("layers").push(layer);
        let twice = Signed { manifest: twice.to_string().into_bytes(), blobs: Vec::new() };
        twice.push(&app, "prod/app", Some(&sig_tag(subject)), None).await;
    }
    let other = bundle_of(&sbom, b"junk".to_vec());
    let other = String::from_utf8(other.manifest)
        .expect("text")
        .replace("vnd.dev.sigstore.bundle.v0.3+json", "vnd.dev.cosign.artifact.sbom.v1+json");
    let other = Signed { manifest: other.into_bytes(), blobs: vec![b"{}".to_vec(), b"junk".to_vec()] };
    other.push(&app, "prod/app", None, None).await;
    signer.bundle(&signed).push(&app, "prod/app", None, None).await;
    for closed in [false, true] {
        if closed {
            enforce(&app, &[policy_of(&signer)]);
        }
        let (code, printed) = verify(&app, "prod/app:signed", &["--key", &key]).await;
        assert_eq!(code, 0, "{printed}");
        let (code, printed) = verify(&app, "prod/app:junk", &["--key", &key]).await;
        let why = if closed { "the registry does not give it" } else { "has not the form" };
        assert!(code == 12 && printed.contains("malformed") && printed.contains(why), "{printed}");
        let (code, printed) = verify(&app, "prod/app:sbom", &["--key", &key]).await;
        assert_eq!(code, 10, "{printed}");
    }
}

#[tokio::test]
async fn credentials_come_from_the_environment_or_dockers_configuration() {
    let town = Town::build().await;
    let signer = Signer::new();
    let writer = town.token("writer", &["**:pull,push"]).await;
    let reader = town.token("reader", &["**:pull"]).await;
    let policy = set(policy_of(&signer), "match", json!({"repositories": ["closed/**"]}));
    enforce(&town.app, &[policy]);
    let manifest = crate::fixtures::ImageBuilder::new().layer(b"layer").manifest();
    signer.bundle(&manifest).push(&town.app, "closed/app", None, Some(&writer)).await;
    let reference = format!("{}/closed/app:v1", town.app.address);
    let code = async |arguments: &[&str], name: &str, value: &str| {
        let mut command = bonded(&[&["verify", reference.as_str()], arguments].concat());
        command.env("DOCKER_CONFIG", "/nowhere").env(name, value);
        command.output().await.expect("it ends").status.code()
    };
    assert_eq!(code(&[], "LANG", "C").await, Some(1), "nobody in particular");
    assert_eq!(code(&["--username", "reader"], "BONDED_TOKEN", &reader).await, Some(0));
    assert_eq!(code(&[], "BONDED_TOKEN", &reader).await, Some(1), "it is not told to whoever asks");
    let folder = tempfile::tempdir().expect("a folder");
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("reader:{reader}"));
    let mut auths = serde_json::Map::new();
    auths.insert(town.app.address.to_string(), json!({"auth": auth}));
    file(&folder, "config.json", &json!({"auths": auths}).to_string());
    assert_eq!(code(&[], "DOCKER_CONFIG", text(folder.path())).await, Some(0));
    expect(town.app.get(&path("closed/app", "v1")), StatusCode::UNAUTHORIZED).await;
}
