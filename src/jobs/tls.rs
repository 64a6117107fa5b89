//! The certificate follows its files.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::http::tls::TlsReloader;
use crate::jobs::Job;

/// Looks at certificate and key every few seconds.
#[derive(Debug)]
pub struct ReloadTls {
    tls: Arc<TlsReloader>,
}

impl ReloadTls {
    /// Keeps `tls` fresh.
    pub fn new(tls: Arc<TlsReloader>) -> Self {
        Self { tls }
    }
}

#[async_trait]
impl Job for ReloadTls {
    fn name(&self) -> &'static str {
        "tls_reload"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn run(&self) -> anyhow::Result<bool> {
        let tls = self.tls.clone();
        if tokio::task::spawn_blocking(move || tls.reload_now()).await?? {
            tracing::info!("certificate and key reloaded");
        }
        Ok(false)
    }
}
