//! The words of the OCI distribution and image specifications as types: pure, without I/O.
//!
//! Whatever comes from a client is parsed here once, into values that cannot be wrong; nothing past this module handles
//! a digest, a name or a range as text.

pub mod descriptor;
pub mod digest;
pub mod error;
pub mod etag;
pub mod glob;
pub mod json;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod page;
pub mod range;
pub mod reference;
pub mod referrers;
pub mod route;
