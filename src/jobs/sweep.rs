//! Collection while the server runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::jobs::Job;
use crate::registry::Registry;

/// Expires sessions, collects garbage and removes its objects: at once after a delete, and every few seconds. Takes by
/// rule what is due, and writes down what was pulled.
#[derive(Debug)]
pub struct Sweep {
    registry: Arc<Registry>,
}

impl Sweep {
    /// A sweep of `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Job for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn hint(&self) {
        self.registry.garbage_made().await;
    }

    async fn run(&self) -> anyhow::Result<bool> {
        let more = self.registry.sweep().await?;
        // Before retention looks at it.
        self.registry.flush_pulls().await?;
        self.registry.flush_downloads(false).await?;
        Ok(self.registry.retain().await? || more)
    }
}
