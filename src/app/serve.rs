//! From a registry to a running server: sockets, routes, jobs, and an orderly end.
//!
//! The end has an order: readiness turns 503, requests under way get their answers, the listener closes, transfers
//! finish, jobs stop, the data folder is marked as left cleanly. All of it within the time of grace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::SyncClock;
use super::policy::{FollowDocument, FollowPolicy, PolicyFile, Surroundings};
use super::{App, AppError, DataFolder, greeting};
use crate::config::{Config, Registration, Tls};
use crate::frontends::api::{self, Api};
use crate::frontends::oci::{self, Gate};
use crate::frontends::ops;
use crate::http::middleware::{Envelope, HostGuard, envelope};
use crate::http::origin::Origins;
use crate::http::pages::PageGuard;
use crate::http::server::{Server, ServerOptions};
use crate::http::tls::{TlsFiles, TlsReloader};
use crate::http::{ClockDoubt, Draining, Services};
use crate::jobs::{self, Deliver, ReloadTls, Scrub, SealAudit, ShareLimits, Sweep, SweepVerdicts, WatchAccess};
use crate::telemetry;
use crate::verify::policy::InForce;

/// An app that has its sockets.
#[derive(Debug)]
pub struct Bound {
    app: App,
    listener: TcpListener,
    listens: SocketAddr,
    metrics_listener: Option<TcpListener>,
    tls: Option<Arc<TlsReloader>>,
    policy_file: Option<Arc<PolicyFile>>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything under way was finished.
    Finished,
    /// Transfers were cut when the time of grace was over.
    Cut,
    /// The metadata writer died; nothing can be written any more.
    WriterDied,
}

/// Pause between two looks at whether requests are under way.
const DRAIN_POLL: Duration = Duration::from_millis(25);

impl App {
    /// Takes the configured addresses and reads the certificate.
    ///
    /// # Errors
    /// [`AppError::Listen`], [`AppError::Tls`].
    pub async fn bind(self) -> Result<Bound, AppError> {
        self.make_first_admin().await?;
        self.check_open()?;
        self.auth.read_keys().await.map_err(AppError::Accounts)?;
        let tls = match self.config.tls.clone() {
            Some(Tls { cert, key, client_ca }) => Some(Arc::new(TlsReloader::open(TlsFiles { cert, key, client_ca })?)),
            None => None,
        };
        let policy_file = self.open_policies()?.map(Arc::new);
        if policy_file.is_none() {
            self.open_policy_document().await?;
        }
        let (listener, listens) = listen(self.config.listen, "--listen").await?;
        let metrics_listener = match self.config.metrics_listen {
            Some(address) => Some(listen(address, "`metrics_listen`").await?.0),
            None => None,
        };
        Ok(Bound { app: self, listener, listens, metrics_listener, tls, policy_file })
    }
}

impl App {
    /// Puts the policies in force that a server of this configuration has, for who judges by them without serving.
    ///
    /// # Errors
    /// [`AppError::Policy`], [`AppError::PolicyDocument`].
    pub async fn take_policies(&self) -> Result<(), AppError> {
        match self.open_policies()? {
            Some(_) => Ok(()),
            None => self.open_policy_document().await,
        }
    }

    /// Puts the configured policies in force, before anything can be read.
    fn open_policies(&self) -> Result<Option<PolicyFile>, AppError> {
        let Some(path) = self.config.policy_file.clone() else { return Ok(None) };
        let auth = Arc::clone(&self.auth);
        let around = Surroundings {
            in_force: Arc::clone(self.policies()),
            has_accounts: Box::new(move || auth.has_accounts()),
            clock: Arc::clone(&self.stores.clock),
            metrics: Arc::clone(&self.metrics),
        };
        PolicyFile::open(path, around).map(Some)
    }

    fn policy_document(&self) -> FollowDocument {
        let (registry, auth, metrics) = (&self.registry, &self.auth, &self.metrics);
        FollowDocument { registry: Arc::clone(registry), auth: Arc::clone(auth), metrics: Arc::clone(metrics) }
    }

    /// Puts the policies of the database in force. Those that cannot be used would leave everything open.
    async fn open_policy_document(&self) -> Result<(), AppError> {
        let looked = self.policy_document().look().await;
        looked.map_err(AppError::PolicyDocument)?;
        match self.policies().status().failed {
            Some(failed) => Err(AppError::Policy { path: "the database".to_owned(), faults: failed.faults }),
            None => Ok(()),
        }
    }

