//! Certificates of clients, over TLS: whose names they are, and when they are good for nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bonded::frontends::api::{self, Api};
use bonded::frontends::oci::{self, Gate};
use bonded::http::Metrics;
use bonded::http::origin::Origins;
use bonded::http::server::{Server, ServerOptions};
use bonded::http::tls::{TlsFiles, TlsReloader};
use bonded::metadata::model::accounts::{Actor, UserChange};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Town, user};
use crate::app::{expect, header, json as body_of};
use crate::cli::{Served, run, run_reading, stdout, text};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder};

/// Who signs certificates of clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "clients");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate and its key with these names, `KIND:NAME`.
    fn certify(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for name in names {
            let (kind, value) = name.split_once(':').expect("a kind");
            let ascii = || value.try_into().expect("ASCII");
            match kind {
                "uri" => params.subject_alt_names.push(SanType::URI(ascii())),
                "dns" => params.subject_alt_names.push(SanType::DnsName(ascii())),
                "email" => params.subject_alt_names.push(SanType::Rfc822Name(ascii())),
                _ => params.distinguished_name.push(DnType::CommonName, value),
            }
        }
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        format!("{}{}", params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

/// A town behind TLS, which takes certificates of one authority.
struct Gatehouse {
    town: Town,
    authority: Authority,
    folder: TempDir,
    tls: Arc<TlsReloader>,
    address: SocketAddr,
    root: String,
    server: JoinHandle<bool>,
}

impl Drop for Gatehouse {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Gatehouse {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept and ended by the test")]
    async fn build() -> Self {
        let (town, authority, folder) = (Town::build().await, Authority::new(), tempfile::tempdir().expect("a folder"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let write = |name: &str, text: String| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let tls = Arc::new(
            TlsReloader::open(TlsFiles {
                cert: write("cert.pem", made.cert.pem()),
                key: write("key.pem", made.signing_key.serialize_pem()),
                client_ca: Some(write("ca.pem", authority.pem())),
            })
            .expect("usable files"),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let metrics = Arc::new(Metrics::default());
        let server = Server::new(listener, router(&town), metrics, ServerOptions::default());
        let server = tokio::spawn(server.with_tls(Some(Arc::clone(&tls))).run(CancellationToken::new()));
        Self { town, authority, folder, tls, address, root: made.cert.pem(), server }
    }

    /// A client with a certificate, or without one.
    fn client(&self, identity: Option<&str>) -> Client {
        let root = reqwest::Certificate::from_pem(self.root.as_bytes()).expect("a certificate");
        let builder = Client::builder().no_proxy().tls_certs_only([root]);
        let builder = match identity {
            Some(pem) => builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity")),
            None => builder,
        };
        builder.build().expect("a client")
    }

    /// A client with a certificate with these names.
    fn with(&self, names: &[&str]) -> Client {
        self.client(Some(&self.authority.certify(names, |_| {})))
    }

    fn call(&self, client: &Client, method: Method, path: &str) -> RequestBuilder {
        client.request(method, format!("https://localhost:{}{path}", self.address.port()))
    }

    fn get(&self, client: &Client, path: &str) -> RequestBuilder {
        self.call(client, Method::GET, path)
    }

    fn put(&self, client: &Client, repo: &str) -> RequestBuilder {
        let manifest = ImageBuilder::new().layer(b"layer").manifest();
        let put = self.call(client, Method::PUT, &format!("/v2/{repo}/manifests/v2"));
        put.header("content-type", IMAGE_MANIFEST).body(manifest)
    }

    async fn give(&self, to: &str, name: &str) {
        let (user, name) = (user(to), name.parse().expect("a name"));
        self.town.app.auth.add_certificate(&user, &name, &Actor::command_line()).await.expect("given");
    }
}

fn router(town: &Town) -> Router {
    let (registry, auth, hooks) = (&town.app.registry, &town.app.auth, &town.app.hooks);
    let gate = Gate { auth: Arc::clone(auth), hooks: Arc::clone(hooks), origins: Origins::default() };
    let api = Api {
        registry: Arc::clone(registry),
        auth: Arc::clone(auth),
        hooks: Arc::clone(hooks),
        origins: Origins::default(),
        registration_open: false,
        pages: Arc::from([]),
    };
    let registry = Arc::clone(registry);
    let handler = move |request: Request| oci::handle(Arc::clone(&registry), gate.clone(), request);
    Router::new().merge(api::routes(api)).fallback(handler)
}

#[tokio::test]
async fn a_certificate_is_the_account_that_has_a_name_in_it() {
    let gatehouse = Gatehouse::build().await;
    let names = ["uri:spiffe://example.com/ci", "dns:ci.example.com", "email:ci@example.com", "cn:ci robot"];
    for name in names {
        gatehouse.give("writer", name).await;
    }
    for name in names {
        let client = gatehouse.with(&[name]);
        expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
        expect(gatehouse.put(&client, "closed/app"), StatusCode::CREATED).await;
        expect(gatehouse.put(&client, "loose"), StatusCode::FORBIDDEN).await;
        let me = body_of(expect(gatehouse.get(&client, "/api/v1/users/me"), StatusCode::OK).await).await;
        assert_eq!(me["name"], "writer");
        // Clients that only know tokens have one for it.
        let token = gatehouse.get(&client, "/v2/token?offline_token=true&scope=repository:closed/app:pull,push");
        let token = body_of(expect(token, StatusCode::OK).await).await;
        assert!(token["refresh_token"].is_null(), "it would outlast the certificate");
        let bearer =
            gatehouse.put(&gatehouse.client(None), "closed/app").bearer_auth(token["token"].as_str().expect("it"));
        expect(bearer, StatusCode::CREATED).await;
    }
    // The case of a host does not matter, and names beside the one that counts do no harm.
    let client = gatehouse.with(&["cn:somebody", "dns:CI.Example.com", "dns:*.example.com"]);
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
}

#[tokio::test]
async fn a_name_that_nobody_has_is_nobody() {
    let gatehouse = Gatehouse::build().await;
    gatehouse.give("writer", "cn:ci").await;
    gatehouse.give("writer", "dns:ci.example.com").await;
    for names in [
        &["cn:CI"][..],
        &["cn:ci "],
        &["dns:ci"],
        &["uri:ci.example.com"],
        &["dns:sub.ci.example.com"],
        &["dns:*.example.com"],
        &["cn:stranger", "email:ci@ci.example.com"],
        &[],
    ] {
        let client = gatehouse.with(names);
        let answer = expect(gatehouse.get(&client, "/v2/"), StatusCode::UNAUTHORIZED).await;
        assert!(!header(&answer, "www-authenticate").contains("error="), "as without a certificate: {names:?}");
        let token = gatehouse.get(&client, "/v2/token?scope=repository:open/app:pull");
        let token = body_of(expect(token, StatusCode::OK).await).await;
        let pull =
            gatehouse.get(&client, "/v2/open/app/manifests/v1").bearer_auth(token["token"].as_str().expect("it"));
        expect(pull, StatusCode::OK).await;
        expect(gatehouse.get(&client, "/api/v1/users/me"), StatusCode::UNAUTHORIZED).await;
    }
    expect(gatehouse.get(&gatehouse.client(None), "/v2/"), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn what_no_authority_vouches_for_is_refused_in_the_handshake() {
    let gatehouse = Gatehouse::build().await;
    gatehouse.give("root", "cn:ci").await;
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let of_server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    for bad in [
        Authority::new().certify(&["cn:ci"], |_| {}),
        gatehouse.authority.certify(&["cn:ci"], expired),
        gatehouse.authority.certify(&["cn:ci"], early),
        gatehouse.authority.certify(&["cn:ci"], of_server),
    ] {
        assert!(gatehouse.get(&gatehouse.client(Some(&bad)), "/v2/").send().await.is_err());
    }
    let good = gatehouse.with(&["cn:ci"]);
    expect(gatehouse.get(&good, "/v2/"), StatusCode::OK).await;
    // An authority that is taken away vouches for nothing more.
    let next = Authority::new();
    std::fs::write(gatehouse.folder.path().join("ca.pem"), next.pem()).expect("written");
    assert!(gatehouse.tls.reload_now().expect("usable files"));
    assert!(gatehouse.get(&gatehouse.with(&["cn:ci"]), "/v2/").send().await.is_err());
    let client = gatehouse.client(Some(&next.certify(&["cn:ci"], |_| {})));
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
    std::fs::write(gatehouse.folder.path().join("ca.pem"), "none").expect("written");
    let refused = gatehouse.tls.reload_now().expect_err("there is none").to_string();
    assert!(refused.contains("ca.pem"), "{refused}");
}

#[tokio::test]
async fn an_account_that_ends_takes_its_certificates_along() {
    let gatehouse = Gatehouse::build().await;
    let (auth, by) = (&gatehouse.town.app.auth, Actor::command_line());
    gatehouse.give("writer", "cn:ci").await;
    gatehouse.give("reader", "dns:reader.example.com").await;
    let client = gatehouse.with(&["cn:ci"]);
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
    let both = gatehouse.with(&["cn:ci", "dns:reader.example.com"]);
    let answer = expect(gatehouse.get(&both, "/v2/"), StatusCode::UNAUTHORIZED).await;
    assert!(header(&answer, "www-authenticate").contains(r#"error="invalid_token""#), "nobody is two");

    auth.change_user(&user("writer"), &UserChange::Disabled(true), &by).await.expect("disabled");
    let answer = expect(gatehouse.get(&client, "/v2/"), StatusCode::UNAUTHORIZED).await;
    assert!(header(&answer, "www-authenticate").contains(r#"error="invalid_token""#));
    expect(gatehouse.get(&client, "/api/v1/users/me"), StatusCode::UNAUTHORIZED).await;
    auth.change_user(&user("writer"), &UserChange::Disabled(false), &by).await.expect("enabled");
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
    // Another process takes the name away; this one looks every second.
    let name = "cn:ci".parse().expect("a name");
    let taken = auth.accounts().certificate_delete(&user("writer"), &name, auth.now(), &by).await;
    assert!(taken.expect("an answer"));
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
    auth.refresh().await.expect("the new state");
    expect(gatehouse.get(&client, "/v2/"), StatusCode::UNAUTHORIZED).await;
}

/// A connection may be older than the certificate by which it was begun.
#[tokio::test]
async fn a_certificate_ends_although_its_connection_goes_on() {
    let gatehouse = Gatehouse::build().await;
    gatehouse.give("writer", "cn:ci").await;
    let identity = gatehouse.authority.certify(&["cn:ci"], |params| params.not_after = date_time_ymd(2100, 1, 1));
    let client = gatehouse.client(Some(&identity));
    expect(gatehouse.get(&client, "/v2/"), StatusCode::OK).await;
    gatehouse.town.app.clock.advance(Duration::from_hours(24 * 365 * 80));
    expect(gatehouse.get(&client, "/v2/"), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn words_count_more_than_a_certificate() {
    let gatehouse = Gatehouse::build().await;
    gatehouse.give("writer", "cn:ci").await;
    let (client, reader) = (gatehouse.with(&["cn:ci"]), gatehouse.town.token("reader", &[]).await);
    expect(gatehouse.put(&client, "closed/app").bearer_auth(&reader), StatusCode::FORBIDDEN).await;
    expect(gatehouse.get(&client, "/v2/").bearer_auth("wrong"), StatusCode::UNAUTHORIZED).await;
    expect(gatehouse.get(&client, "/v2/").basic_auth("", Some("")), StatusCode::OK).await;
    // A browser shows its certificate for the pages of others too.
    let page = |request: RequestBuilder| request.header("origin", "https://evil.example.com");
    expect(page(gatehouse.put(&client, "closed/app")), StatusCode::UNAUTHORIZED).await;
    expect(page(gatehouse.get(&client, "/api/v1/users/me")), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn only_those_who_may_do_everything_give_names() {
    let gatehouse = Gatehouse::build().await;
    gatehouse.give("root", "cn:root").await;
    gatehouse.give("owner", "cn:owner").await;
    let (root, owner) = (gatehouse.with(&["cn:root"]), gatehouse.with(&["cn:owner"]));
    let path = "/api/v1/users/owner/certificates";
    let wish = |name: &str| json!({"name": name}).to_string();
    let add = |client: &Client, name: &str| gatehouse.call(client, Method::POST, path).body(wish(name));
    expect(add(&owner, "cn:new"), StatusCode::FORBIDDEN).await;
    expect(add(&gatehouse.client(None), "cn:new"), StatusCode::UNAUTHORIZED).await;
    expect(add(&root, "cn:root"), StatusCode::CONFLICT).await;
    expect(add(&root, "new"), StatusCode::BAD_REQUEST).await;
    let made = body_of(expect(add(&root, "dns:New.example.com"), StatusCode::CREATED).await).await;
    let since = gatehouse.town.app.auth.now().as_micros() / 1_000_000;
    let entry = |name: &str| json!({"name": name, "created_at": since});
    assert_eq!(made, json!({"certificates": [entry("cn:owner"), entry("dns:new.example.com")]}));
    let listed = body_of(expect(gatehouse.get(&owner, path), StatusCode::OK).await).await;
    assert_eq!(listed, made);
    expect(gatehouse.get(&owner, "/api/v1/users/root/certificates"), StatusCode::FORBIDDEN).await;
    expect(gatehouse.get(&root, "/api/v1/users/none/certificates"), StatusCode::NOT_FOUND).await;
    let end = |client: &Client| gatehouse.call(client, Method::DELETE, &format!("{path}?name=dns:new.example.com"));
    expect(end(&owner), StatusCode::FORBIDDEN).await;
    expect(end(&root), StatusCode::NO_CONTENT).await;
    expect(end(&root), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn the_command_line_does_the_same() {
    let served = Served::start(&[]).await;
    let data = served.data();
    let data = ["--data", text(&data)];
    let verb = async |arguments: &[&str]| run(&[arguments, &data[..]].concat()).await;
    let add = [&["user", "add", "ann", "--admin", "--password-stdin"], &data[..]].concat();
    assert!(run_reading(&add, "correct horse battery staple 17").await.status.success());
    let cert = |what: &'static str| ["user", "cert", what, "ann", "uri:spiffe://example.com/ann"];
    assert_eq!(stdout(&verb(&cert("add")).await), "uri:spiffe://example.com/ann is ann\n");
    let again = verb(&cert("add")).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!(verb(&["user", "cert", "add", "ann", "ann"]).await.status.code(), Some(2));
    assert_eq!(stdout(&verb(&["user", "cert", "ls", "ann"]).await), "uri:spiffe://example.com/ann\n");
    assert_eq!(stdout(&verb(&cert("rm")).await), "uri:spiffe://example.com/ann is ann no more\n");
    assert_eq!(verb(&cert("rm")).await.status.code(), Some(1));
}
