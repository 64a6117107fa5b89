//! What is stored, read again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::jobs::Job;
use crate::registry::Registry;

/// Reads a second's worth of what is stored every second, as long as a pass is under way.
#[derive(Debug)]
pub struct Scrub {
    registry: Arc<Registry>,
}

impl Scrub {
    /// Reads what `registry` has stored.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Job for Scrub {
    fn name(&self) -> &'static str {
        "scrub"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// That there is more is no reason to go on at once: the pause is what keeps the rate.
    async fn run(&self) -> anyhow::Result<bool> {
        self.registry.scrub().await?;
        Ok(false)
    }
}
