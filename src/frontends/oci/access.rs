//! Who may send a request: asked after its route is known, and before anything of it is read.
//!
//! Invariants: as soon as there is an account, a request without credentials is answered with a challenge, whatever it
//! asks for (project-zot/zot#2928: a 200 makes the docker family go on without any); and to somebody who may not pull from
//! a repository, it is answered as one that is not there is, by the same code, which looks for one that cannot be there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use serde_json::{Value, json};

use super::failure::Failure;
use super::peer;
use crate::access::{Action, Actions};
use crate::auth::{Auth, AuthError, Credentials, Identity, Standing, Surface, Verdict};
use crate::hooks::Hooks;
use crate::http::credentials::credentials_of;
use crate::http::middleware::X_REQUEST_ID;
use crate::http::origin::Origins;
use crate::metadata::model::accounts::Actor;
use crate::oci::error::Condition;
use crate::oci::name::RepoName;
use crate::oci::route::{BlobAction, ManifestAction, Route};

/// Lets requests in or refuses them.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Tells and judges identities.
    pub auth: Arc<Auth>,
    /// Who is told of refusals.
    pub hooks: Arc<Hooks>,
    /// Under which address a request came.
    pub origins: Origins,
}

impl Gate {
    /// Who sends a request, and what is left of his limit where there is one; `late`: by a token that may have expired
    /// meanwhile; `wanted`: what other credentials would have to grant.
    ///
    /// # Errors
    /// A challenge when the credentials are wrong; 429 when there were too many requests, or too many wrong ones.
    pub(super) async fn identify(
        &self,
        parts: &Parts,
        late: bool,
        wanted: Option<Need<'_>>,
    ) -> Result<(Identity, Option<Standing>), Failure> {
        let credentials = match credentials_of(parts) {
            // As long as there are no accounts, nobody asks for credentials, and nobody looks at them.
            Err(_) if !self.auth.has_accounts() => Ok(Credentials::None),
            read => read,
        };
        let found = match credentials {
            Ok(credentials) => self.auth.identify_within(Surface::V2, &credentials, late, &|| self.sender(parts)).await,
            Err(error) => {
                self.auth.admit(Surface::V2, &Identity::Unidentified, &|| self.sender(parts))?;
                Err(error)
            }
        };
        match found {
            Ok(found) => Ok(found),
            Err(error @ (AuthError::Wrong | AuthError::Malformed)) => {
                let failure = Failure::new(Condition::Unauthorized, error.to_string(), Value::Null);
                Err(failure.with_header(WWW_AUTHENTICATE, self.challenge(parts, wanted, Some("invalid_token"))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a request in, or says why not. The route leads nowhere for somebody for whom its repository is not there.
    pub(super) async fn admit(&self, parts: &Parts, identity: &Identity, route: Route) -> Result<Route, Failure> {
        let wanted = need(&route);
        let Some(Need::Repository(repo, action)) = wanted else {
            let enough = match wanted {
                Some(Need::Policy) => identity.is_administrator(),
                _ => wanted.is_none() || identity.has_catalog(),
            };
            return match identity {
                Identity::Unidentified => Err(self.unauthenticated(parts, wanted, None)),
                _ if enough => Ok(route),
                Identity::Principal(_) if matches!(wanted, Some(Need::Policy)) => {
                    self.auth.audit().refused("policy", &self.actor(&parts.headers, peer(parts), identity));
                    Err(Failure::from(Condition::AccessDenied))
                }
                _ => Err(self.unauthenticated(parts, wanted, Some("insufficient_scope"))),
            };
        };
        let verdict = self.auth.judge_action(identity, repo, action).await;
        let verdict = verdict.map_err(Failure::from)?;
        if is_refusal(verdict, identity, action) {
            let by = self.actor(&parts.headers, peer(parts), identity);
            self.auth.audit().refused(action.as_str(), &by);
            // Strangers could fill the outbox of others.
            if by.name.is_some() {
                self.hooks.denied(repo, action.as_str(), &by);
            }
        }
        match verdict {
            Verdict::Allowed => Ok(route),
            Verdict::Unauthenticated => {
                let error = (!matches!(identity, Identity::Unidentified)).then_some("insufficient_scope");
                Err(self.unauthenticated(parts, wanted, error))
            }
            Verdict::OutOfScope => Err(self.unauthenticated(parts, wanted, Some("insufficient_scope"))),
            Verdict::Missing => Ok(route.leading_nowhere()),
            Verdict::Denied => Err(denied(action)),
        }
    }

    /// From where a request comes of which it is not known yet who sends it.
    pub(super) fn sender(&self, parts: &Parts) -> Actor {
        self.actor(&parts.headers, peer(parts), &Identity::Unidentified)
    }

    /// Who sends a request and from where, for the record of what happened.
    pub(super) fn actor(&self, headers: &HeaderMap, peer: Option<IpAddr>, identity: &Identity) -> Actor {
        Actor {
            name: identity.name(),
            address: self.origins.client(headers, peer),
            request_id: headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned),
        }
    }

    /// A request that is no route, from somebody who did not say who he is.
    pub(super) fn require_identity(&self, parts: &Parts, identity: &Identity) -> Result<(), Failure> {
        match identity {
            Identity::Unidentified => Err(self.unauthenticated(parts, None, None)),
            _ => Ok(()),
        }
    }

    fn unauthenticated(&self, parts: &Parts, wanted: Option<Need<'_>>, error: Option<&'static str>) -> Failure {
        let detail = wanted.map_or(Value::Null, |wanted| {
            let (kind, name, action) = match wanted {
                Need::Repository(repo, action) => ("repository", repo.as_str(), action.as_str()),
                Need::Catalog => ("registry", "catalog", "*"),
                Need::Policy => ("registry", "policy", "*"),
            };
            json!([{"Type": kind, "Class": "", "Name": name, "Action": action}])
        });
        let failure = Failure::new(Condition::Unauthorized, Condition::Unauthorized.row().message, detail);
        failure.with_header(WWW_AUTHENTICATE, self.challenge(parts, wanted, error))
    }

    /// `WWW-Authenticate` (distribution, "Token Authentication Specification"; RFC 6750, section 3).
    pub(super) fn challenge(&self, parts: &Parts, wanted: Option<Need<'_>>, error: Option<&str>) -> String {
        let realm = self.origins.of(&parts.headers, &parts.uri, peer(parts));
        let scope = wanted.map_or_else(String::new, |wanted| format!(r#",scope="{wanted}""#));
        let error = error.map_or_else(String::new, |error| format!(r#",error="{error}""#));
        format!(r#"Bearer realm="{realm}/v2/token",service="{}"{scope}{error}"#, self.auth.service())
    }
}

/// Whether a verdict is counted: somebody may not. A client that pulls without credentials, or with a token of the token
/// service that says too little, only learns here what to ask for; where an API token is behind it, it says what it always
/// will, and whoever pushes or deletes without credentials has not asked before.
fn is_refusal(verdict: Verdict, identity: &Identity, action: Action) -> bool {
    match verdict {
        Verdict::Missing | Verdict::Denied => true,
        Verdict::OutOfScope => identity.principal().is_some_and(|by| by.token_id().is_some()),
        Verdict::Unauthenticated => action != Action::Pull || !matches!(identity, Identity::Unidentified),
        Verdict::Allowed => false,
    }
}

/// What a route needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need<'a> {
    /// To do something in a repository.
    Repository(&'a RepoName, Action),
    /// To read the list of all repositories.
    Catalog,
    /// To read and write the signature policies.
    Policy,
}

/// The scope to ask the token service for.
impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Whoever pushes also asks what is there.
            Self::Repository(repo, Action::Push) => {
                write!(f, "repository:{repo}:{}", Actions::of([Action::Pull, Action::Push]))
            }
            Self::Repository(repo, action) => write!(f, "repository:{repo}:{action}"),
            // No token of the token service is enough, so it is asked for what any is.
            Self::Catalog | Self::Policy => f.write_str("registry:catalog:*"),
        }
    }
}

/// What a route needs; `None`: only that somebody says who he is.
pub(super) fn need(route: &Route) -> Option<Need<'_>> {
    let action = match route {
        Route::Base => return None,
        Route::Catalog { .. } => return Some(Need::Catalog),
        Route::Policy(_) => return Some(Need::Policy),
        Route::Blob { action: BlobAction::Get | BlobAction::Head, .. }
        | Route::Manifest { action: ManifestAction::Get | ManifestAction::Head, .. }
        | Route::Tags { .. }
        | Route::Verdict { .. }
        | Route::Referrers { .. } => Action::Pull,
        Route::UploadStart { .. }
        | Route::Upload { .. }
        | Route::Manifest { action: ManifestAction::Put { .. }, .. } => Action::Push,
        Route::Blob { action: BlobAction::Delete { .. }, .. }
        | Route::Manifest { action: ManifestAction::Delete { .. }, .. } => Action::Delete,
    };
    route.repo().map(|repo| Need::Repository(repo, action))
}

fn denied(action: Action) -> Failure {
    let message = format!("this account may not {action} here");
    Failure::new(Condition::AccessDenied, message, json!({"action": action.as_str()}))
}
