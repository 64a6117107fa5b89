//! The integration tests, in one binary.

mod app;
mod contract;
mod docs;
mod fixtures;
mod layering;
mod oci;
mod registry;
mod sources;
mod statements;
mod tidy;
