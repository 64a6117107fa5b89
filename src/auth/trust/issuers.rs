//! The keys of issuers, as they publish them (`OpenID` Connect Discovery 1.0).
//!
//! A node asks only hosts that the operator allows, one request for each issuer at a time. What was found holds for ten
//! minutes, and for an hour while the issuer does not answer. A key that nobody knows is looked for once a minute; at once,
//! if it may have been published since the last look, but no more than five times a minute, whatever clients send.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::keys::{KeySet, KeysError};
use crate::access::Issuer;
use crate::clock::Timestamp;

/// Longest document in bytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// How long keys hold.
const KEYS_HOLD: Duration = Duration::from_mins(10);

/// How long keys hold while the issuer does not answer.
const KEYS_SPARE: Duration = Duration::from_hours(1);

/// Shortest pause between two looks for a key that is older than the last look, and not there.
const LOOK_PAUSE: Duration = Duration::from_mins(1);

/// Shortest pause after a look that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Most looks in [`LOOK_PAUSE`] for keys that may be younger than the look before.
const SOONER_MAX: u32 = 5;

/// Issuers whose keys are kept.
const ISSUERS_MAX: usize = 256;

/// How documents come from elsewhere.
#[async_trait]
pub trait Fetch: fmt::Debug + Send + Sync {
    /// The body of what an address gives with status 200, of `bytes_max` bytes at most; follows no redirection, and ends
    /// in a few seconds.
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError>;
}

/// Why a document did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It is too long.
    #[error("the answer is too long")]
    TooLong,
    /// Another status than 200.
    #[error("the answer is {0}, not 200")]
    Status(u16),
    /// The network.
    #[error("{0}")]
    Failed(String),
}

/// Why nobody is asked at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is none.
    #[error("`{0}` is not an address such as https://issuer.example.com")]
    Malformed(String),
    /// Others could read and change it on the way.
    #[error("`{0}` does not begin with https://")]
    Open(String),
    /// The operator does not allow it.
    #[error("the host `{0}` is not in `auth.oidc_hosts`")]
    NotAllowed(String),
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssuerError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{url}: {source}")]
    Fetch { url: String, source: FetchError },
    #[error("{url}: it is not the discovery document of `{issuer}`")]
    Document { url: String, issuer: String },
    #[error("{url}: {source}")]
    Keys { url: String, source: KeysError },
    #[error("there was a look a moment ago; another one may find more")]
    Pause,
}

/// The keys of issuers, and who may be asked for them.
#[derive(Debug, Default)]
pub struct Issuers {
    hosts: Vec<String>,
    fetch: Option<Arc<dyn Fetch>>,
    known: Known,
}

#[derive(Debug)]
struct Known(Cache<String, Arc<Mutex<State>>>);

impl Default for Known {
    fn default() -> Self {
        Self(Cache::new(ISSUERS_MAX))
    }
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    asked_at: Option<Timestamp>,
    /// The last look came to nothing, as far as is known.
    failed: bool,
    sooner: Sooner,
}

/// Looks that did not wait for their time: since when they are counted, and how many.
#[derive(Debug, Default)]
struct Sooner(Option<Timestamp>, u32);

impl Sooner {
    /// Whether there may be one more; if so, it is counted.
    fn take(&mut self, now: Timestamp) -> bool {
        if self.0.is_none_or(|since| now < since || since.until(now) >= LOOK_PAUSE) {
            *self = Self(Some(now), 0);
        }
        let room = self.1 < SOONER_MAX;
        self.1 += u32::from(room);
        room
    }
}

/// How long ago keys were fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// They hold.
    Fresh,
    /// They hold only if there are no newer ones to be had.
    Spare,
}

impl State {
    /// The keys that may be used now.
    fn kept(&self, now: Timestamp) -> Option<(Arc<KeySet>, Age)> {
        let (keys, at) = self.keys.as_ref().filter(|(_, at)| *at <= now)?;
        let age = match at.until(now) {
            age if age < KEYS_HOLD => Age::Fresh,
            age if age < KEYS_SPARE => Age::Spare,
            _ => return None,
        };
        Some((Arc::clone(keys), age))
    }

    /// Whether the keys are those that there were at a moment.
    fn is_newer_than(&self, moment: Timestamp) -> bool {
        self.keys.as_ref().is_some_and(|(_, at)| *at > moment)
    }

    /// Whether there was a look so shortly before that another one has to wait.
    fn has_asked_lately(&self, now: Timestamp) -> bool {
        let pause = if self.failed { FAILED_PAUSE } else { LOOK_PAUSE };
        self.asked_at.is_some_and(|at| at <= now && at.until(now) < pause)
    }
}

