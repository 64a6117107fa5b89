//! Ranges on the wire: one, many, none that fits.

use std::fmt::Write as _;

use reqwest::StatusCode;

use crate::app::{TestApp, error_code, expect, header, maybe_header};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, bytes};

const LEN: usize = 2_500;

/// A blob that stays in its row and one that has a file.
const SIZES: [usize; 2] = [LEN, 600_000];

#[tokio::test]
async fn a_range_is_cut_out() {
    let app = TestApp::start().await;
    for len in SIZES {
        let data = bytes(len, 1);
        let path = format!("/v2/a/blobs/{}", app.push_blob("a", &data).await);
        let cases = [
            ("bytes=500-1499".to_owned(), 500..1_500),
            ("bytes=500-".to_owned(), 500..len),
            ("bytes=-500".to_owned(), len - 500..len),
            (format!("bytes=2000-{}", len * 2), 2_000..len),
            (format!("bytes=-{}", len * 2), 0..len),
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=0-99999999999999999999999".to_owned(), 0..len),
        ];
        for (range, expected) in cases {
            let part = expect(app.get(&path).header("range", &range), StatusCode::PARTIAL_CONTENT).await;
            let content_range = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
            assert_eq!(header(&part, "content-range"), content_range, "{range}");
            assert_eq!(header(&part, "content-length"), expected.len().to_string());
            assert_eq!(header(&part, "content-type"), "application/octet-stream");
            assert!(maybe_header(&part, "docker-content-digest").is_some());
            assert_eq!(part.bytes().await.expect("a whole body"), data[expected]);
        }
    }
}

#[tokio::test]
async fn a_range_beyond_the_blob_is_not_satisfiable() {
    let app = TestApp::start().await;
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &bytes(LEN, 2)).await);
    for range in ["bytes=5000-10000", "bytes=2500-", "bytes=500-0", "bytes=-0", "bytes=9999999999999999999999-"] {
        let refused = expect(app.get(&path).header("range", range), StatusCode::RANGE_NOT_SATISFIABLE).await;
        assert_eq!(header(&refused, "content-range"), "bytes */2500", "{range}");
    }
}

#[tokio::test]
async fn what_is_no_range_of_bytes_is_ignored() {
    let app = TestApp::start().await;
    let data = bytes(LEN, 3);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &data).await);
    for range in ["lines=1-2", "bytes=a-b", "bytes=", "bytes", "1-2"] {
        let whole = expect(app.get(&path).header("range", range), StatusCode::OK).await;
        assert_eq!(whole.bytes().await.expect("a whole body"), data);
    }
    let head = expect(app.head(&path).header("range", "bytes=0-9"), StatusCode::OK).await;
    assert_eq!(header(&head, "content-length"), LEN.to_string());
}

#[tokio::test]
async fn an_empty_blob_has_no_ranges_but_is_there() {
    let app = TestApp::start().await;
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", b"").await);
    let whole = expect(app.get(&path).header("range", "bytes=0-"), StatusCode::OK).await;
    assert_eq!(header(&whole, "content-length"), "0");
    expect(app.get(&path).header("range", "bytes=1-"), StatusCode::RANGE_NOT_SATISFIABLE).await;
}

#[tokio::test]
async fn many_ranges_come_one_by_one_and_in_order() {
    let app = TestApp::start().await;
    for len in SIZES {
        let data = bytes(len, 4);
        let path = format!("/v2/a/blobs/{}", app.push_blob("a", &data).await);
        // Neighbours, overlaps, repetitions and steps back: nothing is joined or sorted.
        let wanted = [1_000..1_100, 0..10, 10..20, 5..15, 1_000..1_100, len - 7..len];
        let mut range = "bytes=".to_owned();
        for part in &wanted[..5] {
            write!(range, "{}-{}, ", part.start, part.end - 1).expect("a String takes any text");
        }
        range.push_str("-7");
        let answer = expect(app.get(&path).header("range", &range), StatusCode::PARTIAL_CONTENT).await;
        let boundary = header(&answer, "content-type").strip_prefix("multipart/byteranges; boundary=");
        let boundary = boundary.expect("a multipart type").to_owned();
        let length: usize = header(&answer, "content-length").parse().expect("a length");
        assert_eq!(maybe_header(&answer, "content-range"), None);
        let body = answer.bytes().await.expect("a whole body");
        assert_eq!(body.len(), length);
        let parts = read_parts(&body, &boundary);
        assert_eq!(parts.len(), wanted.len());
        for ((head, content), expected) in parts.iter().zip(wanted) {
            let content_range = format!("Content-Range: bytes {}-{}/{len}", expected.start, expected.end - 1);
            assert!(head.lines().any(|line| line == content_range), "{head} lacks {content_range}");
            assert!(head.contains("Content-Type: application/octet-stream"));
            assert!(**content == data[expected]);
        }
    }
}

