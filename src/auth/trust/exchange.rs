//! A token of this registry for one of somebody else's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::issuers::IssuerError;
use super::keys::KeySet;
use super::principal::Publisher;
use super::token::{CLOCK_SKEW, ForeignToken};
use crate::access::{NamespacePath, Scopes};
use crate::auth::identity::Identity;
use crate::auth::service::{Auth, AuthError};
use crate::auth::tokens::Issued;
use crate::clock::Timestamp;
use crate::metadata::MetadataError;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::{PublisherId, PublisherRecord, PublisherUse};

/// How long a token lives that was given for another: long enough to push an image, and gone when a job has ended.
pub(in crate::auth) const EXCHANGED_LIFE: Duration = Duration::from_mins(15);

/// Rules read at once.
const PAGE: u32 = 1000;

/// Most namespaces whose rules one token is for, and most rules of each by which it acts. Whoever makes rules in one namespace
/// keeps nobody from what others give.
const NAMESPACES_MAX: usize = 32;
const GRANTS_MAX: usize = 4;

/// Most rules of a namespace whose own keys are tried, the oldest ones.
const KEYS_MAX: usize = 16;

/// Most rules for other claims that are asked whether they know a signature.
const OTHERS_MAX: usize = 16;

/// Shortest pause between two looks for what may be forgotten.
const SWEEP_PAUSE: Duration = Duration::from_mins(1);

/// A token that was given for another.
#[derive(Debug)]
pub struct Exchanged {
    /// The token.
    pub issued: Issued,
    /// Who acts by it, and what it may do.
    pub publisher: Publisher,
}

/// Why a token of somebody else is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is none.
    #[error("this is not a signed JWT")]
    Malformed,
    /// How it is signed.
    #[error(
        "the token is signed in a way that is not taken; RS256 to RS512, PS256 to PS512, ES256, ES384 and EdDSA are"
    )]
    Algorithm,
    /// No rule is for its issuer and audience.
    #[error("no rule is for the issuer and the audience of the token")]
    Unknown,
    /// Its signature.
    #[error("the signature of the token is not one that a rule trusts")]
    Signature,
    /// It says no good time.
    #[error("the token does not say until when it holds, or not as a number of seconds")]
    Time,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// Too early.
    #[error("the token does not hold yet; is a clock wrong?")]
    Early,
    /// It could be stolen for too long.
    #[error("the token holds for longer than a day")]
    LongLived,
    /// No rule is for its claims.
    #[error("no rule is for the claims of the token")]
    Claims,
    /// So many that nobody can mean it.
    #[error("more rules match the token than may; name the namespace")]
    Many,
    /// It came before.
    #[error("the token has been used before, or has no `jti`, and no rule lets it be used again")]
    Used,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The one that was shown is not taken.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody can say now whether it is good; the log says why.
    #[error("the keys of the issuer of the token cannot be had now; try again")]
    Unavailable,
    /// There are no accounts, or no secret to sign with, or the database failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl From<MetadataError> for ExchangeError {
    fn from(error: MetadataError) -> Self {
        Self::Auth(error.into())
    }
}

