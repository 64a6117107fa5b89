//! Serving HTTP: connections, TLS, a graceful end, and what every request passes through. Knows no dialect.

pub mod cors;
pub mod credentials;
pub mod fetch;
pub mod metrics;
pub mod middleware;
pub mod origin;
pub mod pages;
mod patient;
pub mod sendfile;
pub mod server;
pub mod standing;
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
    /// Whether what this node takes for the time may be wrong.
    pub clock_doubt: ClockDoubt,
}

/// Says that the clocks of this machine and of the database went apart: the server is not ready until they are in step.
#[derive(Clone, Debug, Default)]
pub struct ClockDoubt(Arc<AtomicBool>);

impl ClockDoubt {
    /// Whether there is doubt from now on.
    pub fn set(&self, doubt: bool) {
        self.0.store(doubt, Ordering::SeqCst);
    }

    /// Whether there is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
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
