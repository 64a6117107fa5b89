//! Questions of `fsck`, of readiness and of `/metrics`.

super::statements! { "checks":
    /// Blobs in id order.
    SCAN_BLOBS = "SELECT id, digest, size, object_key, inline, damaged_at, created_at FROM blobs WHERE id > $1 \
        ORDER BY id LIMIT $2";

    /// Keys of blobs.
    BLOB_KEYS = concat!("SELECT object_key FROM blobs WHERE id ", among!("$1"), " AND object_key IS NOT NULL ORDER BY id");

    /// Which keys of a list somebody knows.
    KNOWN_KEYS = concat!("SELECT j.value AS object_key FROM ", texts!("$1"), " \
        WHERE EXISTS (SELECT 1 FROM blobs b WHERE b.object_key = j.value) \
        OR EXISTS (SELECT 1 FROM uploads u WHERE u.object_key = j.value) \
        OR EXISTS (SELECT 1 FROM object_deletions d WHERE d.object_key = j.value)");

    /// Manifests that name a blob which their repository does not have, or which is another one (I3).
    LOST_BLOBS = "SELECT e.manifest_id, e.digest FROM manifest_blobs e \
        LEFT JOIN repo_blobs rb ON rb.repo_id = e.repo_id AND rb.blob_id = e.blob_id \
        LEFT JOIN blobs b ON b.id = rb.blob_id AND b.digest = e.digest \
        WHERE e.blob_id IS NOT NULL AND b.id IS NULL";

    /// Indexes that list a manifest which their repository does not have, or which is another one (I3).
    LOST_CHILDREN = "SELECT c.parent_id, c.child_digest FROM manifest_children c \
        LEFT JOIN manifests m ON m.id = c.child_id AND m.repo_id = c.repo_id AND m.digest = c.child_digest \
        WHERE c.child_id IS NOT NULL AND m.id IS NULL";

    /// Tags without a manifest (I4).
    LOST_TAGS = "SELECT t.repo_id, t.name FROM tags t \
        LEFT JOIN manifests m ON m.id = t.manifest_id AND m.repo_id = t.repo_id WHERE m.id IS NULL";

    /// Every broken foreign key, of which a database that cannot switch them off has none.
    FOREIGN_KEYS = either!("SELECT \"table\", \"parent\" FROM pragma_foreign_key_check", "");

    /// Objects to remove.
    COUNT_DELETIONS = "SELECT COUNT(*) AS deletions, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM object_deletions";

    /// Blobs that wait for collection.
    COUNT_GARBAGE = "SELECT COUNT(*) AS blobs, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM blobs \
        WHERE gc_after IS NOT NULL";

    /// Sessions under way.
    COUNT_UPLOADS = "SELECT COUNT(*) FROM uploads WHERE state <> 'committed'";

    /// The time of a database that several nodes share.
    CLOCK = either!("", "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)");

    /// Whether the database answers.
    PING = "SELECT COUNT(*) FROM (SELECT 1 FROM repositories LIMIT 1) AS any_repository";
}
