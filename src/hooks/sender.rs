//! One request to one receiver: to allowed addresses only, within its time, and without following anything.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::hooks::HookOptions;
use crate::hooks::event::{CONTENT_TYPE, ID, SIGNATURE, TIMESTAMP};
use crate::hooks::networks::Networks;
use crate::hooks::url::HookUrl;
use crate::telemetry;

/// Most bytes of an answer that are read. They are not looked at: a connection whose answer was read can be used again.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// How long a connection waits for the next delivery.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 300;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// There was an answer with this status.
    Answered(u16),
    /// There was none; it may come later.
    Failed(String),
    /// It may not go there.
    NotAllowed,
}

/// A signed body.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
}

/// Sends requests.
pub(super) struct Sender {
    networks: Networks,
    connect_time_max: Duration,
    answer_time_max: Duration,
    /// Clients for `https` and for `http`, which may go to fewer networks. Made with the first request, since the
    /// certificates of the machine are read then, and there may be none.
    clients: [OnceLock<Client>; 2],
}

impl Sender {
    pub(super) fn new(options: &HookOptions) -> Self {
        let HookOptions { networks, connect_time_max, answer_time_max, .. } = options.clone();
        Self { networks, connect_time_max, answer_time_max, clients: [OnceLock::new(), OnceLock::new()] }
    }

    /// POSTs a signed event.
    pub(super) async fn send(&self, url: &HookUrl, signed: Signed) -> Sent {
        let client = match self.client(url.is_secure()) {
            Ok(client) => client,
            Err(error) => return Sent::Failed(reason(&error.without_url())),
        };
        let request = client
            .post(url.to_url())
            .header("content-type", CONTENT_TYPE)
            .header(ID, signed.id)
            .header(TIMESTAMP, signed.timestamp)
            .header(SIGNATURE, signed.signature)
            .body(signed.body);
        match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                drain(answer).await;
                Sent::Answered(status)
            }
            Err(error) if is_disallowed(&error) => Sent::NotAllowed,
            Err(error) if error.is_timeout() => {
                Sent::Failed(format!("there was no answer within {} s", self.answer_time_max.as_secs_f64()))
            }
            // The address may hold a secret, so it is not repeated.
            Err(error) => Sent::Failed(reason(&error.without_url())),
        }
    }

    fn client(&self, secure: bool) -> Result<&Client, reqwest::Error> {
        let [secure_client, plain_client] = &self.clients;
        let (cell, networks) =
            if secure { (secure_client, self.networks.clone()) } else { (plain_client, self.networks.listed_only()) };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .user_agent(concat!("bonded/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.connect_time_max)
            .timeout(self.answer_time_max)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_MAX)
            .dns_resolver(Guarded(Arc::new(networks)))
            .build()?;
        Ok(cell.get_or_init(|| client))
    }
}

/// Reads what little an answer may say.
async fn drain(mut answer: Response) {
    let mut read = 0;
    while read <= ANSWER_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(bytes)) => read += bytes.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

fn reason(error: &(dyn Error + 'static)) -> String {
    telemetry::chain(error).chars().take(REASON_CHARS_MAX).collect()
}

/// Resolves names, and gives only the addresses that are allowed. A host that is an address comes by here never; it is
/// judged before.
struct Guarded(Arc<Networks>);

/// None of the addresses of a name is allowed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is not in a network that `webhooks.allowed_networks` allows")]
struct Disallowed;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| networks.allows(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Disallowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_disallowed(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<Disallowed>() {
            return true;
        }
        source = cause.source();
    }
    false
}
