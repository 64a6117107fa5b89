//! Webhooks: who is told what happens in a namespace, and the telling. Knows no SQL.
//!
//! - [`Hooks`] makes and ends webhooks, and lists their deliveries; an event is put on its way by the transaction in which
//!   it happens, below this layer.
//! - [`Hooks::deliver_due`] sends what is due as `CloudEvents`, signed, and only to [`Networks`] that are allowed.
//! - [`Hooks::denied`] counts who was refused, and tells it once a minute.
//! - Each event is delivered once at least. To one webhook goes one request at a time, in the order of events; an attempt
//!   that failed comes again later, and events behind it do not wait for it.

mod deliver;
mod denials;
mod event;
mod manage;
mod networks;
mod sender;
mod url;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::auth::Auth;
use crate::clock::{Clock, Entropy};
use crate::metadata::webhooks::WebhookStore;

use denials::Denials;
use sender::Sender;

pub use manage::{HookError, WebhookMade, WebhookWish};
pub use networks::{Networks, NetworksError};
pub use url::{HookUrl, UrlError};

/// What an operator decides, and what tests do.
#[derive(Clone, Debug)]
pub struct HookOptions {
    /// Where requests may go.
    pub networks: Networks,
    /// What events say that they come from: `public_url`, or the name of this service.
    pub source: String,
    /// Longest time until there is a connection.
    pub connect_time_max: Duration,
    /// Longest time until there is an answer, connecting included.
    pub answer_time_max: Duration,
}

impl Default for HookOptions {
    fn default() -> Self {
        Self {
            networks: Networks::default(),
            source: "bonded".to_owned(),
            connect_time_max: Duration::from_secs(5),
            answer_time_max: Duration::from_secs(10),
        }
    }
}

/// Webhooks of all namespaces.
pub struct Hooks {
    store: Arc<dyn WebhookStore>,
    auth: Arc<Auth>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: HookOptions,
    sender: Sender,
    denials: Denials,
    /// When the outbox was tidied last, in microseconds.
    tidied: AtomicI64,
}

impl Hooks {
    /// Over a store; `auth` seals what signs deliveries.
    pub fn new(
        store: Arc<dyn WebhookStore>,
        auth: Arc<Auth>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: HookOptions,
    ) -> Self {
        let sender = Sender::new(&options);
        let (denials, tidied) = (Denials::default(), AtomicI64::new(i64::MIN));
        Self { store, auth, clock, entropy, options, sender, denials, tidied }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("networks", &self.options.networks).finish_non_exhaustive()
    }
}

/// Under which name the secret of a webhook is sealed.
fn sealed_name(id: &str) -> String {
    format!("webhook {id}")
}