#[tokio::test]
async fn a_thousand_ranges_are_served_and_more_are_refused() {
    let app = TestApp::start().await;
    let data = bytes(600_000, 5);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &data).await);
    let ranges = |count: usize| {
        let ranges: Vec<String> = (0..count).map(|at| format!("{}-{}", at * 500, at * 500 + 99)).collect();
        format!("bytes={}", ranges.join(","))
    };
    let answer = expect(app.get(&path).header("range", ranges(1_024)), StatusCode::PARTIAL_CONTENT).await;
    let boundary = header(&answer, "content-type").split_once("boundary=").expect("a boundary").1.to_owned();
    let body = answer.bytes().await.expect("a whole body");
    let parts = read_parts(&body, &boundary);
    assert_eq!(parts.len(), 1_024);
    assert!(parts.iter().enumerate().all(|(at, (_, part))| **part == data[at * 500..at * 500 + 100]));

    let refused = expect(app.get(&path).header("range", ranges(1_025)), StatusCode::BAD_REQUEST).await;
    assert_eq!(error_code(refused).await, "UNSUPPORTED");
}

#[tokio::test]
async fn if_range_decides_between_the_part_and_the_whole() {
    let app = TestApp::start().await;
    let digest = app.push_blob("a", &bytes(LEN, 6)).await;
    let path = format!("/v2/a/blobs/{digest}");
    let modified = header(&expect(app.head(&path), StatusCode::OK).await, "last-modified").to_owned();
    let cases = [
        (format!("\"{digest}\""), StatusCode::PARTIAL_CONTENT),
        (modified, StatusCode::PARTIAL_CONTENT),
        (format!("W/\"{digest}\""), StatusCode::OK),
        ("\"other\"".to_owned(), StatusCode::OK),
        ("Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), StatusCode::OK),
        ("nonsense".to_owned(), StatusCode::OK),
    ];
    for (condition, status) in cases {
        let request = app.get(&path).header("range", "bytes=0-9").header("if-range", &condition);
        let answer = expect(request, status).await;
        let len = if status == StatusCode::OK { LEN } else { 10 };
        assert_eq!(header(&answer, "content-length"), len.to_string(), "{condition}");
    }
}

#[tokio::test]
async fn manifests_have_ranges_too() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    app.push_image("a", "latest", &image).await;
    let manifest = image.manifest();
    let request = app.get("/v2/a/manifests/latest").header("range", "bytes=10-19");
    let part = expect(request, StatusCode::PARTIAL_CONTENT).await;
    assert_eq!(header(&part, "content-range"), format!("bytes 10-19/{}", manifest.len()));
    assert_eq!(header(&part, "content-type"), IMAGE_MANIFEST);
    assert_eq!(part.bytes().await.expect("a whole body"), manifest[10..20]);
    let beyond = app.get("/v2/a/manifests/latest").header("range", "bytes=100000-");
    expect(beyond, StatusCode::RANGE_NOT_SATISFIABLE).await;
}

/// Head and content of each part, read as strictly as a client would.
fn read_parts<'a>(body: &'a [u8], boundary: &str) -> Vec<(String, &'a [u8])> {
    let opening = format!("--{boundary}\r\n");
    let between = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).expect("the body begins with a boundary");
    let mut parts = Vec::new();
    loop {
        let head_end = find(rest, b"\r\n\r\n").expect("a part has a head");
        let head = String::from_utf8(rest[..head_end].to_vec()).expect("a head of text");
        rest = &rest[head_end + 4..];
        let end = find(rest, between.as_bytes()).expect("a part ends with a boundary");
        parts.push((head, &rest[..end]));
        rest = &rest[end + between.len()..];
        let Some(next) = rest.strip_prefix(b"\r\n") else {
            assert_eq!(rest, b"--\r\n");
            return parts;
        };
        rest = next;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
