//! The keys of issuers, as they publish them (`OpenID` Connect Discovery 1.0).
//!
//! A node asks only hosts that the operator allows, one request for each issuer at a time. What was found holds for ten
//! minutes, and for an hour while the issuer does not answer. A key that nobody knows is looked for once a minute; at once,
//! if it may have been published since the last look, but no more than five times a minute, whatever clients send.
//!
//! A look is a task of its own: a client that goes away in the middle of it takes nothing from those who come after it. Who
//! shows a token whose key is known waits for no look.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

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
    #[error("the look ended before its time: {0}")]
    Look(#[from] tokio::task::JoinError),
}

/// The keys of issuers, and who may be asked for them.
#[derive(Debug, Default)]
pub struct Issuers {
    asked: Arc<Asked>,
    known: Known,
    /// The looks under way.
    looks: TaskTracker,
}

/// Who may be asked, and how.
#[derive(Debug, Default)]
struct Asked {
    hosts: Vec<String>,
    fetch: Option<Arc<dyn Fetch>>,
}

#[derive(Debug)]
struct Known(Cache<String, Arc<KnownIssuer>>);

impl Default for Known {
    fn default() -> Self {
        Self(Cache::new(ISSUERS_MAX))
    }
}

/// What is known of an issuer.
#[derive(Debug, Default)]
struct KnownIssuer {
    /// Held by the look under way, however many wait for it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Never held for longer than it takes to look into it.
    state: Mutex<State>,
}

impl KnownIssuer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What there is to do for keys.
enum Step {
    /// These will do.
    Take(Arc<KeySet>),
    /// To ask for others. It counts as asked already, in vain.
    Ask,
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
        let (keys, at) = self.keys.as_ref()?;
        let age = match passed(*at, now)? {
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
        self.asked_at.and_then(|at| passed(at, now)).is_some_and(|passed| passed < pause)
    }

    /// The keys that will do without a look: they are `enough`, and either hold or were asked for in vain a moment ago.
    fn ready(&self, enough: impl Fn(&KeySet) -> bool, now: Timestamp) -> Option<Arc<KeySet>> {
        let (keys, age) = self.kept(now)?;
        (enough(&keys) && (age == Age::Fresh || self.has_asked_lately(now))).then_some(keys)
    }

    /// What whoever has the turn does.
    fn step(
        &mut self,
        enough: impl Fn(&KeySet) -> bool,
        signed_by: Timestamp,
        now: Timestamp,
    ) -> Result<Step, IssuerError> {
        if let Some(keys) = self.ready(enough, now) {
            return Ok(Step::Take(keys));
        }
        if self.has_asked_lately(now) {
            match self.kept(now) {
                // A key is published before it signs.
                Some((keys, Age::Fresh)) if !self.failed && self.is_newer_than(signed_by) => {
                    return Ok(Step::Take(keys));
                }
                Some((_, Age::Fresh)) if !self.failed && self.sooner.take(now) => {}
                _ => return Err(IssuerError::Pause),
            }
        }
        // Others whose keys are here go on by them meanwhile.
        (self.asked_at, self.failed) = (Some(now), true);
        Ok(Step::Ask)
    }

    /// Takes over what a look gave that was begun at a moment. Where it gave nothing, the keys that are kept stay.
    fn take_over(&mut self, asked: &Result<Arc<KeySet>, IssuerError>, begun: Timestamp) {
        self.failed = asked.is_err();
        match asked {
            Ok(keys) => self.keys = Some((Arc::clone(keys), begun)),
            Err(_) if self.kept(begun).is_none() => self.keys = None,
            Err(_) => {}
        }
    }
}

/// How long ago something was. Whoever waited for others may have looked at the clock before them; `None`: it was set back.
fn passed(at: Timestamp, now: Timestamp) -> Option<Duration> {
    (at <= now || now.until(at) < LOOK_PAUSE).then(|| at.until(now))
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
        Self { asked: Arc::new(Asked { hosts, fetch: Some(fetch) }), ..Self::default() }
    }

    /// Whether something may be asked for at an address.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn check(&self, url: &str) -> Result<(), HostError> {
        self.asked.check(url)
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
        let known = self.known.0.get_or_insert_with(issuer.as_str(), || Ok::<_, IssuerError>(Arc::default()))?;
        if let Some(keys) = known.state().ready(&enough, now) {
            return Ok(keys);
        }
        // Whoever comes while one asks waits for its answer.
        let turn = Arc::clone(&known.turn).lock_owned().await;
        if let Step::Take(keys) = known.state().step(&enough, signed_by, now)? {
            return Ok(keys);
        }
        let error = match self.look(issuer, &known, turn, now).await {
            Ok(keys) => return Ok(keys),
            Err(error) => error,
        };
        let kept = known.state().kept(now).map(|(keys, _)| keys);
        match kept.filter(|keys| enough(keys)) {
            Some(keys) => {
                tracing::warn!(issuer = issuer.as_str(), %error, "keys could not be fetched again");
                Ok(keys)
            }
            None => Err(error),
        }
    }

    /// Asks an issuer, and keeps what it says, whether or not somebody still waits for it.
    async fn look(
        &self,
        issuer: &Issuer,
        known: &Arc<KnownIssuer>,
        turn: OwnedMutexGuard<()>,
        now: Timestamp,
    ) -> Result<Arc<KeySet>, IssuerError> {
        let (asked, known, issuer) = (Arc::clone(&self.asked), Arc::clone(known), issuer.clone());
        let look = self.looks.spawn(async move {
            let found = asked.ask(&issuer).await.map(Arc::new);
            known.state().take_over(&found, now);
            drop(turn);
            found
        });
        look.await?
    }
}

impl Asked {
    fn check(&self, url: &str) -> Result<(), HostError> {
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
        let asked = Asked { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), fetch: None };
        Issuers { asked: Arc::new(asked), ..Issuers::default() }
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
