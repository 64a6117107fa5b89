//! The configuration: file, environment and flags, validated once into typed values.
//!
//! A later source wins over an earlier one: defaults, then the file, then `BONDED_*`, then flags. Nothing is guessed: an
//! unknown key or variable is refused by name. Only `app` and `cli` read this; every other module has its own options.

mod api;
mod downloads;
mod keys;
mod limits;
mod load;
mod retention;
mod scrub;
mod settings;
mod storage;
mod trust;
mod units;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::access::{ClientLimits, WebOrigin};
use crate::hooks::Networks;
use crate::oci::glob::{ImmutableTags, RepoGlobs};
use crate::registry::{Limits, RegistryOptions};
use crate::storage::s3::S3Options;

pub use keys::{Key, Kind, TOKEN_VARIABLE, keys, schema, sections};
pub use load::{Loaded, Origin, Sources};
pub use settings::{Durability, LogFormat, Registration, Settings};
pub use units::{DatabaseUrl, Size, Span, SpanOrNever, UnitError};

/// What the operator decided, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// The Postgres database; without one the facts are in SQLite in the data folder.
    pub database: Option<DatabaseUrl>,
    /// Most connections to it.
    pub database_connections_max: u32,
    /// The bucket; without one the bytes are in the data folder.
    pub s3: Option<S3Options>,
    /// How an acknowledged push is kept.
    pub durability: Durability,
    /// How clients see this registry.
    pub public_url: Option<PublicUrl>,
    /// Proxies whose forwarded headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// The file of the one secret.
    pub secret_file: Option<PathBuf>,
    /// The file with the password of the first account.
    pub admin_password_file: Option<PathBuf>,
    /// Who may make accounts.
    pub registration: Registration,
    /// Hosts that may be asked for the keys of others, in small letters.
    pub oidc_hosts: Vec<String>,
    /// Whether everybody may come from anywhere.
    pub insecure_anonymous: bool,
    /// Where to serve metrics and health, when not at `listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// Certificate and key, when HTTPS is spoken.
    pub tls: Option<Tls>,
    /// The options of the registry.
    pub registry: RegistryOptions,
    /// What bounds clients.
    pub client_limits: ClientLimits,
    /// Where nodes share what they let through, if not in the database.
    pub redis: Option<DatabaseUrl>,
    /// Longest time until the header of a request is complete.
    pub header_time_max: Duration,
    /// Most connections at once.
    pub connections_max: usize,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The filter of the log.
    pub log_level: String,
    /// How long transfers may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// Where webhooks may be sent.
    pub webhook_networks: Networks,
    /// Web pages of other origins that may call `/api/v1`.
    pub pages: Vec<WebOrigin>,
    /// The file with the signature policies.
    pub policy_file: Option<PathBuf>,
}

/// Files for HTTPS, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities whose certificates clients may show.
    pub client_ca: Option<PathBuf>,
}

/// `public_url`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// As written, without a slash at the end.
    pub url: String,
    /// Its host, without the port.
    pub host: String,
}

/// Why a configuration cannot be used: where, which key, what is wrong and what to do, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// What is wrong with the value of a key.
struct Fault {
    key: &'static str,
    what: String,
}

impl Fault {
    fn new(key: &'static str, what: impl Into<String>) -> Self {
        Self { key, what: what.into() }
    }
}

/// Smallest `limits.manifest_bytes_max` (distribution-spec, "Pushing Manifests").
const MANIFEST_BYTES_FLOOR: u64 = 4 << 20;
/// Largest `limits.inline_bytes_max`: a row is read as a whole.
const INLINE_BYTES_CEILING: u64 = 1 << 20;
/// Smallest `limits.manifest_annotations_max`: what real images carry.
const ANNOTATIONS_FLOOR: usize = 1_000;
/// Smallest and largest `limits.manifest_depth_max`; `serde_json` recurses no deeper than 128.
const DEPTH_BOUNDS: (usize, usize) = (16, 127);

