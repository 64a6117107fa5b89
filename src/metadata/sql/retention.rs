//! Retention: what is known of manifests, and their end by rule.

super::statements! { "retention":
    /// Manifests of a repository in digest order.
    PAGE = "SELECT id FROM manifests WHERE repo_id = $1 AND digest > $2 ORDER BY digest LIMIT $3";

    /// What is known of some of them. Signatures under a tag made from their subject's digest count as referrers.
    FACTS = concat!("SELECT m.id, m.digest, COALESCE(m.pushed_at, m.created_at) AS pushed_at, m.pulled_at, m.untagged_since, \
            (SELECT MAX(k.pulled_at) FROM manifest_children c JOIN manifests k ON k.id = c.child_id \
                WHERE c.parent_id = m.id) AS children_pulled_at, \
            (EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = m.id AND c.repo_id = m.repo_id) \
            OR EXISTS (SELECT 1 FROM manifests s WHERE s.repo_id = m.repo_id AND s.digest = m.subject) \
            OR EXISTS (SELECT 1 FROM tags t JOIN manifests s ON s.repo_id = t.repo_id \
                AND s.digest = 'sha256:' || substr(t.name, 8, 64) \
                WHERE t.manifest_id = m.id AND t.repo_id = m.repo_id AND substr(t.name, 1, 7) = 'sha256-' AND s.id <> m.id)) \
            AS held \
        FROM manifests m WHERE m.repo_id = $1 AND m.id ", among!("$2"), " ORDER BY m.digest");

    /// Tags of some manifests.
    TAGS = concat!("SELECT manifest_id, name, updated_at FROM tags WHERE repo_id = $1 AND manifest_id ", among!("$2"), " \
        ORDER BY manifest_id, name");

    /// A living repository in which nobody is just writing.
    CLAIM_REPOSITORY = concat!("SELECT id FROM repositories WHERE path = $1 AND deleted_at IS NULL",
        locking!(" FOR NO KEY UPDATE SKIP LOCKED"));

    /// Those manifests of a repository that nobody is just changing.
    CLAIM = concat!("SELECT id FROM manifests WHERE repo_id = $1 AND id ", among!("$2"), " ORDER BY id",
        locking!(" FOR UPDATE SKIP LOCKED"));

    /// When manifests were asked for: rows of (id, moment). Those that somebody is just changing are passed by.
    PULLED = concat!("UPDATE manifests SET pulled_at = p.pulled_at \
        FROM (SELECT ", int!(0), " AS id, ", int!(1), " AS pulled_at FROM ", rows!("$1"), ") AS p \
        WHERE manifests.id = p.id AND (manifests.pulled_at IS NULL OR manifests.pulled_at <= $2)",
        locking!(" AND manifests.id IN (SELECT m.id FROM manifests m WHERE m.id IN \
            (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_array_elements(CAST($1 AS JSON)) AS j (value)) \
            ORDER BY m.id FOR NO KEY UPDATE SKIP LOCKED)"));

    /// Bytes of blobs that some manifests of a repository name, and nothing else anywhere.
    BYTES_ALONE = concat!("SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM blobs b WHERE b.id IN \
            (SELECT e.blob_id FROM manifest_blobs e WHERE e.manifest_id ", among!("$2"), ") \
        AND NOT EXISTS (SELECT 1 FROM manifest_blobs e \
            WHERE e.repo_id = $1 AND e.blob_id = b.id AND NOT (e.manifest_id ", among!("$2"), ")) \
        AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id AND rb.repo_id <> $1)");
}
