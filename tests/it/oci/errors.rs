//! Error answers on the wire, whole: status, code, message, detail, headers.

use std::fmt::Write as _;

use reqwest::{Method, RequestBuilder};

use crate::app::{TestApp, maybe_header};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};

#[tokio::test]
async fn every_refusal_has_its_body() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new().layer(b"layer");
    let digest = app.push_image("a", "v1", &image).await;
    let upload = app.start_upload("a").await;
    let unknown = sha256(b"unknown");
    let put = |reference: &str, body: Vec<u8>| {
        app.put(&format!("/v2/a/manifests/{reference}")).header("content-type", IMAGE_MANIFEST).body(body)
    };
    let incomplete = ImageBuilder::new().layer(b"missing").manifest();
    let cases: Vec<(&str, RequestBuilder)> = vec![
        ("blob unknown", app.get(&format!("/v2/a/blobs/{unknown}"))),
        ("blob in use", app.delete(&format!("/v2/a/blobs/{}", sha256(b"layer")))),
        ("blob digest", app.get("/v2/a/blobs/sha256:short")),
        ("algorithm", app.get("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e")),
        ("range", app.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).header("range", "bytes=9-")),
        ("upload unknown", app.get("/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000")),
        ("no digest", app.put(&upload)),
        ("out of order", app.patch(&upload).header("content-range", "5-9").body("12345")),
        ("size", app.patch(&upload).header("content-range", "0-9").body("12345")),
        ("content-range", app.patch(&upload).header("content-range", "x").body("12345")),
        ("mismatch", app.put(&format!("{upload}?digest={unknown}")).body("12345")),
        ("manifest unknown", app.get("/v2/a/manifests/v2")),
        ("manifest invalid", put("v2", b"[]".to_vec())),
        ("manifest digest", put(&unknown, image.manifest())),
        ("tag invalid", put("-", image.manifest())),
        ("content missing", put("v2", incomplete)),
        ("condition", put("v1", image.manifest()).header("if-none-match", "*")),
        ("header", put("v1", image.manifest()).header("if-match", "x")),
        ("name invalid", app.get("/v2/A/manifests/v1")),
        ("name unknown", app.get("/v2/b/tags/list")),
        ("page", app.get("/v2/a/tags/list?n=-1")),
        ("purge", app.delete(&format!("/v2/a/manifests/{digest}?purge=now"))),
        ("no route", app.get("/v2/a/b/c")),
        ("method", app.post(&format!("/v2/a/manifests/{digest}"))),
        ("options", app.request(Method::OPTIONS, "/v2/a/tags/list")),
    ];
    let mut page = String::new();
    for (name, request) in cases {
        let answer = request.send().await.expect("the server answers");
        assert_eq!(maybe_header(&answer, "docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(maybe_header(&answer, "content-type"), Some("application/json"), "{name}");
        write!(page, "{name}: {}", answer.status().as_u16()).expect("a String takes any text");
        for header in ["allow", "content-range", "location", "range"] {
            if let Some(value) = maybe_header(&answer, header) {
                // The name of a session differs from run to run: its proof is made with a key of the database.
                let value = value.replace(upload.as_str(), "/v2/a/blobs/uploads/SESSION");
                write!(page, "; {header}: {value}").expect("a String takes any text");
            }
        }
        writeln!(page, "\n  {}", answer.text().await.expect("a body")).expect("a String takes any text");
    }
    insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("oci_errors", page);
    });
}

#[tokio::test]
async fn a_refused_head_has_no_body() {
    let app = TestApp::start().await;
    for path in ["/v2/a/manifests/v1", "/v2/a/blobs/sha256:short", "/v2/A/tags/list", "/v2/a/b/c"] {
        let answer = app.head(path).send().await.expect("the server answers");
        assert!(answer.status().is_client_error());
        assert_eq!(maybe_header(&answer, "docker-distribution-api-version"), Some("registry/2.0"));
        assert!(answer.bytes().await.expect("no body").is_empty());
    }
}
