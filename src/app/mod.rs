//! The one place that names concrete drivers: configuration in, a registry out.
//!
//! A server holds its data folder alone, if it needs one; the verbs of the command line open the same stores beside it, and
//! leave the schema as it is. On Postgres and S3 there is nothing local to hold, and any number of servers may run.

mod clock;
mod faults;
pub(crate) mod files;
mod first_admin;
mod folder;
mod greeting;
mod policy;
mod secret;
mod serve;
mod stores;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::auth::{Auth, AuthError};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy, Timestamp};
use crate::config::Config;
use crate::hooks::{HookOptions, Hooks};
use crate::http::Metrics;
use crate::http::tls::TlsError;
use crate::metadata::MetadataError;
use crate::metadata::postgres::PostgresClock;
use crate::registry::{Registry, RegistryError, RegistryOptions};
use crate::storage::StorageError;
use crate::telemetry;
use crate::transfer;
use crate::verify::policy::{Faults, InForce};

pub use folder::{DataFolder, FolderError};
pub use policy::{PolicyFile, Reload, read_policies, read_policies_inlined};
pub use serve::{Bound, Ending};
pub use stores::Stores;

/// How far back blobs are read again after an unclean stop without strict durability: the kernel writes back what is
/// older than half a minute, so this is ample.
const UNCLEAN_WINDOW: Duration = Duration::from_mins(10);

