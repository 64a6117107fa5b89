//! The integration tests, in one binary.

mod app;
mod contract;
mod fixtures;
mod oci;
mod registry;
mod statements;