impl Settings {
    /// Gives every value its type.
    fn validate(&self) -> Result<Config, Fault> {
        let listen = address("listen", &self.listen)?;
        let metrics_listen = self.metrics_listen.as_deref().map(|text| address("metrics_listen", text)).transpose()?;
        Ok(Config {
            listen,
            data: some_path("data", &self.data)?,
            database: self.database()?,
            database_connections_max: self.limits.database_connections_max,
            s3: self.s3()?,
            durability: self.durability,
            public_url: self.public_url.as_deref().map(public_url).transpose()?,
            trusted_proxies: self.trusted_proxies()?,
            secret_file: self
                .auth
                .secret_file
                .as_deref()
                .map(|path| some_path("auth.secret_file", path))
                .transpose()?,
            admin_password_file: self
                .admin_password_file
                .as_deref()
                .map(|path| some_path("admin_password_file", path))
                .transpose()?,
            registration: self.auth.registration,
            oidc_hosts: self.oidc_hosts()?,
            insecure_anonymous: self.insecure_anonymous,
            metrics_listen,
            tls: self.tls()?,
            registry: self.registry_options()?,
            client_limits: self.client_limits()?,
            redis: self.redis()?,
            header_time_max: positive_span("limits.header_time_max", self.limits.header_time_max)?,
            connections_max: self.limits.connections_max,
            log_format: self.log.format,
            log_level: self.log_level()?,
            shutdown_grace: self.shutdown.grace.0,
            webhook_networks: Networks::parse(&self.webhooks.allowed_networks)
                .map_err(|error| Fault::new("webhooks.allowed_networks", error.to_string()))?,
            pages: self.pages()?,
            policy_file: self.policy_file()?,
        })
    }

    fn trusted_proxies(&self) -> Result<Vec<IpNet>, Fault> {
        let network = |text: &String| {
            let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
            text.parse().ok().or(address.ok()).ok_or_else(|| {
                Fault::new("trusted_proxies", format!("`{text}` is not a network such as 10.0.0.0/8, nor an address"))
            })
        };
        self.trusted_proxies.iter().map(network).collect()
    }

    fn oidc_hosts(&self) -> Result<Vec<String>, Fault> {
        let host = |text: &String| {
            let authority: Option<http::uri::Authority> = text.parse().ok().filter(|_| !text.contains(['@', '*', '%']));
            let name = |text: &str| text.trim_end_matches(":443").to_ascii_lowercase();
            authority.map(|authority| name(authority.as_str())).ok_or_else(|| {
                Fault::new(
                    "auth.oidc_hosts",
                    format!("`{text}` is not a host such as \"gitlab.com\", nor one with a port"),
                )
            })
        };
        self.auth.oidc_hosts.iter().map(host).collect()
    }

    fn database(&self) -> Result<Option<DatabaseUrl>, Fault> {
        let Some(url) = &self.database else { return Ok(None) };
        if url.expose().starts_with("postgres://") || url.expose().starts_with("postgresql://") {
            return Ok(Some(url.clone()));
        }
        let what = "it is not the address of a Postgres database; write it like \"postgres://user@host/bonded\"";
        Err(Fault::new("database", what))
    }

    fn tls(&self) -> Result<Option<Tls>, Fault> {
        match (&self.tls.cert, &self.tls.key) {
            (Some(cert), Some(key)) => {
                let client_ca =
                    self.tls.client_ca.as_deref().map(|path| some_path("tls.client_ca", path)).transpose()?;
                Ok(Some(Tls { cert: some_path("tls.cert", cert)?, key: some_path("tls.key", key)?, client_ca }))
            }
            (None, None) if self.tls.client_ca.is_some() => {
                Err(Fault::new("tls.client_ca", "`tls.cert` is missing; clients show certificates only over HTTPS"))
            }
            (None, None) => Ok(None),
            (Some(_), None) => Err(Fault::new("tls.cert", "`tls.key` is missing; HTTPS needs both files")),
            (None, Some(_)) => Err(Fault::new("tls.key", "`tls.cert` is missing; HTTPS needs both files")),
        }
    }

