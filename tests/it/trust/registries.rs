//! `bonded verify` against registries of others, which list signatures as they like.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::image;
use super::signer::{Signed, Signer, bundle_of};
use crate::app::TestApp;
use crate::cli::{bonded, run, stdout, text};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};
use crate::sources;

/// What stands under a path: a status, the target of a link to what comes next, and a body.
type Page = (StatusCode, Option<String>, Vec<u8>);

#[derive(Debug, Default)]
struct State {
    pages: HashMap<String, Page>,
    asked: Vec<String>,
}

/// A registry that answers what it was told to, and 404 to everything else; it ends when dropped.
struct Other {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Other {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept and ended by the test")]
    async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let router =
            Router::new().fallback(move |method: Method, uri: Uri| std::future::ready(answer(&shared, &method, &uri)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it listens") });
        Self { address, state, server }
    }

    fn page(&self, path: &str, status: StatusCode, next: Option<&str>, body: impl Into<Vec<u8>>) {
        let page = (status, next.map(str::to_owned), body.into());
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pages.insert(path.to_owned(), page);
    }

    fn ok(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.page(path, StatusCode::OK, None, body);
    }

    /// Has a signature, in no list yet.
    fn keep(&self, signed: &Signed) {
        self.ok(&format!("/v2/app/manifests/{}", sha256(&signed.manifest)), signed.manifest.clone());
        for blob in &signed.blobs {
            self.ok(&format!("/v2/app/blobs/{}", sha256(blob)), blob.clone());
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).asked)
    }

    /// Exit code and what was printed.
    async fn verify(&self, digest: &str, key: &str) -> (i32, String) {
        let reference = format!("{}/app@{digest}", self.address);
        let output = run(&["verify", &reference, "--key", key]).await;
        let printed = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().expect("an exit code"), printed)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(state: &Mutex<State>, method: &Method, uri: &Uri) -> Response {
    if method == Method::HEAD {
        // What is asked about is there; the bytes of it are nobody's concern here.
        return StatusCode::OK.into_response();
    }
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.asked.push(uri.to_string());
    let missing = (StatusCode::NOT_FOUND, None, Vec::new());
    let (status, next, body) = state.pages.get(&uri.to_string()).cloned().unwrap_or(missing);
    let mut headers = HeaderMap::new();
    if let Some(next) = next {
        headers.insert(header::LINK, format!("<{next}>; rel=\"next\"").parse().expect("a header"));
    }
    (status, headers, body).into_response()
}

fn index(entries: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries}).to_string()
}

/// An entry of a list for a signature.
fn entry(signed: &Signed) -> Value {
    let mut entry = descriptor(IMAGE_MANIFEST, &signed.manifest);
    entry["artifactType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json");
    entry
}

/// An entry for one of many signatures, none of which is there.
fn absent(number: usize) -> Value {
    json!({
        "mediaType": IMAGE_MANIFEST, "digest": sha256(&number.to_be_bytes()), "size": 100,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
    })
}

/// A signer's key in a file.
fn key_of(signer: &Signer) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pub");
    std::fs::write(&path, signer.pem()).expect("written");
    let key = text(&path).to_owned();
    (folder, key)
}

fn sample(path: &str) -> String {
    let path = sources::root().join("tests/data/signing").join(path);
    text(&path).to_owned()
}

#[tokio::test]
async fn an_identity_is_looked_for_with_a_trusted_root() {
    let other = Other::start().await;
    let read = |name: &str| std::fs::read(sample(&format!("keyless-new/{name}"))).expect("a sample");
    let manifest = read("subject.manifest.json");
    let signed = bundle_of(&manifest, read("bundle-0.sigstore.json"));
    other.keep(&signed);
    other.ok(&format!("/v2/app/referrers/{}", sha256(&manifest)), index(&[entry(&signed)]));
    let reference = format!("{}/app@{}", other.address, sha256(&manifest));
    // Wherever the root lies, and named from wherever.
    let root = sample("trusted_root.lab.json");
    let (folder, name) = root.rsplit_once('/').expect("a folder");
    for (root, identity, code) in [
        (root.as_str(), "alice@lab.example", 0),
        (name, "alice@lab.example", 0),
        (&root, "mallory@lab.example", 12),
        ("/nowhere/root.json", "alice@lab.example", 2),
        (&sample("keyless-new/subject.digest"), "alice@lab.example", 2),
    ] {
        let issuer = "https://issuer.lab.example";
        let options = ["--identity", identity, "--issuer", issuer, "--trusted-root", root];
        let output =
            bonded(&[&["verify", reference.as_str()], &options[..]].concat()).current_dir(folder).output().await;
        let output = output.expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{root}: {output:?}");
    }
}

#[tokio::test]
async fn every_page_of_the_list_is_read() {
    let app = TestApp::builder().limits(|limits| limits.referrer_page_max = 1).start().await;
    let (signer, manifest) = (Signer::new(), image(&app, "app", "v1", 1).await);
    let (_folder, key) = key_of(&signer);
    for at in 0..5 {
        let sbom = ImageBuilder::new().subject(IMAGE_MANIFEST, &manifest).artifact_type("application/spdx+json");
        app.push_image("app", &format!("sbom-{at}"), &sbom.annotation("number", &at.to_string())).await;
    }
    for signer in [&Signer::new(), &Signer::new(), &signer] {
        signer.bundle(&manifest).push(&app, "app", None, None).await;
    }
    let reference = format!("{}/app:v1", app.address);
    let output = run(&["verify", &reference, "--key", &key]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"", "progress is for terminals");
}

