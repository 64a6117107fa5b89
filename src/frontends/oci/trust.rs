//! What answers say of signatures: headers beside what is given, and a refusal that tells what to do.
//!
//! Invariants: a refusal is 403 and never 401, which clients answer by logging in again, or 404, which they answer by
//! looking elsewhere; HEAD has the headers of GET, but for a blob that is looked for by whoever may push it; nobody on the
//! way may keep what a policy may refuse tomorrow.

use async_trait::async_trait;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY, WARNING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::Exchange;
use super::failure::Failure;
use super::reply::{Answer, DOCKER_CONTENT_DIGEST, JSON_MEDIA_TYPE, Reply};
use crate::access::{Action, Role};
use crate::auth::AuthError;
use crate::oci::digest::Digest;
use crate::oci::error::Condition;
use crate::oci::name::{PolicyName, RepoName, Tag};
use crate::oci::reference::Reference;
use crate::registry::gate::{Guarded, Reader, Ruling};
use crate::registry::{RegistryError, Result};
use crate::verify::policy::Readers;

/// The verdict as a structured field (RFC 9651).
const X_SIGNATURE_VERDICT: HeaderName = HeaderName::from_static("x-signature-verdict");
/// Why it is refused, as one word.
const X_SIGNATURE_REASON: HeaderName = HeaderName::from_static("x-signature-reason");
/// When it was judged.
const X_SIGNATURE_CHECKED: HeaderName = HeaderName::from_static("x-signature-checked");

/// What somebody wants that the gate may refuse him.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sought<'a> {
    /// To read a manifest.
    Manifest,
    /// To read a blob; the ruling may be about a manifest that names it.
    Blob(&'a Digest),
    /// To give a manifest these tags.
    Tags(&'a [Tag]),
}

impl Sought<'_> {
    /// What a refusal is called where it is written down.
    fn action(self) -> &'static str {
        match self {
            Self::Manifest | Self::Blob(_) => "pull unverified",
            Self::Tags(_) => "tag unverified",
        }
    }

    /// The sentence of a refusal.
    fn message(self, ruling: &Ruling) -> String {
        match self {
            Self::Manifest | Self::Blob(_) => ruling.verdict().message(),
            Self::Tags(_) => ruling.verdict().tag_message(),
        }
    }

    /// The digest of what is asked for.
    fn digest<'a>(&'a self, ruling: &'a Ruling) -> Option<&'a Digest> {
        match self {
            Self::Manifest | Self::Tags(_) => ruling.digest(),
            Self::Blob(digest) => Some(digest),
        }
    }

    /// What to do about one; `image` is what the ruling is about, as `host/repository@digest`.
    pub(super) fn help(self, ruling: &Ruling, image: &str) -> Option<String> {
        match self {
            Self::Manifest | Self::Blob(_) => ruling.help(image),
            Self::Tags([tag]) => ruling.tag_help(image, tag.as_str()),
            Self::Tags(_) => ruling.tag_help(image, "TAG"),
        }
    }
}

/// Whoever sends a request, as a reader of a repository.
struct Sender<'a> {
    exchange: &'a Exchange,
    repo: &'a RepoName,
}

#[async_trait]
impl Reader for Sender<'_> {
    async fn reads_unverified(&self, readers: &Readers) -> Result<bool> {
        let Self { exchange, repo } = self;
        let auth = &exchange.gate.auth;
        match readers {
            Readers::Nobody => Ok(false),
            Readers::Pushers => {
                let actions = auth.actions(&exchange.identity, repo).await.map_err(store_error)?;
                Ok(actions.contains(Action::Push))
            }
            Readers::Listed { roles, networks } => {
                let from = exchange.actor().address.map(|address| address.to_canonical());
                if from.is_some_and(|address| networks.iter().any(|network| network.contains(&address))) {
                    return Ok(true);
                }
                let Some(least) = roles.first() else { return Ok(false) };
                let actions = auth.actions(&exchange.identity, repo).await.map_err(store_error)?;
                let needed = if *least == Role::Write { Action::Push } else { Action::Delete };
                if !actions.contains(needed) || *least != Role::Owner {
                    return Ok(actions.contains(needed));
                }
                let Some(user) = exchange.identity.id() else { return Ok(false) };
                let role = auth.role_at(user, repo).await.map_err(store_error)?;
                Ok(role.is_some_and(|role| role >= *least))
            }
        }
    }
}

fn store_error(error: AuthError) -> RegistryError {
    match error {
        AuthError::Store(error) => error.into(),
        other => RegistryError::Internal(Box::new(other)),
    }
}

impl Exchange {
    /// What the gate guards, for whoever sends this request, with what he is told about it.
    ///
    /// # Errors
    /// 403 when a policy refuses it.
    pub(super) async fn admit<T>(
        &self,
        repo: &RepoName,
        sought: Sought<'_>,
        guarded: Guarded<T>,
    ) -> std::result::Result<(T, Ruling), Failure> {
        self.ask(repo, guarded).await.map_err(|error| self.explained(repo, sought, error))
    }