/// Why the parts cannot be put together; one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder cannot be had.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database cannot be opened.
    #[error("{place}: the database cannot be opened: {}", telemetry::chain(source))]
    Database {
        /// Its file, or its address without the password.
        place: String,
        /// What the driver says.
        source: MetadataError,
    },
    /// The blobs cannot be opened.
    #[error("{place}: the blobs cannot be opened: {}", telemetry::chain(source))]
    Storage {
        /// Their folder or bucket.
        place: String,
        /// What the driver says.
        source: StorageError,
    },
    /// The kernel does not say which run of the machine this is.
    #[error("the boot id of this machine cannot be read: {0}")]
    BootId(#[source] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with {choose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
        /// The flag or key that chooses it.
        choose: &'static str,
    },
    /// The certificate or its key cannot be used.
    #[error("HTTPS cannot be spoken: {}", telemetry::chain(.0))]
    Tls(#[from] TlsError),
    /// The database is the target of a copy that was never finished.
    #[error("this is the target of a copy that was not finished; run `bonded store copy` again until it is")]
    CopyUnfinished,
    /// The database cannot say whether it is whole.
    #[error("the database does not answer: {}", telemetry::chain(.0))]
    Instance(#[source] MetadataError),
    /// The secret cannot be read or made.
    #[error("{path}: the secret cannot be used: {why}")]
    Secret {
        /// Its file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The first account cannot be made.
    #[error("{path}: the password of the first account cannot be used: {why}")]
    AdminPassword {
        /// Its file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There are accounts, or there would be, and no secret under which their tokens could be signed.
    #[error(
        "accounts need a secret, so `auth.secret_file` must name a file of 32 bytes or more, the same on every node; make one \
         with `openssl rand -base64 48 > secret`"
    )]
    SecretMissing,
    /// Everybody could push from other machines.
    #[error(
        "{0} can be reached from other machines, where everybody could push; make an account with `bonded user add NAME \
         --admin --password-stdin` first, listen on 127.0.0.1, or set `insecure_anonymous = true` if that is what you want"
    )]
    Open(SocketAddr),
    /// The accounts cannot be read.
    #[error("the accounts cannot be read: {}", telemetry::chain(.0))]
    Accounts(#[source] AuthError),
    /// The signature policies cannot be used.
    #[error("{path}: the signature policies cannot be used:\n{faults}")]
    Policy {
        /// Their file.
        path: String,
        /// What is wrong with it.
        faults: Faults,
    },
    /// The signature policies in the database cannot be read.
    #[error("the signature policies in the database cannot be read: {}", telemetry::chain(.0))]
    PolicyDocument(#[source] RegistryError),
    /// The check after an unclean stop failed.
    #[error("the blobs cannot be read again after the unclean stop: {}", telemetry::chain(.0))]
    Recheck(#[source] RegistryError),
}

impl AppError {
    /// Whether nothing was ever served here.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Database { source: MetadataError::Absent, .. })
    }
}

/// Puts the parts together.
#[derive(Debug)]
pub struct AppBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A registry over the configured drivers.
#[derive(Debug)]
pub struct App {
    config: Config,
    registry: Arc<Registry>,
    auth: Arc<Auth>,
    hooks: Arc<Hooks>,
    stores: transfer::Stores,
    metrics: Arc<Metrics>,
    entropy: Arc<dyn Entropy>,
    database_clock: Option<Arc<PostgresClock>>,
    writer_died: CancellationToken,
    folder: Option<DataFolder>,
}

impl AppBuilder {
    /// With the machine's clock and random numbers.
    pub fn new(config: Config) -> Self {
        Self { config, clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// With another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With other random numbers.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Takes the data folder for this process when it needs one, makes what is missing, and brings the schema up to date.
    ///
    /// # Errors
    /// Any [`AppError`].
    pub async fn open(self) -> Result<App, AppError> {
        let app = self.open_alone().await?;
        let whole = app.stores.metadata.copy_serve(app.stores.clock.now()).await.map_err(AppError::Instance)?;
        if whole { Ok(app) } else { Err(AppError::CopyUnfinished) }
    }

    /// The same, for filling it instead of serving it.
    ///
    /// # Errors
    /// Any [`AppError`].
    pub async fn open_alone(self) -> Result<App, AppError> {
        let folder = if self.config.uses_folder() {
            Some(DataFolder::take(&self.config.data, self.config.durability)?)
        } else {
            None
        };
        let unclean_since = folder.as_ref().and_then(DataFolder::unclean_since);
        // What it waits for is large, and would be within every future that opens an app.
        let mut app = Box::pin(self.assemble(true)).await?;
        app.folder = folder;
        if let Some(stopped) = unclean_since {
            app.recheck(stopped).await?;
        }
        Ok(app)
    }

    /// Opens the stores beside servers that may be running. They must have been served before.
    ///
    /// # Errors
    /// Any [`AppError`] but those of taking the folder.
    pub async fn open_beside(self) -> Result<App, AppError> {
        Box::pin(self.assemble(false)).await
    }

    async fn assemble(self, migrate: bool) -> Result<App, AppError> {
        let Self { config, clock, entropy } = self;
        let metrics = Arc::new(Metrics::default());
        let opened = Stores::open(&config, migrate, clock).await?.measured(&metrics).with_trap();
        let Stores { metadata, accounts, audit, webhooks, storage, clock, database_clock, writer_died } = opened;
        let stores = transfer::Stores { metadata, storage, clock };
        let registry_options = registry_options(&config, entropy.as_ref());
        let transfer::Stores { metadata, storage, clock } = stores.clone();
        let options = secret::auth_options(&config, migrate, entropy.as_ref())?;
        let audit = Arc::new(Audit::new(audit, Arc::clone(&clock), entropy.as_ref()));
        let auth = Auth::open(accounts, audit, Arc::clone(&clock), Arc::clone(&entropy), options).await;
        let auth = Arc::new(auth.map_err(AppError::Accounts)?);
        let hooks = Hooks::new(
            webhooks,
            Arc::clone(&auth),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            hook_options(&config, auth.service()),
        );
        let registry = Arc::new(Registry::new(metadata, storage, clock, Arc::clone(&entropy), registry_options));
        Ok(App {
            config,
            registry,
            auth,
            hooks: Arc::new(hooks),
            stores,
            metrics,
            entropy,
            database_clock,
            writer_died,
            folder: None,
        })
    }
}

/// Where webhooks may be sent, and what they say that they come from.
fn hook_options(config: &Config, service: &str) -> HookOptions {
    let source = config.public_url.as_ref().map_or_else(|| service.to_owned(), |public| public.url.clone());
    HookOptions { networks: config.webhook_networks.clone(), source, ..HookOptions::default() }
}

/// The operator's options, and what follows from how many processes may write.
fn registry_options(config: &Config, entropy: &dyn Entropy) -> RegistryOptions {
    let options = RegistryOptions { policy_file: config.policy_file.is_some(), ..config.registry.clone() };
    if config.database.is_none() && config.s3.is_none() {
        return options;
    }
    // Another node may still be writing to a session that this one ends, or a store take what was sent to it long ago;
    // neither for longer than a request lasts.
    let dead_session_grace = options.limits.request_time_max;
    let node = format!("{}-{}", std::process::id(), hex::encode(&entropy.bytes16()[..4]));
    RegistryOptions { dead_session_grace, node, ..options }
}

impl App {
    /// The rules.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Who may do what.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Refuses a first account with which no server of this configuration would start any more.
    ///
    /// # Errors
    /// [`AppError::SecretMissing`], [`AppError::Accounts`].
    pub async fn check_first_account(&self) -> Result<(), AppError> {
        let Config { secret_file, insecure_anonymous, .. } = &self.config;
        if secret_file.is_some() || *insecure_anonymous || !secret::must_be_named(&self.config) {
            return Ok(());
        }
        let state = self.auth.refresh().await.map_err(AppError::Accounts)?;
        if state.accounts { Ok(()) } else { Err(AppError::SecretMissing) }
    }

    /// The signature policies that hold; none before it is bound.
    pub fn policies(&self) -> &Arc<InForce> {
        self.registry.gate().policies()
    }

    /// Who is told what happens.
    pub fn hooks(&self) -> &Arc<Hooks> {
        &self.hooks
    }

    /// The stores below them, for moving everything at once.
    pub fn stores(&self) -> &transfer::Stores {
        &self.stores
    }

    /// Finishes what is under way and leaves the data folder, if it was taken, marked as left cleanly.
    pub async fn close(self) {
        self.stores.metadata.close().await;
        self.release(Ending::Finished).await;
    }

    /// Reads again what may not have reached the disk before an unclean stop.
    async fn recheck(&self, stopped: Timestamp) -> Result<(), AppError> {
        let window = i64::try_from(UNCLEAN_WINDOW.as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::from_micros(stopped.as_micros().saturating_sub(window));
        let damaged = self.registry.rehash_recent(since).await.map_err(AppError::Recheck)?;
        tracing::warn!(damaged, "the last server stopped uncleanly; its last blobs were read again");
        Ok(())
    }
}
