//! The integration tests, in one binary.

mod app;
mod cli;
mod contract;
mod fixtures;
mod oci;
mod reference;
mod registry;
mod statements;
