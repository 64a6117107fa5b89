//! The names of what is logged and measured, written once (see `docs/LOGGING.md`).

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
    /// Sessions that expired.
    pub const UPLOADS_EXPIRED: &str = "bonded_uploads_expired";
    /// Time of a storage operation, by operation and outcome.
    pub const STORAGE_DURATION: &str = "bonded_storage_operation_seconds";
    /// Version of the program.
    pub const BUILD: &str = "bonded_build";
}
