//! What tests and benches start beside the registry: databases, object stores, proxies.

pub mod random;
pub mod servers;