    fn log_level(&self) -> Result<String, Fault> {
        match self.log.level.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) if !self.log.level.trim().is_empty() => Ok(self.log.level.clone()),
            _ => Err(Fault::new(
                "log.level",
                format!(
                    "`{}` is not a filter; use error, warn, info, debug, trace, or `info,bonded::registry=debug`",
                    self.log.level
                ),
            )),
        }
    }

    fn registry_options(&self) -> Result<RegistryOptions, Fault> {
        Ok(RegistryOptions {
            limits: self.limits()?,
            sparse: RepoGlobs::parse(&self.sparse).map_err(|error| Fault::new("sparse", error.to_string()))?,
            immutable_tags: ImmutableTags::parse(&self.immutable_tags)
                .map_err(|error| Fault::new("immutable_tags", error.to_string()))?,
            blob_lease: self.gc.blob_lease.0,
            head_lease: self.gc.head_lease.0,
            upload_ttl: positive_span("uploads.expire", self.uploads.expire)?,
            redirect_ttl: self.redirect_ttl()?,
            retention: self.retention.validate()?,
            downloads: self.download_options()?,
            scrub: self.scrub_options()?,
            verdict_sweep: self.verdict_sweep()?,
            ..RegistryOptions::default()
        })
    }

    fn limits(&self) -> Result<Limits, Fault> {
        let limits = &self.limits;
        let at_least = |key, value: u64, min: u64| {
            (value >= min).then_some(value).ok_or_else(|| Fault::new(key, format!("it must be at least {}", Size(min))))
        };
        let at_most = |key, value: u64, max: u64| {
            (value <= max).then_some(value).ok_or_else(|| Fault::new(key, format!("it must be at most {}", Size(max))))
        };
        Ok(Limits {
            manifest_bytes_max: at_least(
                "limits.manifest_bytes_max",
                at_most("limits.manifest_bytes_max", limits.manifest_bytes_max.0, 1 << 30)?,
                MANIFEST_BYTES_FLOOR,
            )?,
            manifest_depth_max: self.manifest_depth()?,
            manifest_descriptors_max: limits.manifest_descriptors_max,
            manifest_annotations_max: self.manifest_annotations()?,
            blob_bytes_max: at_least("limits.blob_bytes_max", limits.blob_bytes_max.0, 1)?,
            inline_bytes_max: at_most("limits.inline_bytes_max", limits.inline_bytes_max.0, INLINE_BYTES_CEILING)?,
            tag_page_max: limits.tag_page_max,
            catalog_page_max: limits.catalog_page_max,
            referrer_page_max: limits.referrer_page_max,
            referrer_page_bytes_max: self.referrer_page_bytes()?,
            ranges_max: limits.ranges_max,
            sessions_max: limits.sessions_max,
            disk_free_bytes_min: limits.disk_free_bytes_min.0,
            body_idle_max: positive_span("limits.body_idle_max", limits.body_idle_max)?,
            request_time_max: positive_span("limits.request_time_max", limits.request_time_max)?,
        })
    }

    fn manifest_depth(&self) -> Result<usize, Fault> {
        let depth = self.limits.manifest_depth_max;
        let (min, max) = DEPTH_BOUNDS;
        let fault = || Fault::new("limits.manifest_depth_max", format!("it must be from {min} to {max}"));
        (min..=max).contains(&depth).then_some(depth).ok_or_else(fault)
    }

    fn manifest_annotations(&self) -> Result<usize, Fault> {
        let most = self.limits.manifest_annotations_max;
        let fault =
            || Fault::new("limits.manifest_annotations_max", format!("it must be at least {ANNOTATIONS_FLOOR}"));
        (most >= ANNOTATIONS_FLOOR).then_some(most).ok_or_else(fault)
    }

    fn referrer_page_bytes(&self) -> Result<usize, Fault> {
        let bytes = self.limits.referrer_page_bytes_max;
        let fault = || Fault::new("limits.referrer_page_bytes_max", "it must be from 64KiB to 4MiB");
        let fits = (Size(64 << 10)..=Size(4 << 20)).contains(&bytes);
        usize::try_from(bytes.0).ok().filter(|_| fits).ok_or_else(fault)
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, Fault> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    if let Some(port) = local {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| Fault::new(key, format!("`{text}` is not an address; write it like \"127.0.0.1:8080\"")))
}

fn positive_span(key: &'static str, span: Span) -> Result<Duration, Fault> {
    (!span.0.is_zero()).then_some(span.0).ok_or_else(|| Fault::new(key, "it must be longer than zero"))
}

fn some_path(key: &'static str, path: &std::path::Path) -> Result<PathBuf, Fault> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned()).ok_or_else(|| Fault::new(key, "it is empty; name a path"))
}

fn public_url(text: &str) -> Result<PublicUrl, Fault> {
    let fault = || {
        Fault::new(
            "public_url",
            format!("`{text}` is not an address of this registry; write it like \"https://registry.example.com\""),
        )
    };
    let uri: http::Uri = text.parse().map_err(|_| fault())?;
    let host = uri.host().filter(|host| !host.is_empty() && !text.contains('@')).ok_or_else(fault)?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    match uri.scheme_str() {
        Some("http" | "https") if plain => {
            Ok(PublicUrl { url: text.trim_end_matches('/').to_owned(), host: host.to_ascii_lowercase() })
        }
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests;
