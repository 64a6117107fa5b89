//! The registry over a live loopback listener, with a clock and identifiers that the test controls.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use bonded::access::{ClientLimits, WebOrigin};
use bonded::audit::Audit;
use bonded::auth::seal::Secret;
use bonded::auth::{Auth, AuthOptions, Issuers};
use bonded::clock::{Clock, ManualClock, SeededEntropy, Timestamp};
use bonded::frontends;
use bonded::frontends::api::Api;
use bonded::frontends::oci::Gate;
use bonded::hooks::{HookOptions, Hooks, Networks};
use bonded::http::fetch::HttpFetch;
use bonded::http::origin::Origins;
use bonded::metadata;
use bonded::metadata::limits::SharedBuckets;
use bonded::oci::glob::RepoGlobs;
use bonded::registry::{Limits, Registry, RegistryOptions};
use bonded::storage::{self, BlobStore};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};
use crate::stores::Place;

/// When every test begins: 2026-11-01 00:00:00 UTC.
const START_MICROS: i64 = 1_793_491_200_000_000;

/// Runs rules on a registry over SQLite and a folder, and on one over Postgres and a bucket.
macro_rules! on_both_places {
    ($($rule:ident)+) => {
        mod local {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule($crate::app::TestApp::start().await).await;
            })+
        }
        mod shared {
            $(#[tokio::test]
            async fn $rule() {
                let mut nodes = $crate::app::TestApp::builder().start_shared(1).await;
                super::$rule(nodes.pop().expect("a node")).await;
            })+
        }
    };
}
pub(crate) use on_both_places;

/// What a test wants of its registry.
#[derive(Default)]
pub(crate) struct TestAppBuilder {
    options: RegistryOptions,
    registration_open: bool,
    storage: Option<Arc<dyn BlobStore>>,
    clients: ClientLimits,
    buckets: Option<Arc<dyn SharedBuckets>>,
    origins: Origins,
    oidc_hosts: Vec<String>,
    without_secret: bool,
    pages: Vec<WebOrigin>,
}

