//! An issuer of tokens on loopback, with keys of its own.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use axum::Router;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A key that signs.
pub(super) struct TestKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    private: EncodingKey,
}

impl TestKey {
    /// A new one.
    pub(super) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let private = match algorithm.family() {
            AlgorithmFamily::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
                let document: Pkcs8V1Der<'_> = pair.as_der().expect("a document");
                // What is in the envelope (RFC 5208), whose head has 26 bytes for a key of this size.
                EncodingKey::from_rsa_der(&document.as_ref()[26..])
            }
            AlgorithmFamily::Ec => {
                let curve = match algorithm {
                    Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
                    _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
                };
                let document = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
                EncodingKey::from_ec_der(document.as_ref())
            }
            AlgorithmFamily::Ed => {
                let pair = Ed25519KeyPair::generate().expect("a key");
                EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a document").as_ref())
            }
            AlgorithmFamily::Hmac => panic!("a key that is shared"),
        };
        Self { kid: kid.to_owned(), algorithm, private }
    }

    /// Its public half.
    pub(super) fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        (jwk["kid"], jwk["use"]) = (json!(self.kid), json!("sig"));
        // The others of its kind may use it too.
        jwk.as_object_mut().expect("an object").remove("alg");
        jwk
    }

    /// A token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}), claims)
    }

    /// A token with any header, signed by this key all the same.
    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    }
}

/// What is signed of a token.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encoded(header), encoded(claims))
}

/// What the issuer answers.
#[derive(Default)]
struct Pages {
    discovery: Value,
    keys: String,
    asked: usize,
    leads_away: bool,
}

/// A running issuer; it ends when dropped.
pub(super) struct FakeIssuer {
    pub(super) host: String,
    pages: Arc<Mutex<Pages>>,
    /// Whether it answers.
    answers: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl FakeIssuer {
    /// Publishes these keys.
    #[expect(clippy::disallowed_methods, reason = "the handle is kept and ended by the test")]
    pub(super) async fn start(keys: &[&TestKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let host = listener.local_addr().expect("an address").to_string();
        let pages = Arc::new(Mutex::new(Pages::default()));
        let (discovery, documents) = (Arc::clone(&pages), Arc::clone(&pages));
        let (answers, mut gate) = watch::channel(true);
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(move || async move { answer(&discovery, true) }))
            .route(
                "/keys",
                get(move || async move {
                    gate.wait_for(|answers| *answers).await.expect("it is not gone");
                    answer(&documents, false)
                }),
            )
            .route("/elsewhere", get(|| async { "{}" }));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it goes on") });
        let issuer = Self { host, pages, answers, server };
        let url = issuer.url();
        issuer.discovers(json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "extra": [1]}));
        issuer.publishes(keys);
        issuer
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// From now on these keys.
    pub(super) fn publishes(&self, keys: &[&TestKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.publishes_text(json!({"keys": keys}).to_string());
    }

    /// From now on this in the place of keys.
    pub(super) fn publishes_text(&self, text: String) {
        self.pages.lock().expect("pages").keys = text;
    }

    /// From now on this discovery document.
    pub(super) fn discovers(&self, document: Value) {
        self.pages.lock().expect("pages").discovery = document;
    }

    /// From now on it answers, or keeps those waiting who ask for its keys.
    pub(super) fn answers(&self, answers: bool) {
        self.answers.send_replace(answers);
    }

    /// From now on everything is elsewhere.
    pub(super) fn leads_away(&self) {
        self.pages.lock().expect("pages").leads_away = true;
    }

    /// How often it was asked for its discovery document.
    pub(super) fn asked(&self) -> usize {
        self.pages.lock().expect("pages").asked
    }
}

fn answer(pages: &Mutex<Pages>, discovery: bool) -> Response {
    let mut pages = pages.lock().expect("pages");
    if discovery {
        pages.asked += 1;
    }
    match (pages.leads_away, discovery) {
        (true, _) => Redirect::temporary("/elsewhere").into_response(),
        (false, true) => pages.discovery.to_string().into_response(),
        (false, false) => pages.keys.clone().into_response(),
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}
