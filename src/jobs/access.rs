//! What others change of what anybody may do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::auth::Auth;
use crate::jobs::{Job, URGENT_BACKOFF_MAX};

/// Looks every second whether another node, or the command line, has changed accounts, roles or tokens.
#[derive(Debug)]
pub struct WatchAccess {
    auth: Arc<Auth>,
}

impl WatchAccess {
    /// A watch for `auth`.
    pub fn new(auth: Arc<Auth>) -> Self {
        Self { auth }
    }
}

#[async_trait]
impl Job for WatchAccess {
    fn name(&self) -> &'static str {
        "access"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn backoff_max(&self) -> Duration {
        URGENT_BACKOFF_MAX
    }

    async fn run(&self) -> anyhow::Result<bool> {
        self.auth.refresh().await?;
        self.auth.flush_used().await?;
        self.auth.forget_exchanged().await?;
        Ok(false)
    }
}
