//! The words of the OCI distribution and image specifications as types: pure, without I/O.
//!
//! Whatever comes from a client is parsed here once, into values that cannot be wrong; nothing past this module handles
//! a digest, a name or a range as text.

pub mod digest;
pub mod glob;
pub mod name;
pub mod reference;
