//! `bonded verify` as a CI job meets it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signer, sig_tag};
use super::{enforce, image, path, policy_of, set};
use crate::access::Town;
use crate::app::{TestApp, expect};
use crate::cli::{bonded, run, stdout, text};
use crate::fixtures::sha256;

/// Exit code and what was printed.
async fn verify(app: &TestApp, what: &str, arguments: &[&str]) -> (i32, String) {
    let reference = format!("{}/{what}", app.address);
    let output = run(&[&["verify", reference.as_str()], arguments].concat()).await;
    let printed = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit code"), printed)
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &str) -> String {
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
    for wrong in [&["--key", &policy][..], &["--key", "/nowhere"], &["--key", &key, "--policy", &policy]] {
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
    assert_eq!(verify(&app, "prod/app:v1", &["--strict"]).await.0, 1);
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
