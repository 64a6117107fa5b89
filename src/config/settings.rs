//! The configuration file as it is written: every key, its type and its default, and nothing of what a value means.
//!
//! The JSON Schema, the table of environment variables and the reference page are all made from these structs, so their
//! docstrings are read by operators.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::registry::{Limits, RegistryOptions};

use super::api::ApiSettings;
use super::downloads::DownloadSettings;
use super::limits::{LoginSettings, RateSettings};
use super::retention::RetentionSettings;
use super::scrub::ScrubSettings;
use super::storage::StorageSettings;
use super::trust::TrustSettings;
use super::units::{DatabaseUrl, Size, Span, positive};

/// The configuration of Bonded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port to listen on. Anything beyond loopback needs `insecure_anonymous = true`, as long as there are
    /// no accounts.
    pub listen: String,
    /// Folder of the database and the blobs, as far as they are not elsewhere (`database`, `[storage.s3]`); made when it
    /// is missing.
    pub data: PathBuf,
    /// Where the facts are, such as `postgres://user@host:5432/bonded`; without it they are in SQLite in `data`. A
    /// password may stand in the address, in `PGPASSWORD`, or in the file that `PGPASSFILE` names.
    pub database: Option<DatabaseUrl>,
    /// `strict`: an acknowledged push survives a power cut. `relaxed`: faster, no fsync; after an unclean stop the blobs
    /// of the last ten minutes are read again before they are served.
    pub durability: Durability,
    /// The address under which clients see this registry, such as `https://registry.example.com`.
    pub public_url: Option<String>,
    /// Repositories (globs; `*` is one segment, `**` any number) in which a manifest may name content that is not there.
    pub sparse: Vec<String>,
    /// Tags that cannot be moved or deleted once set: `repo-glob[:tag-glob]`, the tag part `*` when absent.
    pub immutable_tags: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` count, such as
    /// `10.0.0.0/8`. From anybody else these headers are not looked at.
    pub trusted_proxies: Vec<String>,
    /// Lets everybody who reaches `listen` push and pull, wherever they come from.
    pub insecure_anonymous: bool,
    /// File with the password of the first account, `admin`, which is made at the first start. Once there are accounts it is
    /// not read.
    pub admin_password_file: Option<PathBuf>,
    /// Address and port for `/metrics` and `/health`, when they should not be on `listen`. They name no repository and may stand on any
    /// address.
    pub metrics_listen: Option<String>,
    /// Who may do what, once there are accounts.
    pub auth: AuthSettings,
    /// HTTPS. The files are read again when they change.
    pub tls: TlsSettings,
    /// Where the bytes are.
    pub storage: StorageSettings,
    /// How long content is kept that nothing names.
    pub gc: GcSettings,
    /// What goes by rule although nobody deleted it.
    pub retention: RetentionSettings,
    /// Upload sessions.
    pub uploads: UploadSettings,
    /// Limits. Of these none can be switched off but those of `limits.rate`.
    pub limits: LimitSettings,
    /// The log on standard error.
    pub log: LogSettings,
    /// How the server stops.
    pub shutdown: ShutdownSettings,
    /// What namespaces have sent elsewhere.
    pub webhooks: WebhookSettings,
    /// Who may call `/api/v1` from where.
    pub api: ApiSettings,
    /// What is written down of downloads.
    pub downloads: DownloadSettings,
    /// Reading again what is stored, so that damage is found before a client finds it.
    pub scrub: ScrubSettings,
    /// Whose signatures images need.
    pub trust: TrustSettings,
}

/// How an acknowledged push is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On disk before the answer.
    Strict,
    /// With the operating system before the answer.
    Relaxed,
}

/// `[auth]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// File of the secret (32 bytes or more, the same on every node) that seals the keys which sign tokens. A server on
    /// loopback with SQLite makes one in the data folder.
    pub secret_file: Option<PathBuf>,
    /// Whether anybody may make himself an account at `/api/v1/auth/register`.
    pub registration: Registration,
    /// Hosts that may be asked for the keys of those whose tokens rules for publishing take, each with its port where that
    /// is not the usual one: `["token.actions.githubusercontent.com", "gitlab.com"]`. HTTPS only, beyond loopback.
    pub oidc_hosts: Vec<String>,
}

/// Who may make accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Only those who may do everything.
    #[default]
    Closed,
    /// Everybody.
    Open,
}

/// `[tls]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file of the certificate chain, the server's own certificate first.
    pub cert: Option<PathBuf>,
    /// PEM file of the private key.
    pub key: Option<PathBuf>,
    /// PEM file of the authorities whose certificates clients may show, to be the account that has a name in them
    /// (`bonded user cert add`). Nobody has to show one; one of another authority is refused.
    pub client_ca: Option<PathBuf>,
}

