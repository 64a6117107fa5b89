//! What satisfied the signature policies, judged again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::jobs::Job;
use crate::registry::Registry;

/// Judges a second's worth of what passed every second, as long as a walk over it is under way. Every second it also sees
/// whether other policies are in force, and so begins another one.
#[derive(Debug)]
pub struct SweepVerdicts {
    registry: Arc<Registry>,
}

impl SweepVerdicts {
    /// Judges what passed in `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Job for SweepVerdicts {
    fn name(&self) -> &'static str {
        "verdict_sweep"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// That there is more is no reason to go on at once: the pause is what keeps the rate.
    async fn run(&self) -> anyhow::Result<bool> {
        self.registry.sweep_verdicts().await?;
        Ok(false)
    }
}