impl Auth {
    /// Gives a token of this registry for one of somebody else's, by the rules of one namespace or of all.
    ///
    /// `by`: from where it came; the record of what happened names the rules.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(
        &self,
        token: &SecretString,
        namespace: Option<&NamespacePath>,
        by: &Actor,
    ) -> Result<Exchanged, ExchangeError> {
        let (token, now) = (ForeignToken::parse(token.expose_secret().trim())?, self.clock.now());
        let (matching, others) = self.rules_for(&token, namespace).await?;
        if matching.is_empty() && others.is_empty() {
            return Err(Refusal::Unknown.into());
        }
        // What its own clock ends is not worth a look at its signature, nor a request to its issuer.
        let ends_at = token.judge_time(now)?;
        let trusting = granting(self.trusting(&token, matching, &others, now).await?);
        let rules: Vec<(PublisherId, BTreeMap<String, String>)> =
            trusting.iter().map(|rule| (rule.id, rule.claims.values(&token.claims))).collect();
        if rules.is_empty() {
            return Err(Refusal::Claims.into());
        }
        // A token that is used up for nothing would not come again.
        self.signing_key(now).await?;
        let (jti, issuer, by) = (token.jti(), token.issuer, by.clone());
        let mut roles = self.store.publisher_use(&PublisherUse { rules, jti, issuer, by, ends_at, now }).await?;
        if roles.is_empty() {
            return Err(Refusal::Used.into());
        }
        roles.sort_unstable_by_key(|role| role.id);
        let rules = roles.iter().map(|role| role.id).collect();
        let publisher = Publisher { rules, roles, until: now.after(EXCHANGED_LIFE), limit: None };
        Ok(Exchanged { issued: self.issue_to(&publisher).await?, publisher })
    }

    /// The rules for a token, and some of those that are for its issuer and audience but for other claims.
    async fn rules_for(
        &self,
        token: &ForeignToken<'_>,
        namespace: Option<&NamespacePath>,
    ) -> Result<(Vec<PublisherRecord>, Vec<PublisherRecord>), ExchangeError> {
        let (mut matching, mut others, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = self.store.publisher_match(&token.issuer, &token.audiences, namespace, after, PAGE).await?;
            after = page.last().map(|rule| rule.id);
            let is_last = page.len() < PAGE as usize;
            let (fitting, rest): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|rule| rule.claims.matches(&token.claims));
            matching.extend(fitting);
            others.extend(rest);
            others.truncate(OTHERS_MAX);
            let namespaces: BTreeSet<&NamespacePath> = matching.iter().map(|rule| &rule.namespace).collect();
            if namespaces.len() > NAMESPACES_MAX {
                return Err(Refusal::Many.into());
            }
            if is_last {
                matching.sort_unstable_by(|a, b| (&a.namespace, a.id).cmp(&(&b.namespace, b.id)));
                return Ok((matching, others));
            }
        }
    }

    /// The rules whose keys have signed a token. An error when there are none although its claims would do, or when not
    /// even a rule for other claims knows its signature: only whoever has a true token learns what claims count.
    async fn trusting(
        &self,
        token: &ForeignToken<'_>,
        mut matching: Vec<PublisherRecord>,
        others: &[PublisherRecord],
        now: Timestamp,
    ) -> Result<Vec<PublisherRecord>, ExchangeError> {
        let looked_at = if matching.is_empty() { others } else { &matching };
        let mut published = Ok(false);
        if looked_at.iter().any(|rule| !rule.has_jwks) {
            published = self.is_published(token, now).await;
        }
        let mut own: Vec<&PublisherRecord> = looked_at.iter().filter(|rule| rule.has_jwks).collect();
        keep_some(&mut own, KEYS_MAX, |rule| &rule.namespace);
        let own: Vec<PublisherId> = own.into_iter().map(|rule| rule.id).collect();
        let keys = if own.is_empty() { Vec::new() } else { self.store.publisher_keys(&own).await? };
        let signed = |jwks: &str| KeySet::parse(jwks.as_bytes()).is_ok_and(|keys| token.is_of(&keys));
        let own: Vec<PublisherId> = keys.iter().filter(|(_, jwks)| signed(jwks)).map(|(id, _)| *id).collect();
        match published {
            Err(error) if own.is_empty() => return Err(error),
            Ok(false) if own.is_empty() => return Err(Refusal::Signature.into()),
            _ => {}
        }
        let published = published.unwrap_or(false);
        matching.retain(|rule| if rule.has_jwks { own.contains(&rule.id) } else { published });
        Ok(matching)
    }

    /// Whether a key that the issuer publishes has signed a token.
    async fn is_published(&self, token: &ForeignToken<'_>, now: Timestamp) -> Result<bool, ExchangeError> {
        let issuers = &self.options.issuers;
        let keys = issuers.keys(&token.issuer, |keys| token.may_be_of(keys), token.signed_by(now), now).await;
        match keys {
            Ok(keys) => Ok(token.is_of(&keys)),
            // The operator has taken the host from the list since the rule was made. Clients could fill the log with it.
            Err(IssuerError::Host(error)) => {
                tracing::debug!(issuer = token.issuer.as_str(), %error, "an issuer may not be asked for its keys");
                Ok(false)
            }
            // The look that failed has been written down.
            Err(IssuerError::Pause) => Err(ExchangeError::Unavailable),
            Err(error) => {
                tracing::warn!(issuer = token.issuer.as_str(), %error, "the keys of an issuer cannot be had");
                Err(ExchangeError::Unavailable)
            }
        }
    }

    /// Who acts by rules, if any of them is still there. The others count no more: whoever ends a rule of his namespace ends
    /// what it gave there, and nothing that another one gives elsewhere.
    pub(in crate::auth) async fn by_rules(
        &self,
        ids: &[i64],
        until: Timestamp,
        limit: Option<Scopes>,
    ) -> Result<Identity, AuthError> {
        let rules: Vec<PublisherId> = ids.iter().copied().map(PublisherId).collect();
        let mut roles = self.store.publisher_find(&rules).await?;
        if roles.is_empty() {
            return Err(AuthError::Wrong);
        }
        roles.sort_unstable_by_key(|role| role.id);
        Ok(Identity::Publisher(Arc::new(Publisher { rules, roles, until, limit })))
    }

    /// Forgets, once a minute, tokens that nobody takes any more.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn forget_exchanged(&self) -> Result<(), AuthError> {
        let now = self.clock.now();
        if self.exchanged_swept.is_due(now, SWEEP_PAUSE) {
            // The clock of another node may be behind.
            self.store.publisher_sweep(now.before(CLOCK_SKEW)).await?;
        }
        Ok(())
    }
}

/// Leaves as many of each namespace as may be, the first ones.
fn keep_some<T>(rules: &mut Vec<T>, most: usize, namespace: impl Fn(&T) -> &NamespacePath) {
    let mut kept: HashMap<NamespacePath, usize> = HashMap::new();
    rules.retain(|rule| {
        let kept = kept.entry(namespace(rule).clone()).or_default();
        *kept += 1;
        *kept <= most
    });
}

/// The rules by which a token acts: of each namespace those with the highest roles, so that it can do what all of them give.
fn granting(mut rules: Vec<PublisherRecord>) -> Vec<PublisherRecord> {
    rules.sort_unstable_by(|a, b| (&a.namespace, b.role, a.id).cmp(&(&b.namespace, a.role, b.id)));
    keep_some(&mut rules, GRANTS_MAX, |rule| &rule.namespace);
    rules
}
