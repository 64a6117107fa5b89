//! Blobs on the wire: pushed in one request, mounted, read, deleted, damaged.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;

use crate::app::{TestApp, error_code, expect, header, maybe_header};
use crate::fixtures::{ImageBuilder, bytes, sha256, sha512};

#[tokio::test]
async fn a_blob_pushed_in_one_request_comes_back_as_it_was() {
    let app = TestApp::start().await;
    for len in [0, 1, 4_096, 4_097, 3_000_000] {
        let data = bytes(len, 1);
        let digest = sha256(&data);
        let push = app.post(&format!("/v2/a/b/blobs/uploads/?digest={digest}")).body(data.clone());
        let pushed = expect(push, StatusCode::CREATED).await;
        assert_eq!(header(&pushed, "docker-content-digest"), digest);
        assert_eq!(header(&pushed, "content-length"), "0");
        let location = header(&pushed, "location").to_owned();
        assert_eq!(location, format!("/v2/a/b/blobs/{digest}"));

        let head = expect(app.head(&location), StatusCode::OK).await;
        let get = expect(app.get(&location), StatusCode::OK).await;
        for answer in [&head, &get] {
            assert_eq!(header(answer, "docker-content-digest"), digest);
            assert_eq!(header(answer, "content-length"), len.to_string());
            assert_eq!(header(answer, "content-type"), "application/octet-stream");
            assert_eq!(header(answer, "accept-ranges"), "bytes");
            assert_eq!(header(answer, "etag"), format!("\"{digest}\""));
            assert_eq!(header(answer, "docker-distribution-api-version"), "registry/2.0");
            assert_eq!(maybe_header(answer, "content-encoding"), None);
        }
        assert!(head.bytes().await.expect("no body").is_empty());
        assert_eq!(get.bytes().await.expect("a whole body"), data);
    }
}