/// `[gc]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GcSettings {
    /// How long a blob that no manifest names is kept after an upload, a mount or a HEAD.
    pub blob_lease: Span,
    /// How long a blob that a manifest names is kept after a HEAD, should that manifest be deleted.
    pub head_lease: Span,
}

/// `[uploads]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UploadSettings {
    /// How long an upload session lives after its last progress.
    pub expire: Span,
}

/// `[limits]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest manifest; at least 4 MiB.
    pub manifest_bytes_max: Size,
    /// Deepest nesting of JSON in a manifest; at least 16.
    pub manifest_depth_max: usize,
    /// Most descriptors a manifest may name.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub manifest_descriptors_max: usize,
    /// Most annotations on one object of a manifest; at least 1000.
    pub manifest_annotations_max: usize,
    /// Largest blob.
    pub blob_bytes_max: Size,
    /// Largest blob that is kept in the database instead of a file; at most 1 MiB.
    pub inline_bytes_max: Size,
    /// Most entries of a page of tags.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub tag_page_max: u32,
    /// Most entries of a page of repositories.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub catalog_page_max: u32,
    /// Most entries of a page of referrers.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub referrer_page_max: u32,
    /// Most bytes of a page of referrers.
    pub referrer_page_bytes_max: Size,
    /// Most ranges in one request.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub ranges_max: usize,
    /// Most upload sessions that may be open at once; further ones are refused with 429.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub sessions_max: u64,
    /// Free bytes that must stay on the disk; below that, pushes are refused.
    pub disk_free_bytes_min: Size,
    /// Memory for parts on their way to S3, shared by all uploads; at least four parts.
    pub upload_buffer_bytes_max: Size,
    /// Most connections to Postgres.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub database_connections_max: u32,
    /// Longest time without a byte of a request body.
    pub body_idle_max: Span,
    /// Longest time a request may take in all.
    pub request_time_max: Span,
    /// Longest time until the header of a request is complete.
    pub header_time_max: Span,
    /// Most connections at once; more wait.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub connections_max: usize,
    /// How many requests clients may send. Nodes share what they let through.
    pub rate: RateSettings,
    /// How many logins by password may fail.
    pub logins: LoginSettings,
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,bonded::registry=debug`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownSettings {
    /// How long transfers may go on after SIGTERM or SIGINT.
    pub grace: Span,
}

/// `[webhooks]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// Networks to which webhooks may be sent, such as `10.1.0.0/16`; `public` stands for every public address. Only to
    /// networks listed here may they be sent by `http://`.
    pub allowed_networks: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data: PathBuf::from("./bonded-data"),
            database: None,
            durability: Durability::Strict,
            public_url: None,
            sparse: Vec::new(),
            immutable_tags: Vec::new(),
            trusted_proxies: Vec::new(),
            insecure_anonymous: false,
            admin_password_file: None,
            auth: AuthSettings::default(),
            metrics_listen: None,
            tls: TlsSettings::default(),
            storage: StorageSettings::default(),
            gc: GcSettings::default(),
            retention: RetentionSettings::default(),
            uploads: UploadSettings::default(),
            limits: LimitSettings::default(),
            log: LogSettings::default(),
            shutdown: ShutdownSettings::default(),
            webhooks: WebhookSettings::default(),
            api: ApiSettings::default(),
            downloads: DownloadSettings::default(),
            scrub: ScrubSettings::default(),
            trust: TrustSettings::default(),
        }
    }
}

impl Default for GcSettings {
    fn default() -> Self {
        let options = RegistryOptions::default();
        Self { blob_lease: Span(options.blob_lease), head_lease: Span(options.head_lease) }
    }
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self { expire: Span(RegistryOptions::default().upload_ttl) }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            manifest_bytes_max: Size(limits.manifest_bytes_max),
            manifest_depth_max: limits.manifest_depth_max,
            manifest_descriptors_max: limits.manifest_descriptors_max,
            manifest_annotations_max: limits.manifest_annotations_max,
            blob_bytes_max: Size(limits.blob_bytes_max),
            inline_bytes_max: Size(limits.inline_bytes_max),
            tag_page_max: limits.tag_page_max,
            catalog_page_max: limits.catalog_page_max,
            referrer_page_max: limits.referrer_page_max,
            referrer_page_bytes_max: Size(limits.referrer_page_bytes_max as u64),
            ranges_max: limits.ranges_max,
            sessions_max: limits.sessions_max,
            disk_free_bytes_min: Size(limits.disk_free_bytes_min),
            upload_buffer_bytes_max: Size(160 << 20),
            database_connections_max: 16,
            body_idle_max: Span(limits.body_idle_max),
            request_time_max: Span(limits.request_time_max),
            header_time_max: Span(Duration::from_secs(15)),
            connections_max: 10_000,
            rate: RateSettings::default(),
            logins: LoginSettings::default(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { allowed_networks: vec!["public".to_owned()] }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { grace: Span(Duration::from_secs(30)) }
    }
}