/// The part of the discovery document that counts (section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Asks only `hosts`: each a host, or a host with a port where that is not the usual one.
    pub fn new(hosts: Vec<String>, fetch: Arc<dyn Fetch>) -> Self {
        Self { hosts, fetch: Some(fetch), known: Known::default() }
    }

    /// Whether something may be asked for at an address.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn check(&self, url: &str) -> Result<(), HostError> {
        let malformed = || HostError::Malformed(url.to_owned());
        // Only what every reader of addresses reads in the same way.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?&=%+,[]".contains(&byte);
        let uri: http::Uri = url.parse().ok().filter(|_| url.bytes().all(plain)).ok_or_else(malformed)?;
        let host = uri.host().map(str::to_ascii_lowercase).ok_or_else(malformed)?;
        let usual = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") if is_loopback(&host) => 80,
            Some("http") => return Err(HostError::Open(url.to_owned())),
            _ => return Err(malformed()),
        };
        let place = match uri.port_u16() {
            Some(port) if port != usual => format!("{host}:{port}"),
            _ => host,
        };
        if self.hosts.contains(&place) { Ok(()) } else { Err(HostError::NotAllowed(place)) }
    }

    /// The keys of an issuer. Looks again for those that are not `enough`, if that is worth while; `signed_by`: when at the
    /// latest the token was signed that they are for.
    ///
    /// # Errors
    /// When there are none; and when there are, but neither `enough` nor known to be all that there were at `signed_by`.
    pub(super) async fn keys(
        &self,
        issuer: &Issuer,
        enough: impl Fn(&KeySet) -> bool,
        signed_by: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<KeySet>, IssuerError> {
        self.check(issuer.as_str())?;
        let state = self.known.0.get_or_insert_with(issuer.as_str(), || Ok::<_, IssuerError>(Arc::default()))?;
        // Whoever comes while one asks waits for its answer.
        let mut state = state.lock().await;
        let kept = state.kept(now);
        let asked_lately = state.has_asked_lately(now);
        match &kept {
            Some((keys, age)) if enough(keys) && (*age == Age::Fresh || asked_lately) => return Ok(Arc::clone(keys)),
            Some((keys, Age::Fresh)) if asked_lately && !state.failed => {
                // A key is published before it signs.
                if state.is_newer_than(signed_by) {
                    return Ok(Arc::clone(keys));
                }
                if !state.sooner.take(now) {
                    return Err(IssuerError::Pause);
                }
            }
            _ if asked_lately => return Err(IssuerError::Pause),
            _ => {}
        }
        let kept = kept.map(|(keys, _)| keys);
        if kept.is_some() {
            // Counts even if the client goes away before the answer comes. Without any keys it must not: one that always
            // goes away would keep everybody else waiting.
            (state.asked_at, state.failed) = (Some(now), true);
        }
        let asked = self.ask(issuer).await;
        (state.asked_at, state.failed) = (Some(now), asked.is_err());
        match (asked, kept) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                state.keys = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            (Err(error), Some(keys)) if enough(&keys) => {
                tracing::warn!(issuer = issuer.as_str(), %error, "keys could not be fetched again");
                Ok(keys)
            }
            // Those that are kept stay.
            (Err(error), Some(_)) => Err(error),
            (Err(error), None) => {
                state.keys = None;
                Err(error)
            }
        }
    }

    async fn ask(&self, issuer: &Issuer) -> Result<KeySet, IssuerError> {
        // "If the Issuer value contains a path component, any terminating / MUST be removed" (section 4.1).
        let url = format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'));
        let document: Option<Discovery> = serde_json::from_slice(&self.fetch(&url).await?).ok();
        let document = document.filter(|document| document.issuer == issuer.as_str());
        let document = document.ok_or_else(|| IssuerError::Document { url, issuer: issuer.to_string() })?;
        let url = document.jwks_uri;
        let keys = self.fetch(&url).await?;
        KeySet::parse(&keys).map_err(|source| IssuerError::Keys { url, source })
    }

    async fn fetch(&self, url: &str) -> Result<Vec<u8>, IssuerError> {
        self.check(url)?;
        let failed = |source| IssuerError::Fetch { url: url.to_owned(), source };
        let fetch = self.fetch.as_ref().ok_or_else(|| failed(FetchError::Failed("nobody can be asked".to_owned())))?;
        fetch.get(url, DOCUMENT_BYTES_MAX).await.map_err(failed)
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers(hosts: &[&str]) -> Issuers {
        Issuers { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..Issuers::default() }
    }

    #[test]
    fn only_allowed_hosts_are_asked_and_only_in_secret() {
        let issuers = issuers(&["ci.example.com", "ci.example.com:8443", "127.0.0.1:9000", "[::1]:9000"]);
        for good in [
            "https://ci.example.com",
            "https://CI.example.com/a/b?c=d",
            "https://ci.example.com:443/",
            "https://ci.example.com:8443",
            "http://127.0.0.1:9000/x",
            "http://[::1]:9000",
        ] {
            assert_eq!(issuers.check(good), Ok(()), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://evil-ci.example.com",
            "https://ci.example.com.evil.com",
            "https://ci.example.com:444",
            "https://127.0.0.1",
            "http://127.0.0.1:9001",
        ] {
            assert!(matches!(issuers.check(bad), Err(HostError::NotAllowed(_))), "{bad}");
        }
        assert!(matches!(issuers.check("http://ci.example.com"), Err(HostError::Open(_))));
        for bad in [
            "",
            "ci.example.com",
            "ftp://ci.example.com",
            "file:///etc/passwd",
            "https://a@ci.example.com",
            "https://evil.com\\@ci.example.com",
            "https://ci.example.com#x",
            "https://",
        ] {
            assert!(matches!(issuers.check(bad), Err(HostError::Malformed(_))), "{bad}");
        }
        assert!(Issuers::default().check("https://ci.example.com").is_err());
    }
}
