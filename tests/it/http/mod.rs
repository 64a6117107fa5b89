//! The server below the dialects: TLS, HTTP/2, bounds, a graceful end, and what every request passes.

mod sendfile;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bonded::clock::SeededEntropy;
use bonded::http::Metrics;
use bonded::http::middleware::{Envelope, HostGuard, envelope};
use bonded::http::pages::PageGuard;
use bonded::http::server::{Server, ServerOptions};
use bonded::http::tls::{TlsFiles, TlsReloader};
use bonded::registry::gate::SweepStats;
use bonded::registry::{CollectorStats, ScrubStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server under test.
struct Running {
    addr: SocketAddr,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    /// Whether every transfer finished.
    ended: JoinHandle<bool>,
}

impl Running {
    fn metrics_text(&self) -> String {
        let counts = bonded::metadata::model::StoreCounts::default();
        self.metrics.render(counts, &CollectorStats::default(), &ScrubStats::default(), &SweepStats::default())
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for its own task")]
async fn start(router: Router, tls: Option<Arc<TlsReloader>>, options: ServerOptions) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::default()));
    let envelope_state = Envelope {
        metrics: metrics.clone(),
        entropy: Arc::new(SeededEntropy::new(1)),
        guard: Some(HostGuard::default()),
        pages: PageGuard::default(),
    };
    let router = router.layer(axum::middleware::from_fn_with_state(envelope_state, envelope));
    let server = Server::new(listener, router, metrics.clone(), options).with_tls(tls);
    let ended = tokio::spawn(server.run(stop.clone()));
    Running { addr, stop, metrics, ended }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Writes a new certificate for `localhost` and gives the PEM that a client must trust.
fn write_certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.pem()
}

/// What [`write_certificate`] has written.
fn files_in(folder: &Path) -> TlsFiles {
    TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca: None }
}

fn client_trusting(pem: &str) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
    reqwest::Client::builder().tls_certs_only([root]).build().expect("a client")
}

#[tokio::test]
async fn tls_speaks_http2_and_follows_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = write_certificate(folder.path());
    let open = || TlsReloader::open(files_in(folder.path()));
    let tls = Arc::new(open().expect("a pair"));
    let server = start(hello(), Some(tls.clone()), ServerOptions::default()).await;
    let url = format!("https://localhost:{}/", server.addr.port());

    let answer = client_trusting(&first).get(&url).send().await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.expect("a body"), "hello");

    assert!(!tls.reload_now().expect("readable"), "nothing changed");
    let second = write_certificate(folder.path());
    assert!(tls.reload_now().expect("readable"));
    assert!(client_trusting(&first).get(&url).send().await.is_err(), "the old certificate is not shown any more");
    assert!(client_trusting(&second).get(&url).send().await.is_ok());

    std::fs::write(folder.path().join("key.pem"), "no key").expect("written");
    let refused = tls.reload_now().expect_err("a broken pair").to_string();
    assert!(refused.contains("key.pem") && refused.contains("private key"), "{refused}");
    assert!(client_trusting(&second).get(&url).send().await.is_ok(), "the old pair stays");
    assert!(open().is_err());
}