    /// Whether whoever sends this request would be given what the gate guards.
    pub(super) async fn would_admit<T>(
        &self,
        repo: &RepoName,
        guarded: Guarded<T>,
    ) -> std::result::Result<bool, Failure> {
        match self.ask(repo, guarded).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Unverified(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the gate; what is given to somebody who is an exception is written down.
    async fn ask<T>(&self, repo: &RepoName, guarded: Guarded<T>) -> Result<(T, Ruling)> {
        let (content, ruling) = guarded.admit(&Sender { exchange: self, repo }).await?;
        if ruling.is_bypass() {
            self.gate.auth.audit().bypassed(repo.as_str(), &self.actor());
        }
        Ok((content, ruling))
    }

    /// An error of the registry; a refusal of the gate is written down, and told with what to do about it.
    pub(super) fn explained(&self, repo: &RepoName, sought: Sought<'_>, error: RegistryError) -> Failure {
        let RegistryError::Unverified(ruling) = error else { return error.into() };
        let by = self.actor();
        self.gate.auth.audit().refused(sought.action(), &by);
        if by.name.is_some() {
            self.gate.hooks.denied(repo, sought.action(), &by);
        }
        refusal(&ruling, sought, &self.place(repo))
    }

    /// A repository as whoever sends this request calls it: `host/repository`.
    fn place(&self, repo: &RepoName) -> String {
        let origin = self.gate.origins.of(&self.headers, &self.uri, self.peer);
        let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
        format!("{host}/{repo}")
    }
}

/// A refusal of the gate as an answer; `place` is the repository as clients call it, `host/repository`.
pub(super) fn refusal(ruling: &Ruling, sought: Sought<'_>, place: &str) -> Failure {
    let detail = ruling.digest().map_or(Value::Null, |digest| {
        let help = sought.help(ruling, &format!("{place}@{digest}"));
        ruling.verdict().to_json(digest, help.as_deref())
    });
    let mut failure = Failure::new(Condition::Unverified, sought.message(ruling), detail);
    if let Some(digest) = sought.digest(ruling) {
        failure = failure.with_header(DOCKER_CONTENT_DIGEST, digest.to_string());
    }
    if let Some(told) = ruling.told() {
        let verdict = String::from_utf8_lossy(&told.verdict);
        let checked = String::from_utf8_lossy(&told.checked);
        failure = failure.with_header(X_SIGNATURE_VERDICT, verdict).with_header(X_SIGNATURE_CHECKED, checked);
        if let Some(reason) = told.reason {
            failure = failure.with_header(X_SIGNATURE_REASON, reason);
        }
    }
    failure.with_header(CACHE_CONTROL, "private, no-store").with_header(VARY, "Authorization")
}

/// Tells, beside what is given, what the gate said of it. Nothing where no policy applies.
pub(super) fn tell(mut answer: Response, ruling: &Ruling) -> Response {
    let Some(told) = ruling.told() else { return answer };
    let to = answer.headers_mut();
    add(to, X_SIGNATURE_VERDICT, &told.verdict);
    add(to, X_SIGNATURE_CHECKED, &told.checked);
    if let Some(reason) = told.reason {
        to.append(X_SIGNATURE_REASON, HeaderValue::from_static(reason));
    }
    for warning in &told.warnings {
        add(to, WARNING, warning);
    }
    kept_by_nobody(answer)
}

/// Says that nobody on the way may keep an answer, nor give it to anybody else.
pub(super) fn kept_by_nobody(mut answer: Response) -> Response {
    let to = answer.headers_mut();
    to.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    to.append(VARY, HeaderValue::from_static("Authorization"));
    answer
}

/// What is written is visible ASCII, whatever names came from certificates.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
        headers.append(name, value);
    }
}

/// `GET /v2/<name>/_trust/verify/verdict?ref=<tag or digest>[&policy=<name>]`: what a pull would be told, and why; or what
/// one policy says, wherever it is asked.
pub(super) async fn verdict(
    exchange: &Exchange,
    repo: &RepoName,
    reference: &Reference,
    policy: Option<&PolicyName>,
) -> Answer {
    let registry = &exchange.registry;
    let digest = registry.resolve(repo, reference).await?;
    let ruling = match policy {
        None => registry.verdict(repo, &digest).await?,
        // One that is about other repositories is told of no more than one that is not there.
        Some(name) => registry.verdict_by(repo, &digest, name).await?.ok_or_else(|| {
            let message = format!("no signature policy '{name}' is about this repository");
            Failure::new(Condition::PolicyNotHere, message, Value::Null)
        })?,
    };
    let verdict = ruling.verdict();
    let help = ruling.help(&format!("{}@{digest}", exchange.place(repo)));
    let mut body = verdict.to_json(&digest, help.as_deref());
    body["refused"] = Value::from(ruling.refuses());
    let warnings: Vec<Value> = ruling.warnings().iter().map(|warning| warning.to_json(&digest, None)).collect();
    body["warnings"] = Value::from(warnings);
    if let Some(checked) = ruling.checked() {
        body["checkedAt"] = Value::from(checked.to_rfc3339());
    }
    let reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store");
    Ok(reply.header(DOCKER_CONTENT_DIGEST, &digest).bytes(JSON_MEDIA_TYPE, body.to_string().into()))
}