impl TestAppBuilder {
    /// Changes limits.
    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.options.limits);
        self
    }

    /// Changes whatever the operator decides.
    pub(crate) fn options(mut self, change: impl FnOnce(&mut RegistryOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Repositories in which a manifest may name content that is not there.
    pub(crate) fn sparse(mut self, globs: &[&str]) -> Self {
        self.options.sparse = RepoGlobs::parse(globs).expect("valid globs");
        self
    }

    /// Lets everybody make himself an account.
    pub(crate) fn registration_open(mut self) -> Self {
        self.registration_open = true;
        self
    }

    /// Changes how much clients may send.
    pub(crate) fn clients(mut self, change: impl FnOnce(&mut ClientLimits)) -> Self {
        change(&mut self.clients);
        self
    }

    /// Shares limits elsewhere than in the database.
    pub(crate) fn buckets(mut self, buckets: Arc<dyn SharedBuckets>) -> Self {
        self.buckets = Some(buckets);
        self
    }

    /// Believes what loopback says of those for whom it speaks.
    pub(crate) fn behind_a_proxy(mut self) -> Self {
        let loopback = "127.0.0.0/8".parse().expect("a network");
        self.origins.trusted_proxies = Arc::from([loopback]);
        self
    }

    /// Another store for the bytes than the usual one.
    pub(crate) fn storage(mut self, storage: Arc<dyn BlobStore>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Hosts that may be asked for the keys of others.
    pub(crate) fn oidc_hosts(mut self, hosts: &[&str]) -> Self {
        self.oidc_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self
    }

    /// Makes no tokens.
    pub(crate) fn without_secret(mut self) -> Self {
        self.without_secret = true;
        self
    }

    /// Lets web pages of these origins call.
    pub(crate) fn pages(mut self, origins: &[&str]) -> Self {
        self.pages = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
        self
    }

    /// Starts it.
    pub(crate) async fn start(self) -> TestApp {
        let mut nodes = self.start_nodes(Place::chosen(), 1).await;
        nodes.pop().expect("one node")
    }

    /// Starts several nodes on Postgres and S3, which share nothing else but the time.
    pub(crate) async fn start_shared(self, nodes: u64) -> Vec<TestApp> {
        self.start_nodes(Place::shared(), nodes).await
    }

    async fn start_nodes(mut self, place: Place, nodes: u64) -> Vec<TestApp> {
        // A full disk under the test is no fault of the code under test.
        self.options.limits.disk_free_bytes_min = 0;
        let place = Arc::new(place);
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(START_MICROS)));
        let mut apps = Vec::new();
        for node in 1..=nodes {
            apps.push(self.start_node(&place, &clock, node).await);
        }
        apps
    }

    async fn start_node(&self, place: &Arc<Place>, clock: &Arc<ManualClock>, node: u64) -> TestApp {
        let stores = place.open().await;
        let metadata_faults = Arc::new(metadata::layers::Faulty::new(stores.metadata));
        let storage_faults = Arc::new(storage::layers::Faulty::new(self.storage.clone().unwrap_or(stores.storage)));
        let registry = Arc::new(Registry::new(
            Arc::<metadata::layers::Faulty>::clone(&metadata_faults),
            Arc::<storage::layers::Faulty>::clone(&storage_faults),
            Arc::<ManualClock>::clone(clock),
            Arc::new(SeededEntropy::new(node)),
            self.options.clone(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let options = AuthOptions {
            service: "bonded.test".to_owned(),
            secret: (!self.without_secret).then(|| Secret::new(&[b's'; 32]).expect("a secret")),
            open: false,
            limits: self.clients.clone(),
            buckets: self.buckets.clone(),
            issuers: Issuers::new(self.oidc_hosts.clone(), Arc::new(HttpFetch::default())),
        };
        let times: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
        let entropy = Arc::new(SeededEntropy::new(1_000 + node));
        let audit = Arc::new(Audit::new(stores.audit, Arc::clone(&times), entropy.as_ref()));
        let auth =
            Auth::open(stores.accounts, audit, Arc::clone(&times), Arc::<SeededEntropy>::clone(&entropy), options)
                .await;
        let auth = Arc::new(auth.expect("accounts"));
        let networks = Networks::parse(&["127.0.0.0/8"]).expect("a network");
        let options = HookOptions { networks, source: "https://bonded.test".to_owned(), ..HookOptions::default() };
        let hooks = Arc::new(Hooks::new(stores.webhooks, Arc::clone(&auth), times, entropy, options));
        let gate = Gate { auth: Arc::clone(&auth), hooks: Arc::clone(&hooks), origins: self.origins.clone() };
        let api = Api {
            registry: Arc::clone(&registry),
            auth: Arc::clone(&auth),
            hooks: Arc::clone(&hooks),
            origins: self.origins.clone(),
            registration_open: self.registration_open,
            pages: Arc::from(self.pages.as_slice()),
        };
        let server = serve(listener, api, gate);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without options");
        let (clock, place) = (Arc::clone(clock), Arc::clone(place));
        TestApp { address, clock, place, registry, auth, hooks, metadata_faults, storage_faults, client, server }
    }
}

#[expect(clippy::disallowed_methods, reason = "the handle is kept and ended by the test")]
fn serve(listener: TcpListener, api: Api, gate: Gate) -> JoinHandle<()> {
    let registry = Arc::clone(&api.registry);
    let handler = move |request: Request| frontends::oci::handle(Arc::clone(&registry), gate.clone(), request);
    let router = frontends::api::routes(api).fallback(handler);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.expect("the listener stays open") })
}

/// A running registry; it ends when dropped.
pub(crate) struct TestApp {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its time.
    pub(crate) clock: Arc<ManualClock>,
    /// Where its facts and bytes are.
    pub(crate) place: Arc<Place>,
    /// Its rules.
    pub(crate) registry: Arc<Registry>,
    /// Who may do what.
    pub(crate) auth: Arc<Auth>,
    /// Who is told what happens; receivers may be on loopback.
    pub(crate) hooks: Arc<Hooks>,
    /// Makes its facts fail.
    pub(crate) metadata_faults: Arc<metadata::layers::Faulty>,
    /// Makes its bytes fail.
    pub(crate) storage_faults: Arc<storage::layers::Faulty>,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl TestApp {
    /// A registry with the default options.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// A registry with other options.
    pub(crate) fn builder() -> TestAppBuilder {
        TestAppBuilder::default()
    }

    /// A request for a path, which may be a `Location`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A GET.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A HEAD.
    pub(crate) fn head(&self, path: &str) -> RequestBuilder {
        self.request(Method::HEAD, path)
    }

    /// A POST.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A PATCH.
    pub(crate) fn patch(&self, path: &str) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// A PUT.
    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// A DELETE.
    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Pushes a blob in one request and gives its sha256 digest.
    pub(crate) async fn push_blob(&self, repo: &str, data: &[u8]) -> String {
        let digest = sha256(data);
        let request = self.post(&format!("/v2/{repo}/blobs/uploads/?digest={digest}")).body(data.to_vec());
        expect(request, StatusCode::CREATED).await;
        digest
    }

    /// Pushes a manifest and gives its sha256 digest.
    pub(crate) async fn push_manifest(&self, repo: &str, reference: &str, media_type: &str, manifest: &[u8]) -> String {
        let request = self.put(&format!("/v2/{repo}/manifests/{reference}"));
        let request = request.header("content-type", media_type).body(manifest.to_vec());
        expect(request, StatusCode::CREATED).await;
        sha256(manifest)
    }

    /// Pushes an image with everything it names, and gives the manifest's digest.
    pub(crate) async fn push_image(&self, repo: &str, reference: &str, image: &ImageBuilder) -> String {
        for blob in image.blobs() {
            self.push_blob(repo, &blob).await;
        }
        self.push_manifest(repo, reference, IMAGE_MANIFEST, &image.manifest()).await
    }

    /// Begins an upload session and gives its location.
    pub(crate) async fn start_upload(&self, repo: &str) -> String {
        let answer = expect(self.post(&format!("/v2/{repo}/blobs/uploads/")), StatusCode::ACCEPTED).await;
        header(&answer, "location").to_owned()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Sends a request and insists on a status; the body of any other answer is in the message.
#[track_caller]
pub(crate) fn expect(request: RequestBuilder, status: StatusCode) -> impl Future<Output = Response> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = request.send().await.expect("the server answers");
        if answer.status() == status {
            return answer;
        }
        let (got, url) = (answer.status(), answer.url().clone());
        let body = answer.text().await.unwrap_or_default();
        panic!("{caller}: {url} answered {got} instead of {status}: {body}");
    }
}

/// A header's value; the test fails without one.
#[track_caller]
pub(crate) fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    let value = answer.headers().get(name).unwrap_or_else(|| panic!("the answer has no {name}"));
    value.to_str().expect("a header of visible characters")
}

/// Whether a header is there, and its value.
pub(crate) fn maybe_header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The body as JSON.
pub(crate) async fn json(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("a whole body")).expect("a JSON body")
}

/// The code of the first error in the body.
pub(crate) async fn error_code(answer: Response) -> String {
    let body = json(answer).await;
    body["errors"][0]["code"].as_str().expect("an error code").to_owned()
}
