//! Serving HTTP: connections, TLS, a graceful end, and what every request passes through. Knows no dialect.

pub mod metrics;
pub mod middleware;
mod patient;
pub mod server;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::registry::Registry;

pub use metrics::Metrics;

/// What handlers share.
#[derive(Clone, Debug)]
pub struct Services {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the server is on its way out.
    pub draining: Draining,
}

/// Says that the server is shutting down: readiness turns 503 before anything else ends.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on the server is not ready.
    pub fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
