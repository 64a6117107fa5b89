//! What a sweep would find, and what repositories take. All columns of a piece of garbage have the same names.

super::statements! { "garbage":
    /// Sessions past their expiry.
    SESSIONS = "SELECT r.path AS repo, u.id AS name, u.received AS bytes, u.expires_at AS due, CAST(0 AS BIGINT) AS id, \
            CAST(0 AS BIGINT) AS second_id \
        FROM uploads u JOIN repositories r ON r.id = u.repo_id \
        WHERE u.expires_at <= $1 AND u.state <> 'committed' AND u.id > $2 ORDER BY u.id LIMIT $3";

    /// Referrers whose subject has been gone for long enough.
    REFERRERS = "SELECT r.path AS repo, m.digest AS name, CAST(length(m.payload) AS BIGINT) AS bytes, m.gc_after AS due, \
            m.id, CAST(0 AS BIGINT) AS second_id \
        FROM manifests m JOIN repositories r ON r.id = m.repo_id \
        WHERE m.gc_after <= $1 AND m.id > $2 \
            AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = m.id AND c.repo_id = m.repo_id) \
            AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id) \
            AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repo_id = m.repo_id AND s.digest = m.subject) \
        ORDER BY m.id LIMIT $3";

    /// Memberships that nothing holds; their bytes count when no other repository has the blob.
    MEMBERSHIPS = "SELECT r.path AS repo, b.digest AS name, rb.gc_after AS due, rb.repo_id AS id, rb.blob_id AS second_id, \
            CASE WHEN EXISTS (SELECT 1 FROM repo_blobs o WHERE o.blob_id = rb.blob_id AND o.repo_id <> rb.repo_id) \
                THEN 0 ELSE b.size END AS bytes \
        FROM repo_blobs rb JOIN repositories r ON r.id = rb.repo_id JOIN blobs b ON b.id = rb.blob_id \
        WHERE rb.gc_after <= $1 AND (rb.repo_id, rb.blob_id) > ($2, $3) \
            AND (rb.lease_until IS NULL OR rb.lease_until <= $1) \
            AND NOT EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.repo_id = rb.repo_id AND e.blob_id = rb.blob_id) \
            AND NOT EXISTS (SELECT 1 FROM manifest_blobs e \
                WHERE e.repo_id = rb.repo_id AND e.blob_id IS NULL AND e.digest = b.digest) \
        ORDER BY rb.repo_id, rb.blob_id LIMIT $4";

    /// Blobs that no repository has.
    BLOBS = "SELECT CAST(NULL AS TEXT) AS repo, b.digest AS name, b.size AS bytes, b.gc_after AS due, b.id, \
            CAST(0 AS BIGINT) AS second_id \
        FROM blobs b WHERE b.gc_after <= $1 AND b.id > $2 \
            AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id) \
        ORDER BY b.id LIMIT $3";

    /// Objects that wait to be removed.
    OBJECTS = "SELECT CAST(NULL AS TEXT) AS repo, object_key AS name, size AS bytes, not_before AS due, \
            CAST(0 AS BIGINT) AS id, CAST(0 AS BIGINT) AS second_id \
        FROM object_deletions WHERE object_key > $1 ORDER BY object_key LIMIT $2";

    /// Living repositories in byte order.
    REPOSITORIES = "SELECT path, id FROM repositories WHERE deleted_at IS NULL AND path > $1 ORDER BY path LIMIT $2";

    /// What repositories take.
    USAGE = concat!("SELECT r.path, (SELECT COUNT(*) FROM manifests m WHERE m.repo_id = r.id) AS manifests, \
            COUNT(b.id) AS blobs, CAST(COALESCE(SUM(b.size), 0) AS BIGINT) AS bytes, \
            CAST(COALESCE(SUM(CASE WHEN EXISTS (SELECT 1 FROM repo_blobs o \
                WHERE o.blob_id = rb.blob_id AND o.repo_id <> rb.repo_id) THEN b.size END), 0) AS BIGINT) AS shared_bytes \
        FROM repositories r LEFT JOIN repo_blobs rb ON rb.repo_id = r.id LEFT JOIN blobs b ON b.id = rb.blob_id \
        WHERE r.id ", among!("$1"), " GROUP BY r.id, r.path ORDER BY r.path");

    /// What some repositories take together.
    USAGE_TOGETHER = concat!("SELECT COUNT(*) AS blobs, CAST(COALESCE(SUM(b.size), 0) AS BIGINT) AS bytes FROM blobs b \
        WHERE b.id IN (SELECT rb.blob_id FROM repo_blobs rb WHERE rb.repo_id ", among!("$1"), ")");

    /// What all repositories take together.
    USAGE_OF_ALL = "SELECT COUNT(*) AS blobs, CAST(COALESCE(SUM(b.size), 0) AS BIGINT) AS bytes FROM blobs b \
        WHERE EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id)";
}
