//! A receiver of webhooks on loopback, in this process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a receiver answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// With this status.
    Status(u16),
    /// With a redirect to another path of its own.
    Redirect,
    /// Without end.
    Endless,
    /// Never.
    Never,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub(crate) fn kind(&self) -> String {
        self.event()["type"].as_str().expect("a type").to_owned()
    }

    /// Whether it is signed as Standard Webhooks says, by a secret in its text's form.
    pub(crate) fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body).as_bytes(),
        );
        let signature = self.header("webhook-signature").strip_prefix("v1,").expect("the first version");
        mac.verify_slice(&STANDARD.decode(signature).expect("base64")).is_ok()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("visible characters")
    }
}

#[derive(Debug)]
struct State {
    reply: Reply,
    received: Vec<Received>,
    under_way: usize,
    most_under_way: usize,
}

/// The receiver; it ends when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept and ended by the test")]
    pub(crate) async fn start() -> Self {
        let state = State { reply: Reply::Status(204), received: Vec::new(), under_way: 0, most_under_way: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let router = Router::new().fallback(move |uri: http::Uri, headers: HeaderMap, body: Bytes| {
            receive(Arc::clone(&shared), uri, headers, body)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it listens") });
        Self { address, state, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in?key=k", self.address)
    }

    /// What it answers from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reply = reply;
    }

    /// What came since this was asked last.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).received)
    }

    /// How many requests there were at once, at most.
    pub(crate) fn most_under_way(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).most_under_way
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(state: Arc<Mutex<State>>, uri: http::Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).expect("UTF-8");
    let reply = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.received.push(Received { path: uri.to_string(), headers, body });
        state.under_way += 1;
        state.most_under_way = state.most_under_way.max(state.under_way);
        state.reply
    };
    // Others have their turn, if they may have one.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let answer = match reply {
        Reply::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Reply::Redirect => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
        Reply::Endless => {
            let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
            axum::body::Body::from_stream(futures_util::stream::repeat_with(piece)).into_response()
        }
        Reply::Never => std::future::pending().await,
    };
    state.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
    answer
}
