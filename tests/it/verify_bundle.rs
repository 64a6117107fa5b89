//! `bonded verify-bundle` as whoever downloads a signed file meets it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{run, stdout, text};
use crate::sources;

const ALICE: [&str; 4] =
    ["--certificate-identity", "alice@lab.example", "--certificate-oidc-issuer", "https://issuer.lab.example"];

fn sample(path: &str) -> String {
    let path: PathBuf = sources::root().join("tests/data/signing").join(path);
    text(&path).to_owned()
}

/// Verifies a sample with a key, or with the laboratory's root.
async fn verify(bundle: &str, who: &[&str], subject: &str) -> Output {
    let bundle = sample(&format!("{bundle}/bundle-0.sigstore.json"));
    run(&[&["verify-bundle", "--bundle", &bundle], who, &[subject]].concat()).await
}

fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
    text
}

#[tokio::test]
async fn a_file_is_signed_by_whom_it_should_be() {
    let (root, file) = (sample("trusted_root.lab.json"), sample("keyless-new/subject.manifest.json"));
    let digest = fs::read_to_string(sample("keyless-new/subject.digest")).expect("a digest");
    let who = [&ALICE[..], &["--trusted-root", &root]].concat();
    let upper = digest.trim().to_uppercase().replace("SHA256", "sha256");
    for subject in [file.as_str(), digest.trim(), &upper] {
        for staging in [&[][..], &["--staging"]] {
            let output = verify("keyless-new", &[&who, staging].concat(), subject).await;
            let said = stdout(&output);
            let expected =
                "ok: a statement of the type https://sigstore.dev/cosign/sign/v1 by alice@lab.example, for whom";
            assert!(output.status.success() && said.starts_with(expected) && said.ends_with(", in a log\n"), "{said}");
        }
    }
    let output = verify("keyless-new", &[&who[..], &["-o", "json"]].concat(), &file).await;
    let shown: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&shown["signer"]["subject"], &shown["timestamp"]), (&json!("alice@lab.example"), &json!(true)));

    let other = sample("INDEX.tsv");
    assert!(failure(&verify("keyless-new", &who, &other).await).contains("subject_mismatch"));
    for (at, stranger) in [(1, "alice@lab.example.org"), (1, "alice"), (3, "https://issuer.lab.example/")] {
        let mut who = who.clone();
        who[at] = stranger;
        assert!(failure(&verify("keyless-new", &who, &file).await).contains("signed by `alice@lab.example`"));
    }
    assert!(failure(&verify("key-new-tlog-tsa", &who, &file).await).contains("no_trusted_signer"));
}

#[tokio::test]
async fn a_key_can_stand_in_place_of_an_identity() {
    let (key, other) = (sample("keys/key-p256.pub"), sample("keys/key-p256-second.pub"));
    let (root, file) = (sample("trusted_root.lab.json"), sample("key-new-notlog/subject.manifest.json"));
    let output = verify("key-new-notlog", &["--key", &key], &file).await;
    let said = stdout(&output);
    assert!(output.status.success() && said.ends_with("no log was looked at\n"), "{said}");
    assert!(failure(&verify("key-new-notlog", &["--key", &other], &file).await).contains("no_trusted_signer"));
    let logged = ["--key", &key, "--trusted-root", &root];
    assert!(failure(&verify("key-new-notlog", &logged, &file).await).contains("tlog_missing"));
    let file = sample("key-new-tlog-tsa/subject.manifest.json");
    assert!(stdout(&verify("key-new-tlog-tsa", &logged, &file).await).ends_with(", in a log\n"));
}