#[tokio::test]
async fn a_blob_under_sha512_is_another_blob() {
    let app = TestApp::start().await;
    let data = bytes(10_000, 2);
    let digest = sha512(&data);
    let push = app.post(&format!("/v2/a/blobs/uploads/?digest={digest}")).body(data.clone());
    let pushed = expect(push, StatusCode::CREATED).await;
    assert_eq!(header(&pushed, "docker-content-digest"), digest);
    assert_eq!(header(&pushed, "location"), format!("/v2/a/blobs/{digest}"));
    let get = expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
    assert_eq!(get.bytes().await.expect("a whole body"), data);
    expect(app.head(&format!("/v2/a/blobs/{}", sha256(&data))), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn an_encoded_digest_is_the_same_digest() {
    let app = TestApp::start().await;
    let data = bytes(100, 3);
    let digest = sha256(&data).replace(':', "%3A");
    expect(app.post(&format!("/v2/a/blobs/uploads/?digest={digest}")).body(data), StatusCode::CREATED).await;
    expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
}

#[tokio::test]
async fn a_blob_is_unknown_outside_its_repository() {
    let app = TestApp::start().await;
    let digest = app.push_blob("one", &bytes(10, 4)).await;
    for path in [format!("/v2/two/blobs/{digest}"), format!("/v2/one/blobs/{}", sha256(b"other"))] {
        let get = expect(app.get(&path), StatusCode::NOT_FOUND).await;
        assert_eq!(error_code(get).await, "BLOB_UNKNOWN");
        let head = expect(app.head(&path), StatusCode::NOT_FOUND).await;
        assert!(head.bytes().await.expect("no body").is_empty());
    }
}

#[tokio::test]
async fn bytes_with_another_digest_are_refused() {
    let app = TestApp::start().await;
    let digest = sha256(b"expected");
    for body in [bytes(10, 5), bytes(1_000_000, 5), Vec::new()] {
        let push = app.post(&format!("/v2/a/blobs/uploads/?digest={digest}")).body(body);
        let refused = expect(push, StatusCode::BAD_REQUEST).await;
        assert_eq!(error_code(refused).await, "DIGEST_INVALID");
        expect(app.head(&format!("/v2/a/blobs/{digest}")), StatusCode::NOT_FOUND).await;
    }
}

#[tokio::test]
async fn whoever_has_the_bytes_is_told_so() {
    let app = TestApp::start().await;
    let digest = app.push_blob("a", &bytes(10, 6)).await;
    let path = format!("/v2/a/blobs/{digest}");
    let known = app.get(&path).header("if-none-match", format!("\"x\", W/\"{digest}\""));
    let unchanged = expect(known, StatusCode::NOT_MODIFIED).await;
    assert_eq!(header(&unchanged, "etag"), format!("\"{digest}\""));
    assert!(unchanged.bytes().await.expect("no body").is_empty());
    expect(app.head(&path).header("if-none-match", "*"), StatusCode::NOT_MODIFIED).await;
    expect(app.get(&path).header("if-none-match", "\"x\""), StatusCode::OK).await;
    expect(app.get(&path).header("if-match", "\"x\""), StatusCode::PRECONDITION_FAILED).await;
    expect(app.get(&path).header("if-match", format!("\"{digest}\"")), StatusCode::OK).await;
    // A condition on what is not there is no answer to whether it is there.
    let unknown = format!("/v2/a/blobs/{}", sha256(b"unknown"));
    expect(app.get(&unknown).header("if-none-match", "*"), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_mount_makes_the_blob_a_member() {
    let app = TestApp::start().await;
    let data = bytes(5_000, 7);
    let digest = app.push_blob("source", &data).await;
    for (query, target) in [("&from=source", "named"), ("", "anonymous")] {
        let mount = app.post(&format!("/v2/{target}/blobs/uploads/?mount={digest}{query}"));
        let mounted = expect(mount, StatusCode::CREATED).await;
        assert_eq!(header(&mounted, "location"), format!("/v2/{target}/blobs/{digest}"));
        assert_eq!(header(&mounted, "docker-content-digest"), digest);
        let get = expect(app.get(&format!("/v2/{target}/blobs/{digest}")), StatusCode::OK).await;
        assert_eq!(get.bytes().await.expect("a whole body"), data);
    }
}

#[tokio::test]
async fn what_cannot_be_mounted_becomes_a_session() {
    let app = TestApp::start().await;
    let data = bytes(5_000, 8);
    let digest = app.push_blob("source", &data).await;
    let unknown = sha256(b"unknown");
    let queries = [
        format!("mount={unknown}&from=source"),
        format!("mount={unknown}"),
        format!("mount={digest}&from=nowhere"),
        format!("mount={digest}&from=NOT%20A%20NAME"),
        "mount=sha256:short&from=source".to_owned(),
    ];
    for query in queries {
        let answer = expect(app.post(&format!("/v2/target/blobs/uploads/?{query}")), StatusCode::ACCEPTED).await;
        let location = header(&answer, "location").to_owned();
        let put = app.put(&format!("{location}?digest={digest}")).body(data.clone());
        expect(put, StatusCode::CREATED).await;
        app.delete(&format!("/v2/target/blobs/{digest}")).send().await.expect("an answer");
    }
}

#[tokio::test]
async fn a_deleted_blob_is_gone_at_once() {
    let app = TestApp::start().await;
    for query in ["", "?purge=wait"] {
        let digest = app.push_blob("a", &bytes(5_000, 9)).await;
        let path = format!("/v2/a/blobs/{digest}");
        expect(app.delete(&format!("{path}{query}")), StatusCode::ACCEPTED).await;
        expect(app.head(&path), StatusCode::NOT_FOUND).await;
        expect(app.get(&path), StatusCode::NOT_FOUND).await;
        let again = expect(app.delete(&path), StatusCode::NOT_FOUND).await;
        assert_eq!(error_code(again).await, "BLOB_UNKNOWN");
        let (_, hex) = digest.split_once(':').expect("a digest has a colon");
        if query == "?purge=wait" {
            assert_eq!(find_file(&app.place.folder(), hex), None, "the bytes are gone when the answer comes");
        }
    }
}

#[tokio::test]
async fn a_blob_that_a_manifest_names_stays() {
    let app = TestApp::start().await;
    let layer = bytes(5_000, 10);
    app.push_image("a", "latest", &ImageBuilder::new().layer(&layer)).await;
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    let refused = expect(app.delete(&path), StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(error_code(refused).await, "DENIED");
    expect(app.head(&path), StatusCode::OK).await;
}

#[tokio::test]
async fn a_blob_beyond_the_limit_is_refused() {
    let app = TestApp::builder().limits(|limits| limits.blob_bytes_max = 100_000).start().await;
    let data = bytes(100_001, 11);
    let digest = sha256(&data);
    let push = app.post(&format!("/v2/a/blobs/uploads/?digest={digest}")).body(data);
    let refused = expect(push, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(error_code(refused).await, "SIZE_INVALID");
    expect(app.head(&format!("/v2/a/blobs/{digest}")), StatusCode::NOT_FOUND).await;
    app.push_blob("a", &bytes(100_000, 11)).await;
}

#[tokio::test]
async fn a_damaged_blob_is_not_served_and_heals_when_pushed_again() {
    let app = TestApp::start().await;
    let data = bytes(300_000, 12);
    let digest = app.push_blob("a", &data).await;
    let path = format!("/v2/a/blobs/{digest}");
    let (_, hex) = digest.split_once(':').expect("a digest has a colon");
    for damage in ["shorten", "remove"] {
        let file = find_file(&app.place.folder(), hex).expect("the blob has a file");
        match damage {
            "shorten" => std::fs::write(&file, b"short").expect("the file can be written"),
            _ => std::fs::remove_file(&file).expect("the file can be removed"),
        }
        let range = app.get(&path).header("range", "bytes=1000-1999,5000-5999");
        let refused = expect(range, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(error_code(refused).await, "BLOB_UNKNOWN");
        // Whoever may push must push, so to them the blob is not there.
        expect(app.head(&path), StatusCode::NOT_FOUND).await;
        app.push_blob("a", &data).await;
        let whole = expect(app.get(&path), StatusCode::OK).await;
        assert_eq!(whole.bytes().await.expect("a whole body"), data);
        std::fs::remove_file(&file).ok();
    }
}

/// The file below `folder` whose name begins with `prefix`.
pub(super) fn find_file(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries.map(|entry| entry.path()).find_map(|path| {
        let name = path.file_name()?.to_str()?;
        if path.is_dir() { find_file(&path, prefix) } else { name.starts_with(prefix).then(|| path.clone()) }
    })
}

#[tokio::test]
async fn lengths_are_told_over_http2_too() {
    let app = TestApp::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    for len in [0, 300_000] {
        let data = bytes(len, 13);
        let url = format!("http://{}/v2/a/blobs/{}", app.address, app.push_blob("a", &data).await);
        let head = expect(client.head(&url), StatusCode::OK).await;
        let get = expect(client.get(&url), StatusCode::OK).await;
        for answer in [&head, &get] {
            assert_eq!(answer.version(), reqwest::Version::HTTP_2);
            assert_eq!(header(answer, "content-length"), len.to_string());
        }
        assert_eq!(get.bytes().await.expect("a whole body"), data);
    }
    // A refusal of a body that nobody read resets the stream, not the connection.
    let url = format!("http://{}/v2/a/blobs/uploads/none", app.address);
    let refused = expect(client.patch(&url).body(bytes(3 << 20, 14)), StatusCode::NOT_FOUND).await;
    assert_eq!(maybe_header(&refused, "connection"), None);
}
