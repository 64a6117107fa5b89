//! Upload sessions on the wire: chunks, streams, wrong turns, broken connections.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Body, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{TestApp, error_code, expect, header};
use crate::fixtures::{bytes, sha256, sha512};

#[tokio::test]
async fn a_session_says_where_it_is_and_how_far() {
    let app = TestApp::start().await;
    let started = expect(app.post("/v2/a/b/blobs/uploads/"), StatusCode::ACCEPTED).await;
    let location = header(&started, "location").to_owned();
    let id = header(&started, "docker-upload-uuid").to_owned();
    assert_eq!(location, format!("/v2/a/b/blobs/uploads/{id}"));
    assert_eq!(header(&started, "range"), "0-0");
    assert_eq!(header(&started, "content-length"), "0");

    // Clients scan "%d-%d" and want an end that is not before the start, so an empty session says 0-0.
    let nothing = expect(app.patch(&location).body(Vec::new()), StatusCode::ACCEPTED).await;
    assert_eq!(header(&nothing, "range"), "0-0");

    let data = bytes(300_000, 1);
    for (from, to) in [(0, 1), (1, 100_000), (100_000, 300_000)] {
        let chunk = app.patch(&location).header("content-range", format!("{from}-{}", to - 1));
        let taken = expect(chunk.body(data[from..to].to_vec()), StatusCode::ACCEPTED).await;
        assert_eq!(header(&taken, "location"), location);
        assert_eq!(header(&taken, "range"), format!("0-{}", to - 1));
        assert_eq!(header(&taken, "docker-upload-uuid"), id);
        let status = expect(app.get(&location), StatusCode::NO_CONTENT).await;
        assert_eq!(header(&status, "location"), location);
        assert_eq!(header(&status, "range"), format!("0-{}", to - 1));
    }

    let digest = sha256(&data);
    let closing = app.put(&format!("{location}?digest={digest}")).header("content-length", "0");
    let closed = expect(closing, StatusCode::CREATED).await;
    assert_eq!(header(&closed, "location"), format!("/v2/a/b/blobs/{digest}"));
    assert_eq!(header(&closed, "docker-content-digest"), digest);
    let get = expect(app.get(&format!("/v2/a/b/blobs/{digest}")), StatusCode::OK).await;
    assert_eq!(get.bytes().await.expect("a whole body"), data);
    let gone = expect(app.get(&location), StatusCode::NOT_FOUND).await;
    assert_eq!(error_code(gone).await, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn the_closing_request_may_carry_bytes() {
    let app = TestApp::start().await;
    let data = bytes(50_000, 2);
    let digest = sha256(&data);
    for split in [0, 1, 30_000, 50_000] {
        let location = app.start_upload("a").await;
        if split > 0 {
            expect(app.patch(&location).body(data[..split].to_vec()), StatusCode::ACCEPTED).await;
        }
        let mut closing = app.put(&format!("{location}?digest={digest}")).body(data[split..].to_vec());
        if split == 30_000 {
            closing = closing.header("content-range", "30000-49999");
        }
        expect(closing, StatusCode::CREATED).await;
        let get = expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
        assert_eq!(get.bytes().await.expect("a whole body"), data);
    }
}

#[tokio::test]
async fn a_stream_needs_neither_length_nor_range() {
    let app = TestApp::start().await;
    let data = bytes(700_000, 3);
    let location = app.start_upload("a").await;
    let pieces: Vec<std::io::Result<Vec<u8>>> = data.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
    let stream = Body::wrap_stream(futures_util::stream::iter(pieces));
    let taken = expect(app.patch(&location).body(stream), StatusCode::ACCEPTED).await;
    assert_eq!(header(&taken, "range"), "0-699999");
    let digest = sha256(&data);
    expect(app.put(&format!("{location}?digest={digest}")), StatusCode::CREATED).await;
    let get = expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
    assert_eq!(get.bytes().await.expect("a whole body"), data);
}

#[tokio::test]
async fn sha512_works_with_and_without_a_hint() {
    let app = TestApp::start().await;
    let data = bytes(200_000, 4);
    let digest = sha512(&data);
    for query in ["", "?digest-algorithm=sha512"] {
        let started = expect(app.post(&format!("/v2/a/blobs/uploads/{query}")), StatusCode::ACCEPTED).await;
        let location = header(&started, "location").to_owned();
        expect(app.patch(&location).body(data.clone()), StatusCode::ACCEPTED).await;
        let closed = expect(app.put(&format!("{location}?digest={digest}")), StatusCode::CREATED).await;
        assert_eq!(header(&closed, "docker-content-digest"), digest);
        assert_eq!(header(&closed, "location"), format!("/v2/a/blobs/{digest}"));
        expect(app.delete(&format!("/v2/a/blobs/{digest}")), StatusCode::ACCEPTED).await;
    }
    let refused = expect(app.post("/v2/a/blobs/uploads/?digest-algorithm=md5"), StatusCode::BAD_REQUEST).await;
    assert_eq!(error_code(refused).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_chunk_out_of_order_leaves_the_session_unharmed() {
    let app = TestApp::start().await;
    let data = bytes(20_000, 5);
    let digest = sha256(&data);
    let location = app.start_upload("a").await;
    let chunk = |from: usize, to: usize| {
        let range = format!("{from}-{}", to - 1);
        app.patch(&location).header("content-range", range).body(data[from..to].to_vec())
    };
    let refused = expect(chunk(10_000, 20_000), StatusCode::RANGE_NOT_SATISFIABLE).await;
    assert_eq!(header(&refused, "location"), location);
    assert_eq!(header(&refused, "range"), "0-0");
    expect(chunk(0, 10_000), StatusCode::ACCEPTED).await;
    let replayed = expect(chunk(0, 10_000), StatusCode::RANGE_NOT_SATISFIABLE).await;
    assert_eq!(header(&replayed, "range"), "0-9999");
    assert_eq!(error_code(replayed).await, "BLOB_UPLOAD_INVALID");

    let closing = format!("{location}?digest={digest}");
    let early = app.put(&closing).header("content-range", "15000-19999").body(data[15_000..].to_vec());
    let refused = expect(early, StatusCode::RANGE_NOT_SATISFIABLE).await;
    assert_eq!(header(&refused, "range"), "0-9999");
    // The status is asked for at the very URL that was refused, parameters included.
    let status = expect(app.get(&closing), StatusCode::NO_CONTENT).await;
    assert_eq!(header(&status, "range"), "0-9999");
    let closing = app.put(&closing).header("content-range", "10000-19999").body(data[10_000..].to_vec());
    expect(closing, StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_range_must_agree_with_the_length() {
    let app = TestApp::start().await;
    let location = app.start_upload("a").await;
    for (range, code) in [("0-10", "SIZE_INVALID"), ("0-8", "SIZE_INVALID"), ("10-1", "BLOB_UPLOAD_INVALID")] {
        let chunk = app.patch(&location).header("content-range", range).body(bytes(10, 6));
        let refused = expect(chunk, StatusCode::BAD_REQUEST).await;
        assert_eq!(error_code(refused).await, code);
    }
    let status = expect(app.get(&location), StatusCode::NO_CONTENT).await;
    assert_eq!(header(&status, "range"), "0-0");
}

#[tokio::test]
async fn a_session_is_closed_by_a_wrong_digest_and_not_by_a_missing_one() {
    let app = TestApp::start().await;
    let data = bytes(10_000, 7);
    let location = app.start_upload("a").await;
    expect(app.patch(&location).body(data.clone()), StatusCode::ACCEPTED).await;
    for query in ["", "?digest=", "?digest=sha256:short", "?digest=md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let refused = expect(app.put(&format!("{location}{query}")), StatusCode::BAD_REQUEST).await;
        assert_eq!(error_code(refused).await, "DIGEST_INVALID");
        expect(app.get(&location), StatusCode::NO_CONTENT).await;
    }
    let wrong = expect(app.put(&format!("{location}?digest={}", sha256(b"x"))), StatusCode::BAD_REQUEST).await;
    assert_eq!(error_code(wrong).await, "DIGEST_INVALID");
    expect(app.get(&location), StatusCode::NOT_FOUND).await;
    expect(app.head(&format!("/v2/a/blobs/{}", sha256(&data))), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_closing_request_may_be_repeated() {
    let app = TestApp::start().await;
    let data = bytes(10_000, 8);
    let closing = format!("{}?digest={}", app.start_upload("a").await, sha256(&data));
    for _ in 0..2 {
        expect(app.put(&closing).body(data.clone()), StatusCode::CREATED).await;
    }
}

#[tokio::test]
async fn a_session_can_be_cancelled() {
    let app = TestApp::start().await;
    let location = app.start_upload("a").await;
    expect(app.patch(&location).body(bytes(10_000, 9)), StatusCode::ACCEPTED).await;
    expect(app.delete(&location), StatusCode::NO_CONTENT).await;
    for request in [app.get(&location), app.delete(&location), app.patch(&location).body("x")] {
        let gone = expect(request, StatusCode::NOT_FOUND).await;
        assert_eq!(error_code(gone).await, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn a_session_belongs_to_its_repository() {
    let app = TestApp::start().await;
    let location = app.start_upload("mine").await;
    let other = location.replace("/mine/", "/yours/");
    for request in [app.get(&other), app.delete(&other), app.patch(&other).body("x")] {
        expect(request, StatusCode::NOT_FOUND).await;
    }
    expect(app.get(&location), StatusCode::NO_CONTENT).await;
    expect(app.get("/v2/mine/blobs/uploads/no-such-session"), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_session_expires() {
    let app = TestApp::start().await;
    let location = app.start_upload("a").await;
    app.clock.advance(Duration::from_hours(25));
    expect(app.get(&location), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn the_final_slash_may_be_missing() {
    let app = TestApp::start().await;
    expect(app.post("/v2/a/blobs/uploads"), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_broken_stream_keeps_what_came() {
    let app = TestApp::start().await;
    let data = bytes(400_000, 10);
    let location = app.start_upload("a").await;
    let mut socket = TcpStream::connect(app.address).await.expect("a connection");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("a head sent");
    socket.write_all(&data[..150_000]).await.expect("a part sent");
    socket.shutdown().await.expect("the sending half closed");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.expect("the server closes");

    let status = expect(app.get(&location), StatusCode::NO_CONTENT).await;
    assert_eq!(header(&status, "range"), "0-149999");
    let digest = sha256(&data);
    let closing = app.put(&format!("{location}?digest={digest}")).body(data[150_000..].to_vec());
    expect(closing, StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_client_that_still_writes_sees_the_refusal() {
    let app = TestApp::start().await;
    let location = app.start_upload("a").await;
    // More than what is drained before the answer, and more than what the kernel buffers.
    let data = bytes(24 << 20, 11);
    let chunk = app.patch(&location).header("content-range", format!("1-{}", data.len())).body(data);
    let refused = expect(chunk, StatusCode::RANGE_NOT_SATISFIABLE).await;
    assert_eq!(header(&refused, "connection"), "close");
}

#[tokio::test]
async fn a_small_body_that_nobody_read_keeps_the_connection() {
    let app = TestApp::start().await;
    let unknown = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let mut socket = TcpStream::connect(app.address).await.expect("a connection");
    for _ in 0..3 {
        let body = "x".repeat(100_000);
        let head = format!("PATCH {unknown} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).await.expect("a head sent");
        socket.write_all(body.as_bytes()).await.expect("a body sent");
        let answer = read_answer(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn nobody_is_invited_to_send_a_body_that_is_refused() {
    let app = TestApp::start().await;
    let unknown = "/v2/a/blobs/uploads/not-a-session";
    let mut socket = TcpStream::connect(app.address).await.expect("a connection");
    let head = format!(
        "PATCH {unknown} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("a head sent");
    let answer = read_answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let app = TestApp::builder().limits(|limits| limits.request_time_max = Duration::from_secs(1)).start().await;
    let location = app.start_upload("a").await;
    let endless = futures_util::stream::iter([Ok::<_, std::io::Error>("x")]).chain(futures_util::stream::pending());
    let chunk = app.patch(&location).body(Body::wrap_stream(endless));
    expect(chunk, StatusCode::REQUEST_TIMEOUT).await;
}

#[tokio::test]
async fn a_client_that_falls_silent_is_let_go() {
    let app = TestApp::builder().limits(|limits| limits.body_idle_max = Duration::from_millis(50)).start().await;
    let location = app.start_upload("a").await;
    let mut socket = TcpStream::connect(app.address).await.expect("a connection");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    socket.write_all(head.as_bytes()).await.expect("a head sent");
    let answer = read_answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let status = expect(app.get(&location), StatusCode::NO_CONTENT).await;
    assert_eq!(header(&status, "range"), "0-2");
}

/// One answer with a `Content-Length`, head and body.
async fn read_answer(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = socket.read_buf(&mut answer).await.expect("the server writes");
        assert!(read > 0, "the connection ended after {text:?}");
    }
}

#[tokio::test]
async fn there_is_a_largest_number_of_sessions() {
    let app = TestApp::builder().limits(|limits| limits.sessions_max = 2).start().await;
    for _ in 0..2 {
        expect(app.post("/v2/a/blobs/uploads/"), StatusCode::ACCEPTED).await;
    }
    let refused = expect(app.post("/v2/a/blobs/uploads/"), StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(header(&refused, "retry-after"), "10");
    assert_eq!(error_code(refused).await, "TOOMANYREQUESTS");
}
