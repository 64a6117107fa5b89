//! The integration tests, in one binary.

mod access;
mod app;
mod assembly;
mod audit;
mod cli;
mod compose;
mod contract;
mod docs;
mod faults;
mod first_start;
mod fixtures;
mod hooks;
mod http;
mod layering;
mod moving;
mod nodes;
mod oci;
mod policy;
mod postgres;
mod reference;
mod registry;
mod s3;
mod sources;
mod statements;
mod stores;
mod tidy;