#[tokio::test]
async fn nobody_is_believed_unasked() {
    let (key, root) = (sample("keys/key-p256.pub"), sample("trusted_root.lab.json"));
    let file = sample("keyless-new/subject.manifest.json");
    let root = ["--trusted-root", &root];
    for who in [
        &[&ALICE[..], &["--staging"]].concat()[..],
        &ALICE[..2],
        &[],
        &root,
        &["--key", &key, "--staging"],
        &[&ALICE[..2], &root].concat(),
        &[&ALICE[2..], &root].concat(),
        &[&ALICE[..], &root, &["--key", &key]].concat(),
    ] {
        let output = verify("keyless-new", who, &file).await;
        assert_eq!(output.status.code(), Some(2), "{who:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[tokio::test]
async fn without_a_root_identities_are_believed_by_that_of_the_public_good_instance() {
    let data = |name: &str| text(&sources::root().join("tests/data/public-good").join(name)).to_owned();
    let (bundle, package) = (data("bundle.sigstore.json"), data("package.conda"));
    let workflow = "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    let verify_by = async |identity: &str| {
        let issuer = "https://token.actions.githubusercontent.com";
        let who = ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer];
        run(&[&["verify-bundle", "--bundle", &bundle], &who[..], &[&package]].concat()).await
    };
    let output = verify_by(workflow).await;
    let said = stdout(&output);
    assert!(output.status.success() && said.contains(workflow) && said.ends_with(", in a log\n"), "{output:?}");
    assert!(failure(&verify_by("https://github.com/prefix-dev/sigstore-example").await).contains("was signed by"));
    let file = sample("keyless-new/subject.manifest.json");
    assert!(
        failure(&verify("keyless-new", &ALICE, &file).await).contains("does not prove who signed"),
        "of the laboratory"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let (key, file) = (sample("keys/key-p256.pub"), sample("key-new-notlog/subject.manifest.json"));
    for (who, subject, expected) in [
        (["--key", "/nowhere/key.pub"], file.as_str(), "/nowhere/key.pub cannot be read"),
        (["--key", &file], &file, "cannot be used: a public key is one PEM block"),
        (["--key", &key], "/nowhere/file", "/nowhere/file cannot be read"),
        (["--key", &key], "sha256:00", "sha256:00 cannot be read"),
        (["--key", &key], text(&sources::root().join("tests")), "tests cannot be read"),
    ] {
        assert!(failure(&verify("key-new-notlog", &who, subject).await).contains(expected), "{expected}");
    }
    assert!(
        failure(&verify("nowhere", &["--key", &key], &file).await).contains("bundle-0.sigstore.json cannot be read")
    );
    let arguments = ["verify-bundle", "--key", &key, "--bundle", &key, &file];
    assert!(failure(&run(&arguments).await).contains("malformed (the bundle is not strict JSON"));
}

/// A file of 17 MiB, more than is held, with its signature and the key.
fn signed(folder: &TempDir, algorithm: &'static SignatureAlgorithm) -> [PathBuf; 3] {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let [file, bundle, public] = ["file", "bundle", "key"].map(|name| folder.path().join(name));
    let bytes = vec![7; 17 << 20];
    let signature = STANDARD.encode(key.sign(&bytes).expect("a signature"));
    let material = json!({ "publicKey": { "hint": "" } });
    let bundle_text = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
        "messageSignature": { "signature": signature },
    });
    fs::write(&file, bytes).expect("written");
    fs::write(&bundle, bundle_text.to_string()).expect("written");
    fs::write(&public, key.public_key_pem()).expect("written");
    [file, bundle, public]
}

#[tokio::test]
async fn a_long_file_is_hashed_as_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, bundle, key] = signed(&folder, &PKCS_ECDSA_P384_SHA384);
    let arguments = ["verify-bundle", "--bundle", text(&bundle), "--key", text(&key), text(&file)];
    assert!(stdout(&run(&arguments).await).starts_with("ok: signed by the key sha256:"));
    File::options().write(true).open(&file).and_then(|file| file.set_len((17 << 20) - 1)).expect("cut off");
    assert!(failure(&run(&arguments).await).contains("bad_signature"));

    let [file, bundle, key] = signed(&folder, &PKCS_ED25519);
    let arguments = ["verify-bundle", "--bundle", text(&bundle), "--key", text(&key), text(&file)];
    assert!(failure(&run(&arguments).await).contains("unsupported_algorithm (Ed25519 keys sign the whole"));
}
