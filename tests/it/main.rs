//! The integration tests, in one binary.

mod contract;
mod statements;

mod app;
mod fixtures;
mod oci;
mod registry;
