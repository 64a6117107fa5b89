//! What the proxies share: a runtime of their own, connections from clients, requests passed on as they are.
//!
//! Nothing is rewritten: `Host`, path and query go on as they came, so signatures over them stay valid. A body is
//! streamed both ways, and nothing is sent twice.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Any error; hyper wants no more of a body or a service than that it can be printed.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;
/// A body of any origin.
pub(super) type Body = UnsyncBoxBody<Bytes, Error>;

/// A listener on loopback with a runtime of its own, which ends with the value.
#[derive(Debug)]
pub(super) struct Listening {
    address: SocketAddr,
    /// Always there until the value is dropped.
    runtime: Option<Runtime>,
}

impl Listening {
    /// Listens on a free port and serves each connection by `serve`.
    pub(super) fn start<S, F>(serve: S) -> Result<Self>
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(WORKERS).thread_name("proxy").enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a proxy")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let guard = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(guard);
        runtime.spawn(accept(listener, serve));
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// `127.0.0.1:port`.
    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped the slow way inside another one.
            runtime.shutdown_background();
        }
    }
}

async fn accept<S, F>(listener: TcpListener, serve: S)
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    // Small answers would wait for one another otherwise; a socket that is gone tells so later.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves HTTP/1.1 on a connection; a request for which `answer` fails ends the connection without an answer.
pub(super) async fn serve_http<A, F>(stream: TcpStream, answer: Arc<A>)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>, Error>>,
{
    let service = service_fn(move |request| answer(request));
    // A client that goes away is none of the proxy's business.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Sends requests to upstreams over connections that are kept.
#[derive(Clone)]
pub(super) struct Forwarder {
    client: Client<HttpConnector, Body>,
}

impl Forwarder {
    /// A forwarder without connections.
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).set_host(false).build(connector);
        Self { client }
    }

    /// Sends a request to `authority` (`host:port`).
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        authority: &Authority,
    ) -> Result<Response<Body>, Error> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority.clone());
        *request.uri_mut() = Uri::from_parts(uri)?;
        request.headers_mut().remove(CONNECTION);
        let mut response = self.client.request(request).await?;
        response.headers_mut().remove(CONNECTION);
        Ok(response.map(boxed))
    }
}

/// A body as it comes.
pub(super) fn boxed(body: Incoming) -> Body {
    body.map_err(Error::from).boxed_unsync()
}

/// A whole body.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What a proxy says when nobody is behind it.
pub(super) fn bad_gateway(error: &Error) -> Response<Body> {
    let mut response = Response::new(full(format!("no answer from behind the proxy: {error}\n")));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The authority of an upstream, given as such or as `http://host:port`.
pub(super) fn authority(upstream: &str) -> Result<Authority> {
    let text = upstream.strip_prefix("http://").unwrap_or(upstream).trim_end_matches('/');
    text.parse().with_context(|| format!("{upstream} is not host:port"))
}

/// Threads of each proxy.
const WORKERS: usize = 2;
