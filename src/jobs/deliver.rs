//! Webhooks are told what happened.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::hooks::Hooks;
use crate::jobs::{Job, URGENT_BACKOFF_MAX};

/// Looks every second whether a webhook is to be told something, and tells it.
#[derive(Debug)]
pub struct Deliver {
    hooks: Arc<Hooks>,
    stop: CancellationToken,
}

impl Deliver {
    /// Deliveries of `hooks`, until `stop` fires: receivers may take their time, and the end of a server does not wait for
    /// them. What is under way then is sent again by whoever serves next.
    pub fn new(hooks: Arc<Hooks>, stop: CancellationToken) -> Self {
        Self { hooks, stop }
    }
}

#[async_trait]
impl Job for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn backoff_max(&self) -> Duration {
        URGENT_BACKOFF_MAX
    }

    async fn run(&self) -> anyhow::Result<bool> {
        tokio::select! {
            () = self.stop.cancelled() => {}
            delivered = self.hooks.deliver_due() => drop(delivered?),
        }
        Ok(false)
    }
}
