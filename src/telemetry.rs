//! The names of what is logged and measured, written once (see `docs/LOGGING.md`).

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStyle {
    /// For people, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is malformed.
    #[error("the log filter is malformed: {0}")]
    Filter(#[from] ParseError),
    /// Something in this process logs already.
    #[error("the log was started before: {0}")]
    Started(#[from] TryInitError),
}

/// Starts the log on standard error, once for the process.
///
/// `filter` is a level (`info`), or a list such as `info,bonded::registry=debug`; `colours` only matters for text.
///
/// # Errors
/// [`InitError`].
pub fn init(style: LogStyle, filter: &str, colours: bool) -> Result<(), InitError> {
    let filter: EnvFilter = filter.parse()?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match style {
        LogStyle::Text => builder.with_ansi(colours).with_target(false).finish().try_init()?,
        LogStyle::Json => builder.json().flatten_event(true).with_current_span(true).finish().try_init()?,
    }
    Ok(())
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors already repeat their cause in their own words.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Routes that are not part of the distribution API, as metrics and logs call them.
pub mod route {
    /// `/health` and what is below it.
    pub const HEALTH: &str = "health";
    /// `/metrics`.
    pub const METRICS: &str = "metrics";
    /// `/api/v1`.
    pub const API: &str = "api";
    /// `/`.
    pub const ROOT: &str = "root";
    /// A path that nobody answers.
    pub const UNKNOWN: &str = "unknown";
}

/// Names of the metrics; units last, as Prometheus asks.
pub mod metric {
    /// Requests answered, by route, method and status.
    pub const HTTP_REQUESTS: &str = "bonded_http_requests";
    /// Time to the head of the answer.
    pub const HTTP_DURATION: &str = "bonded_http_request_duration_seconds";
    /// Requests under way.
    pub const HTTP_IN_FLIGHT: &str = "bonded_http_requests_in_flight";
    /// Open connections.
    pub const CONNECTIONS: &str = "bonded_http_connections";
    /// Upload sessions that are open.
    pub const UPLOADS_OPEN: &str = "bonded_uploads_open";
    /// Objects that wait to be removed.
    pub const DELETIONS_WAITING: &str = "bonded_object_deletions_waiting";
    /// Their bytes.
    pub const DELETIONS_WAITING_BYTES: &str = "bonded_object_deletions_waiting_bytes";
    /// Blobs collected.
    pub const GC_BLOBS: &str = "bonded_gc_blobs";
    /// Bytes of blobs collected.
    pub const GC_BYTES: &str = "bonded_gc_reclaimed_bytes";
    /// Objects removed.
    pub const GC_OBJECTS: &str = "bonded_gc_objects_removed";
    /// Bytes of objects removed.
    pub const GC_OBJECT_BYTES: &str = "bonded_gc_objects_removed_bytes";
    /// Blobs that wait for collection.
    pub const GC_WAITING: &str = "bonded_gc_blobs_waiting";
    /// Their bytes.
    pub const GC_WAITING_BYTES: &str = "bonded_gc_blobs_waiting_bytes";
    /// Manifests deleted by retention, by the number of the rule.
    pub const RETENTION_MANIFESTS: &str = "bonded_retention_manifests_deleted";
    /// Sessions that expired.
    pub const UPLOADS_EXPIRED: &str = "bonded_uploads_expired";
    /// Time of a storage operation, by operation and outcome.
    pub const STORAGE_DURATION: &str = "bonded_storage_operation_seconds";
    /// Blobs and manifests that were read again.
    pub const SCRUB_OBJECTS: &str = "bonded_scrub_objects";
    /// Their bytes.
    pub const SCRUB_BYTES: &str = "bonded_scrub_bytes";
    /// Blobs that could not be read again, and were stepped over.
    pub const SCRUB_UNREAD: &str = "bonded_scrub_unread";
    /// Blobs and manifests that were found damaged, by whatever found them.
    pub const DAMAGE_FOUND: &str = "bonded_damage_found";
    /// Blobs that are damaged.
    pub const BLOBS_DAMAGED: &str = "bonded_blobs_damaged";
    /// Manifests that are damaged.
    pub const MANIFESTS_DAMAGED: &str = "bonded_manifests_damaged";
    /// Signature policies in force.
    pub const POLICIES: &str = "bonded_policies";
    /// 1 while the newest document of policies cannot be used.
    pub const POLICY_DOCUMENT_FAULTY: &str = "bonded_policy_document_faulty";
    /// Images that satisfied the signature policies and do not any more.
    pub const VERDICTS_FAILED: &str = "bonded_verdicts_failed";
    /// Images that were judged again though nobody asked.
    pub const VERDICTS_SWEPT: &str = "bonded_verdicts_swept";
    /// Version of the program.
    pub const BUILD: &str = "bonded_build";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("middle")]
        struct Middle(#[source] io::Error);

        let error = Outer(Middle(io::Error::other("inner")));
        assert_eq!(chain(&error), "outer: middle: inner");
    }

    #[test]
    fn a_malformed_filter_is_refused() {
        assert!(matches!(init(LogStyle::Text, "bonded=loud", false), Err(InitError::Filter(_))));
    }
}
