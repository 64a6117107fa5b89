//! Questions of `fsck`, of readiness and of `/metrics`; damage, and the passes that look for it.

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

    /// Blobs and manifests whose bytes are known to be wrong or missing.
    COUNT_DAMAGED = "SELECT (SELECT COUNT(*) FROM blobs WHERE damaged_at >= 0) AS blobs, \
        (SELECT COUNT(*) FROM manifests WHERE damaged_at >= 0) AS manifests";

    /// Sessions under way.
    COUNT_UPLOADS = "SELECT COUNT(*) FROM uploads WHERE state <> 'committed'";

    /// The time of a database that several nodes share.
    CLOCK = either!("", "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)");

    /// Whether the database answers.
    PING = "SELECT COUNT(*) FROM (SELECT 1 FROM repositories LIMIT 1) AS any_repository";

    /// Wrong or missing bytes of an object, if the blob still has them there.
    DAMAGE_OBJECT = "UPDATE blobs SET damaged_at = $3 WHERE id = $1 AND object_key = $2 AND damaged_at IS NULL \
        RETURNING digest";

    /// Wrong bytes in a blob's row, if they are still the same.
    DAMAGE_INLINE = "UPDATE blobs SET damaged_at = $3 WHERE id = $1 AND inline = $2 AND damaged_at IS NULL \
        RETURNING digest";

    /// Some repositories that have a blob.
    REPOSITORIES_OF_BLOB = "SELECT (SELECT r.path FROM repositories r WHERE r.id = rb.repo_id) AS path \
        FROM repo_blobs rb WHERE rb.blob_id = $1 ORDER BY rb.repo_id LIMIT $2";

    /// Bytes of an object that turned out to be right, if the blob still has them there.
    UNMARK_OBJECT = "UPDATE blobs SET damaged_at = NULL WHERE id = $1 AND object_key = $2 AND damaged_at IS NOT NULL \
        RETURNING digest";

    /// Wrong bytes of a manifest, if they are still the same.
    DAMAGE_MANIFEST = "UPDATE manifests SET damaged_at = $3 WHERE id = $1 AND payload = $2 AND damaged_at IS NULL \
        RETURNING digest, (SELECT r.path FROM repositories r WHERE r.id = manifests.repo_id) AS path";

    /// The right bytes of a manifest in the place of wrong ones.
    HEAL_MANIFEST = "UPDATE manifests SET payload = $2, damaged_at = NULL WHERE id = $1 AND damaged_at IS NOT NULL";

    /// Manifests in id order.
    SCAN_MANIFESTS = "SELECT id, digest, payload, damaged_at, created_at FROM manifests WHERE id > $1 \
        ORDER BY id LIMIT $2";

    /// Whether there is a pass to go on with, or to begin, that no other node is at.
    DUE = "SELECT EXISTS (SELECT 1 FROM scrub WHERE one = 1 AND (holder = $1 OR held_until <= $2) \
        AND (finished_at IS NULL OR began_at <= $3))";

    /// Makes this node the one that reads, or leaves it so.
    TAKE = "UPDATE scrub SET holder = $1, held_until = $4 WHERE one = 1 AND (holder = $1 OR held_until <= $2) \
        AND (finished_at IS NULL OR began_at <= $3) \
        RETURNING began_at, finished_at, stage, after_id, objects, bytes, damaged";

    /// How far the pass is, as long as nobody else took it.
    KEEP = "UPDATE scrub SET held_until = $2, began_at = $3, finished_at = $4, stage = $5, after_id = $6, objects = $7, \
        bytes = $8, damaged = $9 WHERE one = 1 AND holder = $1";
}