    /// Refuses what would let strangers in, and what could not let anybody in.
    fn check_open(&self) -> Result<(), AppError> {
        let Config { listen, insecure_anonymous, .. } = &self.config;
        if *insecure_anonymous {
            return Ok(());
        }
        if !self.auth.has_accounts() && !listen.ip().to_canonical().is_loopback() {
            return Err(AppError::Open(*listen));
        }
        if self.auth.has_accounts() && !self.auth.has_secret() {
            return Err(AppError::SecretMissing);
        }
        Ok(())
    }
}

impl Bound {
    /// Whether nobody is asked who he is.
    pub fn is_open(&self) -> bool {
        !self.app.auth.has_accounts()
    }

    /// Where it listens, with the port that was really taken.
    pub fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// The certificate, when HTTPS is spoken; it follows its files, and can be told to look at once.
    pub fn tls(&self) -> Option<Arc<TlsReloader>> {
        self.tls.clone()
    }

    /// The signature policies that hold.
    pub fn policies(&self) -> Arc<InForce> {
        Arc::clone(self.app.policies())
    }

    /// The file of the signature policies, where one is configured; they follow it, and it can be told to look at once.
    pub fn policy_file(&self) -> Option<Arc<PolicyFile>> {
        self.policy_file.clone()
    }

    /// What to print for the operator: the address, and three lines that push something.
    pub fn greeting(&self) -> String {
        greeting::greeting(self.listens, self.tls.is_some(), self.app.config.public_url.as_ref())
    }

    /// Serves until `stop` fires or the metadata writer dies, and ends in order.
    pub async fn run(self, stop: CancellationToken) -> Ending {
        let Self { app, listener, metrics_listener, tls, policy_file, .. } = self;
        let services = Services {
            registry: Arc::clone(&app.registry),
            metrics: Arc::clone(&app.metrics),
            draining: Draining::default(),
            clock_doubt: ClockDoubt::default(),
        };
        let (workers, ended) = (TaskTracker::new(), CancellationToken::new());
        start_jobs(&workers, &ended, &app, &services, tls.as_ref());
        match policy_file {
            Some(file) => jobs::start(&workers, ended.clone(), FollowPolicy::new(file)),
            None => jobs::start(&workers, ended.clone(), app.policy_document()),
        }
        let options = server_options(&app);
        if let Some(listener) = metrics_listener {
            // Nothing can be pushed or read here, and scrapers come under any name.
            let open = Envelope { guard: None, ..app.envelope(&services) };
            let router = ops::metrics_routes(&services).layer(from_fn_with_state(open, envelope));
            let server = Server::new(listener, router, Arc::clone(&services.metrics), options.clone());
            let ended = ended.clone();
            workers.spawn(async move { server.run(ended).await });
        }
        let closed = CancellationToken::new();
        let server = Server::new(listener, app.router(&services), Arc::clone(&services.metrics), options)
            .with_tls(tls)
            .run(closed.clone());
        let out_of_time = async {
            let deadline = drain(&services, &stop, &app.writer_died, app.config.shutdown_grace).await;
            closed.cancel();
            tokio::time::sleep_until(deadline).await;
        };
        let finished = tokio::select! {
            finished = server => finished,
            () = out_of_time => false,
        };
        ended.cancel();
        workers.close();
        workers.wait().await;
        app.finish_audit().await;
        app.finish_downloads().await;
        let ending = match (app.writer_died.is_cancelled(), finished) {
            (true, _) => Ending::WriterDied,
            (false, true) => Ending::Finished,
            (false, false) => Ending::Cut,
        };
        app.release(ending).await;
        ending
    }
}

impl App {
    fn router(&self, services: &Services) -> Router {
        let (registry, gate) = (Arc::clone(&services.registry), self.gate());
        let api = Api {
            registry: Arc::clone(&registry),
            auth: Arc::clone(&self.auth),
            hooks: Arc::clone(&self.hooks),
            origins: gate.origins.clone(),
            registration_open: self.config.registration == Registration::Open,
            pages: Arc::from(self.config.pages.as_slice()),
        };
        let jwks = Arc::clone(&self.auth);
        ops::routes(services, self.config.metrics_listen.is_none())
            .merge(api::routes(api))
            .route("/.well-known/jwks.json", get(async move || api::jwks(&jwks).await))
            .fallback(move |request: Request| oci::handle(Arc::clone(&registry), gate.clone(), request))
            .layer(from_fn_with_state(self.envelope(services), envelope))
    }

