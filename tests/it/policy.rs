//! `bonded policy` as an operator meets it, and the documents that the documentation shows.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{Served, bonded, refusal, run, stdout, text};
use crate::fixtures::ImageBuilder;
use crate::sources;

/// A folder with what the documents of the how-to name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = sources::root().join("tests/data/signing");
    fs::copy(samples.join("keys/key-p256.pub"), folder.path().join("cosign.pub")).expect("a key");
    fs::copy(samples.join("trusted_root.lab.json"), folder.path().join("trusted_root.json")).expect("a root");
    folder
}

fn how_to() -> String {
    page("signature-policy.md")
}

fn page(name: &str) -> String {
    fs::read_to_string(sources::root().join("docs/how-to").join(name)).expect("a page")
}

/// The documents that the page shows, each as a whole.
fn documents() -> Vec<String> {
    documents_of(&how_to())
}

fn documents_of(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("apiVersion")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documents_of_the_how_to_can_be_used() {
    let folder = folder();
    let documents = [documents(), documents_of(&page("only-signed-images.md"))].concat();
    assert_eq!(documents.len(), 3);
    for (at, document) in documents.iter().enumerate() {
        let file = folder.path().join(format!("{at}.yaml"));
        fs::write(&file, document).expect("written");
        let output = run(&["policy", "check", text(&file)]).await;
        let said = stdout(&output);
        assert!(output.status.success() && said.starts_with("ok: 1 policy, 0 warnings, revision "), "{said}");
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let folder = folder();
    let file = folder.path().join("policy.yaml");
    let wrong = documents()[0].replace("enforce  ", "strict   ").replace("threshold", "thresold");
    fs::write(&file, wrong).expect("written");
    let output = run(&["policy", "check", text(&file)]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    let page = how_to();
    for line in said.lines().filter(|line| line.starts_with("error")) {
        assert!(page.contains(line), "the page shows {line}");
    }
    assert!(said.ends_with("policy.yaml cannot be used: 2 errors\n"), "{said}");

    let output = run(&["policy", "check", "-o", "json", text(&file)]).await;
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["at"], "policies[0].mode");
    assert_eq!(lines[2]["ok"], false);
}

#[tokio::test]
async fn a_registry_without_accounts_needs_more() {
    let folder = folder();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, &documents()[0]).expect("written");
    let output = run(&["policy", "check", "--without-accounts", text(&file)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("without accounts everybody may push"));
}

#[tokio::test]
async fn what_applies_is_shown() {
    let folder = folder();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, &documents()[0]).expect("written");
    let test = async |repository: &str| {
        let output = run(&["policy", "test", text(&file), "--repository", repository, "--tag", "v1"]).await;
        assert!(output.status.success());
        stdout(&output)
    };
    let said = test("prod/app").await;
    let expected = "prod: enforce at push, pull\n  a signature by 1 of release\n    release: key sha256:";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(test("dev/app").await, "no policy is about dev/app\n");
    let output = run(&["policy", "test", "-o", "json", text(&file), "--repository", "prod/app"]).await;
    let shown: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(shown["gates"], serde_json::json!(["push", "pull"]));
}

#[tokio::test]
async fn what_cannot_begin_is_one_sentence() {
    assert!(refusal(&run(&["policy", "check", "/nowhere/policy.yaml"]).await).contains("/nowhere/policy.yaml"));
    let folder = folder();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, &documents()[0]).expect("written");
    let output = run(&["policy", "test", text(&file), "--repository", "Prod"]).await;
    assert!(refusal(&output).contains("`Prod` is not a repository"));
    fs::write(&file, "policies: 5").expect("written");
    let output = run(&["policy", "test", text(&file), "--repository", "prod/app"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("policy.yaml` says why"));
}

#[tokio::test]
async fn what_a_document_would_change_is_found_out_beside_a_server() {
    let served = Served::start(&[]).await;
    served.push("prod/app", &ImageBuilder::new().layer(b"layer")).await;
    let (folder, data) = (folder(), served.data());
    let file = folder.path().join("policy.yaml");
    let command = [&["policy", "dry-run", text(&file), "--data", text(&data)][..]];
    let tried = async |arguments: &[&str]| {
        let output = run(&[command[0], arguments].concat()).await;
        (output.status.code(), stdout(&output))
    };
    let strict = documents()[0].clone() + "  unverifiedReaders: nobody\n";
    fs::write(&file, &strict).expect("written");
    let (code, said) = tried(&[]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (Some(1), 2), "{said}");
    assert!(lines[0].starts_with("prod/app:v1@sha256:") && lines[0].ends_with(": off -> unsigned"), "{said}");
    let summary = "looked at 1 manifest: 1 given today would be refused, 0 refused today would be given, 0 would change \
        otherwise";
    assert_eq!(lines[1], summary);
    let (code, said) = tried(&["-o", "json", "--repository", "prod/*"]).await;
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((code, &told[0]["then"]["refused"], &told[1]["wouldBeRefused"]), (Some(1), &true.into(), &1.into()));
    assert_eq!(tried(&["--repository", "prod/other"]).await.0, Some(0));

    // Where it holds already, nothing changes.
    let mut same = bonded(&[command[0], &["--all"]].concat());
    let output = same.env("BONDED_TRUST_POLICY", text(&file)).output().await.expect("it ends");
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(": unsigned\nlooked at 1 manifest: 0 given"), "{said}");

    fs::write(&file, strict.replace("enforce ", "warn ")).expect("written");
    let (code, said) = tried(&[]).await;
    assert!(code == Some(0) && said.contains(": off -> unsigned, with a warning\n"), "{said}");
    for (none, code) in [("apiVersion: trust/v1\npolicies: []\n", 0), ("", 2)] {
        fs::write(&file, none).expect("written");
        assert_eq!(tried(&[]).await.0, Some(code), "{none}");
    }

    // What cannot be used here is not tried out.
    fs::write(&file, &documents()[0]).expect("written");
    let (code, said) = tried(&[]).await;
    assert!(code == Some(2) && said.contains("without accounts everybody may push"), "{said}");
    fs::write(&file, strict.replace("enforce", "strict")).expect("written");
    let (code, said) = tried(&[]).await;
    assert!(code == Some(2) && said.ends_with("policy.yaml cannot be used: 1 error\n"), "{said}");
    fs::write(&file, &strict).expect("written");
    let nowhere = run(&["policy", "dry-run", text(&file), "--data", "/nowhere/data"]).await;
    assert!(refusal(&nowhere).contains("/nowhere/data"));
    let astray = run(&[command[0], &["--username", "ann"]].concat()).await;
    assert!(refusal(&astray).contains("give --server"));
    let open = run(&["policy", "dry-run", text(&file), "--server", served.url()]).await;
    assert!(refusal(&open).contains("without accounts everybody may push"));
}

#[tokio::test]
async fn the_schema_is_the_one_of_the_reference() {
    let printed = stdout(&run(&["policy", "schema"]).await);
    let written = fs::read_to_string(sources::root().join("docs/reference/policy.schema.json")).expect("a schema");
    assert_eq!(printed, written);
}
