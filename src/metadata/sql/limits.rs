//! What bounds logins, requests and namespaces.

super::statements! { "limits":
    /// Counts a login by each key; what was counted in a time that is over counts no more.
    ATTEMPT_COUNT = concat!("INSERT INTO login_attempts (key, failures, ends_at, kept_until) \
        SELECT ", text!(0), ", 1, CAST($3 AS BIGINT), CAST($3 AS BIGINT) FROM ", rows!("$1"), " WHERE TRUE ORDER BY 1 \
        ON CONFLICT (key) DO UPDATE SET \
        failures = CASE WHEN login_attempts.ends_at <= $2 THEN 1 ELSE login_attempts.failures + 1 END, \
        ends_at = CASE WHEN login_attempts.ends_at <= $2 THEN excluded.ends_at ELSE login_attempts.ends_at END, \
        kept_until = CASE WHEN login_attempts.ends_at <= $2 AND login_attempts.kept_until < excluded.ends_at \
            THEN excluded.ends_at ELSE login_attempts.kept_until END \
        RETURNING key, failures, ends_at, known_until");

    /// Keeps keys as they are, until the transaction ends.
    ATTEMPT_LOCK = locking!("SELECT key FROM login_attempts WHERE key = ANY ($1) ORDER BY key FOR NO KEY UPDATE");

    /// Takes one login back by each key, if it was counted in the time that is named: rows of (key, end).
    ATTEMPT_GIVE_BACK = concat!("UPDATE login_attempts SET failures = failures - 1 FROM ", rows!("$1"), " \
        WHERE login_attempts.key = ", text!(0), " AND login_attempts.ends_at = ", int!(1), " AND login_attempts.failures > 0");

    /// A password was right: nothing is held against this account from there.
    ATTEMPT_RIGHT = "UPDATE login_attempts SET failures = 0, known_until = $2, \
        kept_until = CASE WHEN kept_until < $2 THEN $2 ELSE kept_until END WHERE key = $1";

    /// Forgets some keys that say nothing any more.
    ATTEMPT_FORGET = concat!("DELETE FROM login_attempts WHERE key IN (SELECT key FROM login_attempts \
        WHERE kept_until <= $1 ORDER BY kept_until LIMIT 1000", locking!(" FOR UPDATE SKIP LOCKED"), ")");

    /// Fills buckets: rows of (key, microseconds until what comes in has run out).
    RATE_FILL = concat!("INSERT INTO rate_buckets (key, empty_at) \
        SELECT ", text!(0), ", CAST($2 AS BIGINT) + ", int!(1), " FROM ", rows!("$1"), " WHERE TRUE ORDER BY 1 \
        ON CONFLICT (key) DO UPDATE SET empty_at = excluded.empty_at - $2 + \
            CASE WHEN rate_buckets.empty_at > $2 THEN rate_buckets.empty_at ELSE $2 END \
        RETURNING key, empty_at");

    /// Forgets some buckets that are empty.
    RATE_FORGET = concat!("DELETE FROM rate_buckets WHERE key IN (SELECT key FROM rate_buckets \
        WHERE empty_at <= $1 ORDER BY empty_at LIMIT 1000", locking!(" FOR UPDATE SKIP LOCKED"), ")");

    /// Says what a namespace may hold.
    QUOTA_SET = "INSERT INTO quotas (ns_id, bytes, repositories) VALUES ($1, $2, $3) \
        ON CONFLICT (ns_id) DO UPDATE SET bytes = excluded.bytes, repositories = excluded.repositories";

    /// A namespace may hold anything.
    QUOTA_END = "DELETE FROM quotas WHERE ns_id = $1";

    /// What a namespace may hold.
    QUOTA_FIND = "SELECT q.bytes, q.repositories FROM namespaces n LEFT JOIN quotas q ON q.ns_id = n.id WHERE n.path = $1";

    /// Whether a repository has any content.
    HOLDS = "SELECT EXISTS (SELECT 1 FROM repositories r WHERE r.path = $1 AND r.deleted_at IS NULL \
        AND (EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.repo_id = r.id) \
            OR EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = r.id) \
            OR EXISTS (SELECT 1 FROM uploads u WHERE u.repo_id = r.id AND u.state <> 'committed' AND u.received > 0)) LIMIT 1)";

    /// What the repositories of a namespace hold, those of longer namespaces left out: itself, and those between two
    /// bounds. What uploads have received counts too, but for those that are named. One without content is none.
    USAGE = concat!("SELECT COUNT(*) AS repositories, CAST(COALESCE(SUM(held.bytes), 0) AS BIGINT) AS bytes FROM ( \
            SELECT (SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM repo_blobs rb JOIN blobs b ON b.id = rb.blob_id \
                    WHERE rb.repo_id = r.id) \
                + (SELECT CAST(COALESCE(SUM(length(m.payload)), 0) AS BIGINT) FROM manifests m WHERE m.repo_id = r.id) \
                + (SELECT CAST(COALESCE(SUM(u.received), 0) AS BIGINT) FROM uploads u \
                    WHERE u.repo_id = r.id AND u.state <> 'committed' AND NOT (u.id ", among!("$4"), ")) \
                AS bytes \
            FROM repositories r WHERE r.deleted_at IS NULL \
                AND r.path >= $1 AND r.path < $3 AND (r.path = $1 OR r.path > $2) \
                AND NOT EXISTS (SELECT 1 FROM namespaces d WHERE d.path > $2 AND d.path < $3 \
                    AND (r.path = d.path OR substr(r.path, 1, length(d.path) + 1) = d.path || '/'))) AS held \
        WHERE held.bytes > 0");
}
