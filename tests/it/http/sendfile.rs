//! Files that the kernel sends: the right bytes in the right order, or a broken connection.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use bonded::http::sendfile::FileQueue;
use bonded::http::server::ServerOptions;
use futures_util::StreamExt;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, client_trusting, start, write_certificate};

/// Longer than two placeholders, and no multiple of anything.
const LEN: usize = (17 << 20) + 12_345;

struct Content {
    file: NamedTempFile,
    bytes: Vec<u8>,
}

impl Content {
    fn new() -> Arc<Self> {
        let bytes: Vec<u8> =
            (0..LEN as u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7]).collect();
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("written");
        Arc::new(Self { file, bytes })
    }

    fn open(&self) -> File {
        File::open(self.file.path()).expect("the file")
    }
}

fn router(content: &Arc<Content>) -> Router {
    Router::new()
        .route("/sized/{from}/{to}", get(sized))
        .route("/chunked/{from}/{to}", get(chunked))
        .route("/dropped", get(dropped))
        .with_state(Arc::clone(content))
}

async fn sized(State(content): State<Arc<Content>>, Path((from, to)): Path<(u64, u64)>, request: Request) -> Response {
    let Some(files) = request.extensions().get::<FileQueue>() else { return without_queue() };
    let body = Body::from_stream(files.stream(content.open(), from..to));
    Response::builder().header(CONTENT_LENGTH, to - from).body(body).expect("an answer")
}

async fn chunked(
    State(content): State<Arc<Content>>,
    Path((from, to)): Path<(u64, u64)>,
    request: Request,
) -> Response {
    let Some(files) = request.extensions().get::<FileQueue>() else { return without_queue() };
    Response::new(Body::from_stream(files.stream(content.open(), from..to)))
}

/// Announces a piece and sends something else.
async fn dropped(State(content): State<Arc<Content>>, request: Request) -> Response {
    let Some(files) = request.extensions().get::<FileQueue>() else { return without_queue() };
    let announced = files.stream(content.open(), 0..1000).next().await;
    assert_eq!(announced.expect("a piece").expect("a placeholder").len(), 1000);
    Response::new(Body::from("something else"))
}

fn without_queue() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response
}

async fn serve(content: &Arc<Content>) -> Running {
    start(router(content), None, ServerOptions::default()).await
}

#[tokio::test]
async fn any_range_arrives_as_it_is_in_the_file() {
    let content = Content::new();
    let server = serve(&content).await;
    let client = reqwest::Client::builder().build().expect("a client");
    let ends =
        [(0, LEN), (0, 1), (LEN - 1, LEN), (5, 8 << 20), (1, (8 << 20) + 1), ((8 << 20) - 1, 16 << 20), (77, LEN - 3)];
    for kind in ["sized", "chunked"] {
        for (from, to) in ends {
            let answer =
                client.get(format!("http://{}/{kind}/{from}/{to}", server.addr)).send().await.expect("an answer");
            let bytes = answer.bytes().await.expect("a body");
            assert!(bytes == content.bytes[from..to], "{kind} {from}..{to}");
        }
    }
}

#[tokio::test]
async fn answers_on_one_connection_keep_their_order() {
    let content = Content::new();
    let server = serve(&content).await;
    let mut stream = TcpStream::connect(server.addr).await.expect("a connection");
    let ranges = [(3, 200_000), (1 << 20, 10 << 20), (0, 10), (LEN - 300_000, LEN)];
    let mut asked = String::new();
    let mut expected = 0;
    for (at, (from, to)) in ranges.iter().enumerate() {
        let last = if at + 1 == ranges.len() { "Connection: close\r\n" } else { "" };
        write!(asked, "GET /sized/{from}/{to} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n").expect("a text");
        expected += to - from;
    }
    stream.write_all(asked.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.expect("four answers");
    let mut rest = got.as_slice();
    for (from, to) in ranges {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let (body, after) = rest[end..].split_at(to - from);
        assert!(body == &content.bytes[from..to], "{from}..{to}");
        (rest, expected) = (after, expected - body.len());
    }
    assert_eq!((rest.len(), expected), (0, 0));
}

#[tokio::test]
async fn a_file_that_the_kernel_has_dropped_is_read_again() {
    let content = Content::new();
    let server = serve(&content).await;
    let file = content.open();
    file.sync_all().expect("synced");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
    let bytes = reqwest::get(format!("http://{}/sized/0/{LEN}", server.addr)).await.expect("an answer");
    assert!(bytes.bytes().await.expect("a body") == content.bytes);
}

#[tokio::test]
async fn what_was_announced_and_thrown_away_breaks_the_connection() {
    let content = Content::new();
    let server = serve(&content).await;
    let mut stream = TcpStream::connect(server.addr).await.expect("a connection");
    let asked = "GET /dropped HTTP/1.1\r\nHost: localhost\r\n\r\nGET /sized/0/10 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    // The server may close before it has read everything, which resets the connection.
    let _ = stream.read_to_end(&mut got).await;
    assert_eq!(String::from_utf8_lossy(&got), "");
}

#[tokio::test]
async fn a_file_that_is_too_short_breaks_the_connection() {
    let content = Content::new();
    let server = serve(&content).await;
    let beyond = LEN as u64 + 1;
    let answer =
        reqwest::get(format!("http://{}/sized/{}/{beyond}", server.addr, LEN - 500_000)).await.expect("a head");
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn where_bytes_are_changed_on_their_way_there_is_no_queue() {
    let content = Content::new();
    let folder = tempfile::tempdir().expect("a folder");
    let pem = write_certificate(folder.path());
    let tls = bonded::http::tls::TlsReloader::open(super::files_in(folder.path()));
    let tls = Arc::new(tls.expect("a pair"));
    let secret = start(router(&content), Some(tls), ServerOptions::default()).await;
    let url = format!("https://localhost:{}/sized/0/10", secret.addr.port());
    assert_eq!(client_trusting(&pem).get(url).send().await.expect("an answer").status(), 501);

    let plain = serve(&content).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let answer = client.get(format!("http://{}/sized/0/10", plain.addr)).send().await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 501));
}
