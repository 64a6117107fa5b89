//! The integration tests, in one binary.

mod docs;
mod layering;
mod sources;
mod tidy;
