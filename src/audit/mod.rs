//! The record of what happened: kept, sealed, verified. Knows no HTTP and no SQL.
//!
//! - What changes something is written down by the transaction that does it, below; here is what happens without one:
//!   logins by password, and refusals, which are counted.
//! - [`Audit::seal`] numbers events and chains them by hash; [`Audit::verify`] walks the chain.

mod refusals;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use serde_json::{Value as Json, json};

use crate::clock::{Clock, Entropy, Timestamp};
use crate::metadata::MetadataError;
use crate::metadata::audit::AuditStore;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::audit::{AuditEvent, AuditFilter, AuditNote, AuditPage};
use crate::telemetry;
use refusals::Refusals;

pub use verify::{Broken, Verified};

/// Shorthand for this layer's results.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// Events sealed in one transaction.
const SEAL_BATCH: u32 = 1_000;

/// Events read at once.
const PAGE: u32 = 1_000;

/// How often it is written down that a token is in use.
const TOKEN_NOTED: Duration = Duration::from_hours(1);

/// Tokens of which that is remembered.
const TOKENS_MAX: usize = 10_000;

/// Keeps the record of what happened.
pub struct Audit {
    store: Arc<dyn AuditStore>,
    clock: Arc<dyn Clock>,
    /// Names this process among those that seal.
    node: String,
    refusals: Refusals,
    /// Until when tokens that are in use are not written down again.
    tokens: Cache<String, Timestamp>,
    verifying: tokio::sync::Mutex<()>,
}

/// What somebody showed who showed no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// An API token.
    Token,
    /// A certificate.
    Certificate,
}

impl Audit {
    /// Over a store.
    pub fn new(store: Arc<dyn AuditStore>, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let node = hex::encode(entropy.bytes16());
        let (refusals, tokens) = (Refusals::default(), Cache::new(TOKENS_MAX));
        Self { store, clock, node, refusals, tokens, verifying: tokio::sync::Mutex::default() }
    }

    /// Somebody has proven by a password who he is.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn logged_in(&self, name: &str, by: Actor) -> Result<()> {
        self.login(name, by, json!({"by": "password"})).await
    }

    /// Somebody has proven it by an API token, or by a certificate with this fingerprint (`how`); this is written down once
    /// an hour. He need not wait until a database that only reads can write again, so that it cannot be written down is no
    /// error.
    pub async fn logged_in_by(&self, how: Proof, name: &str, id: &str, by: impl FnOnce() -> Actor + Send) {
        let now = self.clock.now();
        if self.tokens.get(id).is_some_and(|until| now < until) {
            return;
        }
        self.tokens.insert(id.to_owned(), now.after(TOKEN_NOTED));
        let kind = match how {
            Proof::Token => "token",
            Proof::Certificate => "certificate",
        };
        if let Err(error) = self.login(name, by(), json!({"by": kind, kind: id})).await {
            tracing::warn!(error = telemetry::chain(&error), "a login by a token was not written down");
        }
    }

    async fn login(&self, name: &str, by: Actor, detail: Json) -> Result<()> {
        let by = Actor { name: Some(name.to_owned()), ..by };
        let note = AuditNote { by, kind: "login", subject: name.to_owned(), detail };
        self.store.audit_note(&[note], self.clock.now()).await
    }

    /// Somebody has sent credentials that are wrong, perhaps those of an account that there is.
    pub fn login_refused(&self, account: Option<&str>, by: &Actor) {
        self.refusals.count_login(account, by, self.clock.now());
    }

    /// Somebody was not let do something.
    pub fn refused(&self, action: &str, by: &Actor) {
        self.refusals.count(action, by, self.clock.now());
    }

    /// Somebody was given what does not satisfy a signature policy, because the policy makes an exception for him.
    pub fn bypassed(&self, repo: &str, by: &Actor) {
        self.refusals.count_bypass(repo, by, self.clock.now());
    }

    /// Writes down the refusals of minutes that are over; at the end of the process, of the one that is not over as well.
    /// What cannot be written is counted on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn flush(&self, all: bool) -> Result<()> {
        let now = self.clock.now();
        loop {
            let counted = self.refusals.take((!all).then_some(now));
            if counted.is_empty() {
                return Ok(());
            }
            let notes: Vec<AuditNote> = counted.iter().map(AuditNote::from).collect();
            if let Err(error) = self.store.audit_note(&notes, now).await {
                self.refusals.put_back(counted);
                return Err(error);
            }
        }
    }

    /// Seals a batch of events, unless another node does; says whether there may be more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn seal(&self) -> Result<bool> {
        let sealed = self.store.audit_seal(&self.node, self.clock.now(), SEAL_BATCH).await?;
        Ok(sealed == u64::from(SEAL_BATCH))
    }

    /// Lets another node seal at once, because this one ends.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn leave_sealing(&self) -> Result<()> {
        self.store.audit_leave(&self.node).await
    }

    /// Events that fit, the newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, filter: &AuditFilter, before: Option<i64>, limit: u32) -> Result<AuditPage> {
        self.store.audit_list(filter, before, limit).await
    }

    /// The chain after a sequence number, a page of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn chain(&self, after: i64) -> Result<Vec<AuditEvent>> {
        self.store.audit_chain(after, PAGE).await
    }

    /// What has no place in the chain yet, behind an id, a page of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unsealed(&self, after: i64) -> Result<Vec<AuditEvent>> {
        self.store.audit_unsealed(after, PAGE).await
    }

    /// The present moment, as events are dated by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("store", &self.store).finish_non_exhaustive()
    }
}
