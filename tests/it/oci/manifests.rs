//! Manifests on the wire: pushed, tagged, read, guarded, deleted.

use reqwest::StatusCode;
use serde_json::json;

use crate::app::{TestApp, error_code, expect, header, json as body_json, maybe_header};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, bytes, index, sha256, sha512};

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new().layer(&bytes(5_000, 1));
    let digest = app.push_image("a/b", "v1", &image).await;
    let manifest = image.manifest();
    for reference in ["v1", &digest, &digest.replace(':', "%3a")] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let head = expect(app.head(&path), StatusCode::OK).await;
        // What is stored is served, whatever the client accepts.
        let get = app.get(&path).header("accept", "text/html").header("accept", "image/png");
        let get = expect(get, StatusCode::OK).await;
        for answer in [&head, &get] {
            assert_eq!(header(answer, "content-type"), IMAGE_MANIFEST);
            assert_eq!(header(answer, "content-length"), manifest.len().to_string());
            assert_eq!(header(answer, "docker-content-digest"), digest);
            assert_eq!(header(answer, "etag"), format!("\"{digest}\""));
            assert_eq!(maybe_header(answer, "vary"), None);
        }
        assert!(head.bytes().await.expect("no body").is_empty());
        assert_eq!(get.bytes().await.expect("a whole body"), manifest);
        let known = app.get(&path).header("if-none-match", format!("\"{digest}\""));
        expect(known, StatusCode::NOT_MODIFIED).await;
    }
}

#[tokio::test]
async fn a_push_is_answered_with_digest_and_place() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    let digest = app.push_image("a", "v1", &image).await;
    for reference in ["v2", &digest] {
        let put = app.put(&format!("/v2/a/manifests/{reference}"));
        let put = put.header("content-type", format!("{IMAGE_MANIFEST}; charset=utf-8")).body(image.manifest());
        let stored = expect(put, StatusCode::CREATED).await;
        assert_eq!(header(&stored, "location"), format!("/v2/a/manifests/{digest}"));
        assert_eq!(header(&stored, "docker-content-digest"), digest);
        assert_eq!(maybe_header(&stored, "oci-subject"), None);
        let get = expect(app.get(&format!("/v2/a/manifests/{reference}")), StatusCode::OK).await;
        assert_eq!(header(&get, "content-type"), IMAGE_MANIFEST);
    }
}

#[tokio::test]
async fn one_push_may_set_many_tags() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    app.push_blob("a", b"{}").await;
    let manifest = image.manifest();
    for (digest, prefix) in [(sha256(&manifest), "x"), (sha512(&manifest), "y")] {
        let tags: Vec<String> = (0..12).map(|at| format!("{prefix}{at}")).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let put = app.put(&format!("/v2/a/manifests/{digest}?{}", query.join("&")));
        let put = put.header("content-type", IMAGE_MANIFEST).body(manifest.clone());
        let stored = expect(put, StatusCode::CREATED).await;
        assert_eq!(header(&stored, "docker-content-digest"), digest);
        let lines = stored.headers().get_all("oci-tag").iter();
        let set: Vec<&str> = lines.map(|line| line.to_str().expect("a tag")).collect();
        assert_eq!(set, tags);
        for tag in tags {
            let head = expect(app.head(&format!("/v2/a/manifests/{tag}")), StatusCode::OK).await;
            assert_eq!(header(&head, "docker-content-digest"), digest);
        }
    }
    let put = app.put("/v2/a/manifests/v1?tag=v2").header("content-type", IMAGE_MANIFEST).body(manifest);
    expect(put, StatusCode::BAD_REQUEST).await;
}

#[tokio::test]
async fn a_subject_is_acknowledged_even_before_it_is_there() {
    let app = TestApp::start().await;
    let subject = ImageBuilder::new().annotation("is", "subject").manifest();
    let image = ImageBuilder::new().subject(IMAGE_MANIFEST, &subject);
    app.push_blob("a", b"{}").await;
    let put = app.put("/v2/a/manifests/v1").header("content-type", IMAGE_MANIFEST).body(image.manifest());
    let stored = expect(put, StatusCode::CREATED).await;
    assert_eq!(header(&stored, "oci-subject"), sha256(&subject));
}

