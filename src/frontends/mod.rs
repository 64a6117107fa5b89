//! The dialects in which clients talk to the registry. A front end translates; it decides nothing.

pub mod api;
pub mod oci;
pub mod ops;