#[tokio::test]
async fn plain_http2_is_spoken_to_those_who_know() {
    let server = start(hello(), None, ServerOptions::default()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let answer = client.get(format!("http://{}/", server.addr)).send().await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

#[tokio::test]
async fn a_stop_lets_transfers_finish_and_takes_no_new_ones() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (begun.clone(), finish.clone());
    let slow = get(move || async move {
        tell.notify_one();
        wait.notified().await;
        "done"
    });
    let server = start(Router::new().route("/", slow), None, ServerOptions::default()).await;
    let url = format!("http://{}/", server.addr);
    let transfer = async { reqwest::get(&url).await.expect("an answer").text().await.expect("a body") };
    let stopping = async {
        begun.notified().await;
        server.stop.cancel();
        // The listener closes as soon as the server sees the stop.
        while TcpStream::connect(server.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        finish.notify_one();
    };
    let (text, ()) = tokio::join!(transfer, stopping);
    assert_eq!(text, "done");
    assert!(server.ended.await.expect("ended"), "everything finished");
}

#[tokio::test]
async fn a_transfer_that_does_not_finish_in_time_is_cut() {
    let begun = Arc::new(Notify::new());
    let tell = begun.clone();
    let endless = get(move || async move {
        tell.notify_one();
        std::future::pending::<&'static str>().await
    });
    let options = ServerOptions { grace: Duration::from_millis(10), ..ServerOptions::default() };
    let server = start(Router::new().route("/", endless), None, options).await;
    let url = format!("http://{}/", server.addr);
    let (answer, ()) = tokio::join!(reqwest::get(&url), async {
        begun.notified().await;
        server.stop.cancel();
    });
    assert!(answer.is_err());
    assert!(!server.ended.await.expect("ended"), "it says that something was cut");
}

/// Sends raw bytes and reads until the server closes.
async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_has_a_largest_size_and_a_longest_time() {
    let options = ServerOptions { head_time_max: Duration::from_millis(50), ..ServerOptions::default() };
    let server = start(hello(), None, options).await;
    let ranges = (0..1024).map(|at| format!("{}-{}", at * 100_000, at * 100_000 + 50)).collect::<Vec<_>>().join(",");
    let close = "Connection: close\r\n\r\n";
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes={ranges}\r\n{close}");
    assert!(raw(server.addr, &long).await.starts_with("HTTP/1.1 200"), "1024 ranges fit");
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Huge: {}\r\n{close}", "x".repeat(100_000));
    assert!(raw(server.addr, &huge).await.starts_with("HTTP/1.1 431"));
    let unfinished = raw(server.addr, "GET / HTTP/1.1\r\nHost: loc").await;
    assert!(!unfinished.contains("200"), "{unfinished}");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let options = ServerOptions { head_time_max: Duration::from_millis(50), ..ServerOptions::default() };
    let server = start(hello(), None, options).await;
    // Nothing at all; what may become either protocol; HTTP/2 (preface and empty settings) without a request.
    for begun in ["", "PR", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"] {
        let closed = tokio::time::timeout(Duration::from_secs(10), raw(server.addr, begun)).await;
        assert!(closed.is_ok(), "{begun:?} held its connection");
    }
}

#[tokio::test]
async fn every_answer_has_an_identifier() {
    let server = start(hello(), None, ServerOptions::default()).await;
    let client = reqwest::Client::builder().build().expect("a client");
    let ask = |id: Option<&'static str>| {
        let request = client.get(format!("http://{}/nowhere", server.addr));
        let request = id.iter().fold(request, |request, id| request.header("x-request-id", *id));
        async move {
            let answer = request.send().await.expect("an answer");
            answer.headers()["x-request-id"].to_str().expect("text").to_owned()
        }
    };
    assert_eq!(ask(Some("client-7")).await, "client-7");
    let (made, other) = (ask(None).await, ask(Some("two words")).await);
    assert_eq!((made.len(), other.len()), (32, 32));
    assert_ne!(made, other);
}

#[tokio::test]
async fn other_hosts_are_refused_with_what_to_do() {
    let server = start(hello(), None, ServerOptions::default()).await;
    let answer = raw(server.addr, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(answer.contains("DENIED") && answer.contains("public_url"), "{answer}");
    // In the shape of the others there.
    let answer =
        raw(server.addr, "GET /api/v1/users HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(answer.contains(r#"{"code":"DENIED","error":""#) && answer.contains(r#""requestId":""#), "{answer}");
}

#[tokio::test]
async fn a_panic_is_an_answer_and_a_number_and_not_an_end() {
    let router = hello().route("/panic", get(|| async { if true { panic!("on purpose") } else { "never" } }));
    let server = start(router, None, ServerOptions::default()).await;
    let answer = reqwest::get(format!("http://{}/panic", server.addr)).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 500);
    assert_eq!(answer.text().await.expect("a body"), r#"{"errors":[{"code":"UNKNOWN","message":"internal error"}]}"#);
    let again = reqwest::get(format!("http://{}/", server.addr)).await.expect("an answer");
    assert_eq!(again.status().as_u16(), 200);
    let text = server.metrics_text();
    assert!(text.contains(r#"bonded_http_requests_total{route="unknown",method="GET",status="500"} 1"#), "{text}");
    assert!(text.contains("bonded_http_requests_in_flight 0"), "{text}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let large = get(|| async { vec![7_u8; 64 << 20] });
    let options = ServerOptions { write_idle_max: Duration::from_millis(50), ..ServerOptions::default() };
    let server = start(Router::new().route("/", large), None, options).await;
    let mut stream = TcpStream::connect(server.addr).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    while !server.metrics_text().contains("bonded_http_connections 1") {
        tokio::task::yield_now().await;
    }
    // It reads nothing until the server has given up, which the server says by having no connection left.
    while !server.metrics_text().contains("bonded_http_connections 0") {
        tokio::task::yield_now().await;
    }
    let mut taken = Vec::new();
    stream.read_to_end(&mut taken).await.ok();
    assert!(taken.len() < 64 << 20, "the rest never came");
}

#[tokio::test]
async fn two_hosts_are_none() {
    let server = start(hello(), None, ServerOptions::default()).await;
    let two = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = raw(server.addr, two).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}
