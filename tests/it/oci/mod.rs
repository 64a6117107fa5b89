//! The OCI distribution API on the wire.

mod blobs;
mod errors;
mod lists;
mod manifests;
mod ranges;
mod referrers;
mod scrub;
mod uploads;