#[tokio::test]
async fn content_that_is_not_there_is_named_digest_by_digest() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new().layer(b"one").layer(b"two");
    app.push_blob("a", b"{}").await;
    app.push_blob("elsewhere", b"one").await;
    let put = || app.put("/v2/a/manifests/v1").header("content-type", IMAGE_MANIFEST).body(image.manifest());
    let refused = expect(put(), StatusCode::NOT_FOUND).await;
    let body = body_json(refused).await;
    let errors = body["errors"].as_array().expect("a list of errors");
    assert!(errors.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"));
    let mut missing: Vec<_> = errors.iter().map(|error| error["detail"]["digest"].clone()).collect();
    missing.sort_by_key(ToString::to_string);
    let mut expected = vec![json!(sha256(b"one")), json!(sha256(b"two"))];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(missing, expected);
    expect(app.head("/v2/a/manifests/v1"), StatusCode::NOT_FOUND).await;
    app.push_blob("a", b"one").await;
    app.push_blob("a", b"two").await;
    expect(put(), StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_sparse_repository_takes_what_is_not_complete() {
    let app = TestApp::builder().sparse(&["sparse/**"]).start().await;
    let image = ImageBuilder::new().layer(b"not there").manifest();
    for (repo, status) in [("sparse/a", StatusCode::CREATED), ("dense/a", StatusCode::NOT_FOUND)] {
        let put = app.put(&format!("/v2/{repo}/manifests/v1")).header("content-type", IMAGE_MANIFEST);
        expect(put.body(image.clone()), status).await;
    }
}

#[tokio::test]
async fn a_manifest_must_be_what_it_claims() {
    let app = TestApp::start().await;
    app.push_blob("a", b"{}").await;
    let manifest = ImageBuilder::new().manifest();
    let put = |reference: &str, body: &[u8]| {
        let put = app.put(&format!("/v2/a/manifests/{reference}"));
        put.header("content-type", IMAGE_MANIFEST).body(body.to_vec())
    };
    let cases: [(&str, &[u8], &str); 5] = [
        (&sha256(b"other"), &manifest, "DIGEST_INVALID"),
        ("sha256:baddigeststring", &manifest, "DIGEST_INVALID"),
        ("v+1", &manifest, "MANIFEST_INVALID"),
        ("v1", b"not json", "MANIFEST_INVALID"),
        ("v1", b"", "MANIFEST_INVALID"),
    ];
    for (reference, body, code) in cases {
        let refused = expect(put(reference, body), StatusCode::BAD_REQUEST).await;
        assert_eq!(error_code(refused).await, code, "{reference}");
    }
    let typed = app.put("/v2/a/manifests/v1").header("content-type", "no type").body(manifest);
    assert_eq!(error_code(expect(typed, StatusCode::BAD_REQUEST).await).await, "MANIFEST_INVALID");
}

#[tokio::test]
async fn four_mebibytes_are_taken_and_no_more() {
    let app = TestApp::start().await;
    app.push_blob("a", b"{}").await;
    let small = ImageBuilder::new().annotation("padding", "").manifest().len();
    let sized = |len: usize| ImageBuilder::new().annotation("padding", &"x".repeat(len - small)).manifest();
    let largest = sized(4 << 20);
    assert_eq!(largest.len(), 4 << 20);
    app.push_manifest("a", "large", IMAGE_MANIFEST, &largest).await;
    let get = expect(app.get("/v2/a/manifests/large"), StatusCode::OK).await;
    assert_eq!(get.bytes().await.expect("a whole body"), largest);

    let beyond = sized((4 << 20) + 1);
    let put = || app.put("/v2/a/manifests/larger").header("content-type", IMAGE_MANIFEST);
    let refused = expect(put().body(beyond.clone()), StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(error_code(refused).await, "MANIFEST_INVALID");
    let pieces: Vec<std::io::Result<Vec<u8>>> = beyond.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    expect(put().body(stream), StatusCode::PAYLOAD_TOO_LARGE).await;
}

#[tokio::test]
async fn a_condition_guards_a_tag() {
    let app = TestApp::start().await;
    app.push_blob("a", b"{}").await;
    let (one, two) = (ImageBuilder::new().annotation("n", "1"), ImageBuilder::new().annotation("n", "2"));
    let put = |name: &'static str, value: &str, image: &ImageBuilder| {
        let put = app.put("/v2/a/manifests/v1").header("content-type", IMAGE_MANIFEST);
        put.header(name, value).body(image.manifest())
    };
    let tag = |image: &ImageBuilder| format!("\"{}\"", sha256(&image.manifest()));
    let refused = StatusCode::PRECONDITION_FAILED;
    expect(put("if-match", "*", &one), refused).await;
    expect(put("if-match", &tag(&one), &one), refused).await;
    expect(put("if-none-match", "*", &one), StatusCode::CREATED).await;
    expect(put("if-none-match", "*", &one), refused).await;
    expect(put("if-match", &tag(&two), &two), refused).await;
    expect(put("if-none-match", &tag(&one), &two), refused).await;
    let head = expect(app.head("/v2/a/manifests/v1"), StatusCode::OK).await;
    assert_eq!(header(&head, "etag"), tag(&one));
    expect(put("if-match", &format!("\"x\", {}", tag(&one)), &two), StatusCode::CREATED).await;
    expect(put("if-match", "no tag", &one), StatusCode::BAD_REQUEST).await;
    let head = expect(app.head("/v2/a/manifests/v1"), StatusCode::OK).await;
    assert_eq!(header(&head, "etag"), tag(&two));
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_siblings() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    let digest = app.push_image("a", "one", &image).await;
    app.push_image("a", "two", &image).await;
    expect(app.delete("/v2/a/manifests/one"), StatusCode::ACCEPTED).await;
    let gone = expect(app.get("/v2/a/manifests/one"), StatusCode::NOT_FOUND).await;
    assert_eq!(error_code(gone).await, "MANIFEST_UNKNOWN");
    expect(app.head("/v2/a/manifests/two"), StatusCode::OK).await;
    expect(app.head(&format!("/v2/a/manifests/{digest}")), StatusCode::OK).await;
    expect(app.delete("/v2/a/manifests/one"), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let app = TestApp::start().await;
    for query in ["", "?purge=wait"] {
        let image = ImageBuilder::new().layer(&bytes(5_000, 2));
        let digest = app.push_image("a", "one", &image).await;
        app.push_image("a", "two", &image).await;
        expect(app.delete(&format!("/v2/a/manifests/{digest}{query}")), StatusCode::ACCEPTED).await;
        for reference in ["one", "two", &digest] {
            expect(app.head(&format!("/v2/a/manifests/{reference}")), StatusCode::NOT_FOUND).await;
        }
    }
}

#[tokio::test]
async fn a_child_of_an_index_stays() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    let child = app.push_image("a", "child", &image).await;
    let parent = app.push_manifest("a", "parent", IMAGE_INDEX, &index(&[image.manifest()])).await;
    let refused = expect(app.delete(&format!("/v2/a/manifests/{child}")), StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(error_code(refused).await, "DENIED");
    expect(app.delete(&format!("/v2/a/manifests/{parent}")), StatusCode::ACCEPTED).await;
    expect(app.delete(&format!("/v2/a/manifests/{child}")), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn an_immutable_tag_takes_the_same_digest_again() {
    let rules = bonded::oci::glob::ImmutableTags::parse(&["a:v*"]).expect("a valid rule");
    let app = TestApp::builder().options(|options| options.immutable_tags = rules).start().await;
    let (one, two) = (ImageBuilder::new().annotation("n", "1"), ImageBuilder::new().annotation("n", "2"));
    app.push_image("a", "v1", &one).await;
    app.push_image("a", "v1", &one).await;
    let put = app.put("/v2/a/manifests/v1").header("content-type", IMAGE_MANIFEST).body(two.manifest());
    assert_eq!(error_code(expect(put, StatusCode::FORBIDDEN).await).await, "DENIED");
    app.push_image("a", "latest", &one).await;
    app.push_image("a", "latest", &two).await;
}