    fn gate(&self) -> Gate {
        Gate { auth: Arc::clone(&self.auth), hooks: Arc::clone(&self.hooks), origins: self.origins() }
    }

    fn origins(&self) -> Origins {
        Origins {
            public_url: self.config.public_url.as_ref().map(|public| Arc::from(public.url.as_str())),
            tls: self.config.tls.is_some(),
            trusted_proxies: Arc::from(self.config.trusted_proxies.as_slice()),
        }
    }

    fn envelope(&self, services: &Services) -> Envelope {
        let public_host = self.config.public_url.as_ref().map(|url| url.host.clone());
        Envelope {
            metrics: Arc::clone(&services.metrics),
            entropy: Arc::clone(&self.entropy),
            guard: (!self.config.insecure_anonymous)
                .then(|| HostGuard { public_host, auth: Some(Arc::clone(&self.auth)) }),
            pages: PageGuard { pages: Arc::from(self.config.pages.as_slice()), origins: self.origins() },
        }
    }

    /// Writes down what was counted, and seals what it can.
    async fn finish_audit(&self) {
        let audit = self.auth.audit();
        let finished = async {
            audit.flush(true).await?;
            self.hooks.tell_denials(true).await?;
            while audit.seal().await? {}
            audit.leave_sealing().await
        };
        if let Err(error) = finished.await {
            tracing::warn!(error = telemetry::chain(&error), "the last refusals were not written down");
        }
    }

    /// Writes down who downloaded what in the last minute.
    async fn finish_downloads(&self) {
        if let Err(error) = self.registry.flush_downloads(true).await {
            tracing::warn!(error = telemetry::chain(&error), "the last downloads were not written down");
        }
    }

    /// Leaves the data folder, marked as clean unless something went wrong.
    pub(super) async fn release(self, ending: Ending) {
        let Some(folder) = self.folder else { return };
        if ending == Ending::WriterDied {
            return;
        }
        let released = tokio::task::spawn_blocking(move || DataFolder::release(folder)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("the data folder could not be marked as left cleanly");
        }
    }
}

async fn listen(address: SocketAddr, choose: &'static str) -> Result<(TcpListener, SocketAddr), AppError> {
    let fault = |source| AppError::Listen { address, source, choose };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let listens = listener.local_addr().map_err(fault)?;
    Ok((listener, listens))
}

fn start_jobs(
    workers: &TaskTracker,
    ended: &CancellationToken,
    app: &App,
    services: &Services,
    tls: Option<&Arc<TlsReloader>>,
) {
    jobs::start(workers, ended.clone(), Sweep::new(Arc::clone(&app.registry)));
    jobs::start(workers, ended.clone(), Scrub::new(Arc::clone(&app.registry)));
    jobs::start(workers, ended.clone(), SweepVerdicts::new(Arc::clone(&app.registry)));
    jobs::start(workers, ended.clone(), WatchAccess::new(Arc::clone(&app.auth)));
    jobs::start(workers, ended.clone(), ShareLimits::new(Arc::clone(&app.auth)));
    jobs::start(workers, ended.clone(), SealAudit::new(Arc::clone(app.auth.audit())));
    jobs::start(workers, ended.clone(), Deliver::new(Arc::clone(&app.hooks), ended.clone()));
    if let Some(clock) = &app.database_clock {
        jobs::start(workers, ended.clone(), SyncClock::new(Arc::clone(clock), services.clock_doubt.clone()));
    }
    if let Some(tls) = tls {
        jobs::start(workers, ended.clone(), ReloadTls::new(Arc::clone(tls)));
    }
}

fn server_options(app: &App) -> ServerOptions {
    ServerOptions {
        connections_max: app.config.connections_max,
        head_time_max: app.config.header_time_max,
        grace: app.config.shutdown_grace,
        ..ServerOptions::default()
    }
}

/// Waits for the stop; then, not ready any more but still listening, until no request waits for its answer.
///
/// Gives the moment at which the time of grace is over.
async fn drain(
    services: &Services,
    stop: &CancellationToken,
    writer_died: &CancellationToken,
    grace: Duration,
) -> Instant {
    tokio::select! {
        () = stop.cancelled() => {}
        () = writer_died.cancelled() => {}
    }
    services.draining.begin();
    let deadline = Instant::now() + grace;
    // A push whose facts cannot be written fails anyway.
    while services.metrics.requests_under_way() > 0 && Instant::now() < deadline && !writer_died.is_cancelled() {
        tokio::time::sleep(DRAIN_POLL).await;
    }
    deadline
}
