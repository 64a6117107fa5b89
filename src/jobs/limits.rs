//! What nodes tell each other of the requests that they let through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::auth::Auth;
use crate::jobs::{Job, URGENT_BACKOFF_MAX};

/// Tells other nodes every second what was let through, and forgets what counts no more.
#[derive(Debug)]
pub struct ShareLimits {
    auth: Arc<Auth>,
    /// Nobody could be told the last time.
    alone: AtomicBool,
}

impl ShareLimits {
    /// Shares the limits of `auth`.
    pub fn new(auth: Arc<Auth>) -> Self {
        Self { auth, alone: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Job for ShareLimits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn backoff_max(&self) -> Duration {
        URGENT_BACKOFF_MAX
    }

    /// That nobody can be told is no reason to wait longer the next time: it is said once, and tried every second.
    async fn run(&self) -> anyhow::Result<bool> {
        match self.auth.reconcile_limits().await {
            Ok(()) => {
                if self.alone.swap(false, Ordering::Relaxed) {
                    tracing::info!("the nodes share the limits of requests again");
                }
            }
            Err(error) => {
                if !self.alone.swap(true, Ordering::Relaxed) {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(error, "the nodes cannot share the limits of requests; this one counts alone");
                }
            }
        }
        self.auth.forget_limits().await?;
        Ok(false)
    }
}