#[tokio::test]
async fn where_there_is_no_list_it_stands_under_a_tag() {
    let other = Other::start().await;
    let (signer, manifest) = (Signer::new(), ImageBuilder::new().manifest());
    let (_folder, key) = key_of(&signer);
    let (digest, signed) = (sha256(&manifest), signer.bundle(&manifest));
    assert_eq!(other.verify(&digest, &key).await.0, 10);
    other.keep(&signed);
    let list = index(&[entry(&signed)]);
    other.ok(&format!("/v2/app/manifests/{}", digest.replace(':', "-")), list.clone());
    let (code, printed) = other.verify(&digest, &key).await;
    assert_eq!(code, 0, "{printed}");
    // What fails is not taken for a registry without the list, nor an answer that is none.
    let referrers = format!("/v2/app/referrers/{digest}");
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST] {
        other.page(&referrers, status, None, "{}");
        let (code, printed) = other.verify(&digest, &key).await;
        assert_eq!(code, 1, "{status}: {printed}");
    }
    other.ok(&referrers, "<html>not found</html>");
    let (code, printed) = other.verify(&digest, &key).await;
    assert!(code == 1 && printed.contains("is no index"), "{printed}");
    other.ok(&referrers, index(&[]));
    assert_eq!(other.verify(&digest, &key).await.0, 10, "the registry knows that nobody refers to it");

    other.asked();
    let long = format!("sha512:{}", "ab".repeat(64));
    assert_eq!(other.verify(&long, &key).await.0, 10);
    let tag = format!("/v2/app/manifests/sha512-{}", "ab".repeat(32));
    let asked = other.asked();
    assert!(asked.contains(&tag), "{asked:?}");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_no_pass() {
    let other = Other::start().await;
    let (signer, manifest) = (Signer::new(), ImageBuilder::new().manifest());
    let (_folder, key) = key_of(&signer);
    let (digest, signed) = (sha256(&manifest), signer.bundle(&manifest));
    other.keep(&signed);
    let (first, list) = (format!("/v2/app/referrers/{digest}"), index(&[entry(&signed)]));
    let second = format!("{first}?n=1&last=x");
    other.page(&first, StatusCode::OK, Some("?n=1&last=x"), list.clone());
    other.ok(&second, index(&[absent(1)]));
    let (code, printed) = other.verify(&digest, &key).await;
    assert_eq!(code, 0, "{printed}");

    other.page(&second, StatusCode::NOT_FOUND, None, "");
    let (code, printed) = other.verify(&digest, &key).await;
    assert!(code == 1 && printed.contains("cannot be read to its end"), "{printed}");
    let elsewhere = Other::start().await;
    elsewhere.ok("/next", index(&[]));
    for host in [elsewhere.address.to_string(), format!("localhost:{}", other.address.port())] {
        other.page(&first, StatusCode::OK, Some(&format!("http://{host}/next")), list.clone());
        let (code, printed) = other.verify(&digest, &key).await;
        assert!(code == 1 && printed.contains("goes on elsewhere"), "{printed}");
    }
    assert_eq!(elsewhere.asked(), [""; 0]);
    // Without end, and with more signatures than anybody needs.
    other.page(&first, StatusCode::OK, Some(&first), list.clone());
    let (code, printed) = other.verify(&digest, &key).await;
    assert!(code == 1 && printed.contains("more than 100 pages"), "{printed}");
    assert!(other.asked().len() < 500);
    let many = |count: usize| index(&[&[entry(&signed)], &*(1..count).map(absent).collect::<Vec<_>>()].concat());
    other.ok(&first, many(64));
    assert_eq!(other.verify(&digest, &key).await.0, 0);
    other.ok(&first, many(65));
    let (code, printed) = other.verify(&digest, &key).await;
    assert!(code == 1 && printed.contains("more than 64 artifacts"), "{printed}");
}

/// A terminal is made by `script` (util-linux), which prints what it shows.
#[tokio::test]
async fn progress_is_shown_on_a_terminal_alone() {
    let other = Other::start().await;
    let (signer, manifest) = (Signer::new(), ImageBuilder::new().manifest());
    let (_folder, key) = key_of(&signer);
    let (digest, signed) = (sha256(&manifest), signer.bundle(&manifest));
    other.keep(&signed);
    other.ok(&format!("/v2/app/referrers/{digest}"), index(&[entry(&signed)]));
    let reference = format!("{}/app@{digest}", other.address);
    let bonded = env!("CARGO_BIN_EXE_bonded");
    for (errors, shows) in [("", true), ("2>/dev/null", false)] {
        let command = format!("stty cols 200; exec '{bonded}' verify '{reference}' --key '{key}' -o json {errors}");
        let output = Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output().await;
        let output = output.expect("`script` of util-linux");
        let shown = stdout(&output);
        assert!(output.status.success() && shown.contains(r#""verdict":"pass""#), "{shown:?}");
        for step in ["looking for signatures of sha256:", "reading what may be signatures: 3 of 3", "checking"] {
            assert_eq!(shown.contains(step), shows, "{step}: {shown:?}");
        }
    }
    let output = run(&["verify", &reference, "--key", &key]).await;
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
