//! The S3 driver over an S3 server in this process and over a real one: calls, memory, faults, many nodes.

pub(crate) mod server;
