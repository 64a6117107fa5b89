//! Bonded: an OCI registry.
#![forbid(unsafe_code)]

pub mod clock;
pub mod frontends;
pub mod http;
pub mod jobs;
pub mod metadata;
pub mod oci;
pub mod registry;
pub mod storage;
pub mod telemetry;
