//! The record of what happened, brought up to date.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::audit::Audit;
use crate::jobs::{Job, URGENT_BACKOFF_MAX};

/// Twice a second chains what happened, and writes down the refusals of minutes that are over.
#[derive(Debug)]
pub struct SealAudit {
    audit: Arc<Audit>,
}

impl SealAudit {
    /// For the record that `audit` keeps.
    pub fn new(audit: Arc<Audit>) -> Self {
        Self { audit }
    }
}

#[async_trait]
impl Job for SealAudit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn backoff_max(&self) -> Duration {
        URGENT_BACKOFF_MAX
    }

    async fn run(&self) -> anyhow::Result<bool> {
        self.audit.flush(false).await?;
        Ok(self.audit.seal().await?)
    }
}
