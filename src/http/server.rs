//! The accept loop: plain or TLS, HTTP/1.1 or HTTP/2, with a bound on everything a peer can make us hold.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Version;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::ClientCertificate;
use crate::http::metrics::{GaugeGuard, Metrics};
use crate::http::patient::Patient;
use crate::http::sendfile::FileQueue;
use crate::http::tls::TlsReloader;

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest time for the head of a request; also for a TLS handshake, where ten seconds are not less.
    pub head_time_max: Duration,
    /// Largest head of a request in bytes; also what one connection may buffer of a body.
    pub head_bytes_max: usize,
    /// Longest time in which a client takes nothing of what is sent to it.
    pub write_idle_max: Duration,
    /// Most requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Longest time that transfers may go on after the stop.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            head_time_max: Duration::from_secs(30),
            head_bytes_max: 64 << 10,
            write_idle_max: Duration::from_mins(2),
            streams_max: 100,
            grace: Duration::from_secs(30),
        }
    }
}

/// Longest time for a TLS handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Pause after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// HTTP/2 flow control: what one stream and one connection may send before we read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// A server that has its listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<TlsReloader>>,
    metrics: Arc<Metrics>,
    options: ServerOptions,
}

impl Server {
    /// A server for `router` on `listener`.
    pub fn new(listener: TcpListener, router: Router, metrics: Arc<Metrics>, options: ServerOptions) -> Self {
        Self { listener, router, tls: None, metrics, options }
    }

    /// Speaks TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<TlsReloader>>) -> Self {
        self.tls = tls;
        self
    }

    /// Serves until `stop` fires, then lets transfers finish for the time of grace; what is left is cut.
    ///
    /// Says whether everything finished.
    pub async fn run(self, stop: CancellationToken) -> bool {
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let builder = Arc::new(builder(&self.options));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let connection = Connection {
                builder: builder.clone(),
                router: self.router.clone(),
                tls: self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.current())),
                head_time_max: self.options.head_time_max,
                write_idle_max: self.options.write_idle_max,
                stop: stop.clone(),
                _counted: (slot, self.metrics.begin_connection()),
            };
            let cut = cut.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = connection.serve(stream, peer) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        // New connections are refused from here on.
        drop(self.listener);
        connections.close();
        let finished = tokio::time::timeout(self.options.grace, connections.wait()).await.is_ok();
        cut.cancel();
        connections.wait().await;
        finished
    }
}

/// The next connection, or `None` when this one failed.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for an acknowledgement; a socket that refuses is about to fail anyway.
            stream.set_nodelay(true).ok();
            Some((stream, peer, slot))
        }
        Err(error) => {
            if !is_peers_fault(&error) {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn builder(options: &ServerOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_time_max)
        .max_buf_size(options.head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(options.streams_max)
        .max_header_list_size(u32::try_from(options.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    tls: Option<TlsAcceptor>,
    head_time_max: Duration,
    write_idle_max: Duration,
    stop: CancellationToken,
    /// Held for as long as the connection is open.
    _counted: (OwnedSemaphorePermit, GaugeGuard),
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let stream = Patient::new(stream, self.write_idle_max);
        let handshake_max = self.head_time_max.min(HANDSHAKE_TIME_MAX);
        match &self.tls {
            None => {
                let files = stream.files();
                self.exchange(stream, peer, Some(files), None).await;
            }
            Some(tls) => match tokio::time::timeout(handshake_max, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificate = certificate(stream.get_ref().1);
                    self.exchange(stream, peer, None, certificate).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            },
        }
    }

    /// `files`: where answers may announce files, if what is written to the stream goes to the socket as it is.
    /// `certificate`: what the client has shown, and TLS has found to be good.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        files: Option<FileQueue>,
        certificate: Option<Arc<ClientCertificate>>,
    ) {
        let asked = CancellationToken::new();
        let first_request = asked.clone();
        let service = self.router.clone().map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            first_request.cancel();
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(Arc::clone(certificate));
            }
            if let Some(files) = files.as_ref().filter(|_| request.version() < Version::HTTP_2) {
                request.extensions_mut().insert(files.clone());
            }
            request.map(axum::body::Body::new)
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silence(&asked, self.head_time_max) => {
                // Nothing is lost, so no farewell: over HTTP/2 that would wait for an answer to a ping.
                tracing::debug!(%peer, "a connection asked for nothing");
                return;
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection ended early");
        }
    }
}

/// The certificate of the client, if it has shown one.
fn certificate(connection: &ServerConnection) -> Option<Arc<ClientCertificate>> {
    let shown = connection.peer_certificates()?.first()?;
    let read = ClientCertificate::parse(shown);
    if read.is_none() {
        tracing::debug!("a client certificate cannot be read, and names nobody");
    }
    read.map(Arc::new)
}

/// Resolves when a connection has asked for nothing within `limit`; never once it has.
///
/// hyper has a limit for heads too, but starts it only when it knows which protocol is spoken, and never for HTTP/2.
async fn silence(asked: &CancellationToken, limit: Duration) {
    if tokio::time::timeout(limit, asked.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}
