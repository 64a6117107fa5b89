//! Collection and the list of objects to remove.
//!
//! Each kind is collected by two steps in one transaction: pick what is past `gc_after`, then delete what is still free
//! to go and clear the mark of the rest.

super::statements! { "collect":
    /// Repositories that have manifests past their time, but those in which somebody is just writing.
    DUE_REPOSITORIES = concat!("SELECT r.id FROM repositories r WHERE r.id IN \
            (SELECT m.repo_id FROM manifests m WHERE m.gc_after <= $1 ORDER BY m.gc_after, m.id LIMIT $2) \
        ORDER BY r.id", locking!(" FOR NO KEY UPDATE SKIP LOCKED"));

    /// Referrers in these repositories whose subject has been gone for long enough.
    PICK_MANIFESTS = concat!("SELECT m.id, m.repo_id, m.digest, \
            (SELECT r.path FROM repositories r WHERE r.id = m.repo_id) AS path, CAST(length(m.payload) AS BIGINT) AS bytes, \
            NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = m.id AND c.repo_id = m.repo_id) \
            AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id) \
            AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repo_id = m.repo_id AND s.digest = m.subject) AS free \
        FROM manifests m WHERE m.gc_after <= $1 AND m.repo_id ", among!("$3"), " ORDER BY m.gc_after, m.id LIMIT $2");

    /// Manifests that somebody needs after all.
    KEEP_MANIFEST = "UPDATE manifests SET gc_after = NULL WHERE id = $1";

    /// Memberships past their time, but those that somebody is just changing.
    PICK_MEMBERSHIPS = concat!("SELECT repo_id, blob_id FROM repo_blobs WHERE gc_after <= $1 ORDER BY gc_after LIMIT $2",
        locking!(" FOR UPDATE SKIP LOCKED"));

    /// Ends picked memberships that nothing holds: no lease, no manifest, and no manifest that waits for the digest.
    DELETE_MEMBERSHIPS = concat!("DELETE FROM repo_blobs WHERE (repo_id, blob_id) IN \
            (SELECT ", int!(0), ", ", int!(1), " FROM ", rows!("$1"), ") \
        AND (lease_until IS NULL OR lease_until <= $2) \
        AND NOT EXISTS (SELECT 1 FROM manifest_blobs e \
            WHERE e.repo_id = repo_blobs.repo_id AND e.blob_id = repo_blobs.blob_id) \
        AND NOT EXISTS (SELECT 1 FROM manifest_blobs e JOIN blobs b ON b.digest = e.digest \
            WHERE e.repo_id = repo_blobs.repo_id AND e.blob_id IS NULL AND b.id = repo_blobs.blob_id) \
        RETURNING blob_id");

    /// Picked memberships that stay: looked at again when the lease ends, or when the last edge goes.
    KEEP_MEMBERSHIPS = concat!("UPDATE repo_blobs SET gc_after = CASE WHEN lease_until > $2 THEN lease_until END \
        WHERE (repo_id, blob_id) IN (SELECT ", int!(0), ", ", int!(1), " FROM ", rows!("$1"), ")");

    /// Blobs past their time, but those that somebody is just using.
    PICK_BLOBS = concat!("SELECT id FROM blobs WHERE gc_after <= $1 ORDER BY gc_after LIMIT $2",
        locking!(" FOR UPDATE SKIP LOCKED"));

    /// Rows of picked blobs that no repository has.
    DELETE_BLOBS = concat!("DELETE FROM blobs WHERE id ", among!("$1"), " \
        AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = blobs.id) RETURNING object_key, size, adopted");

    /// Picked blobs that a repository has after all.
    KEEP_BLOBS = concat!("UPDATE blobs SET gc_after = NULL, orphan_since = NULL WHERE id ", among!("$1"));

    /// Objects to remove: rows of (key, size).
    DOOM_ALL = concat!("INSERT INTO object_deletions (object_key, size, not_before) \
        SELECT ", text!(0), ", ", int!(1), ", CAST($2 AS BIGINT) FROM ", rows!("$1"), " WHERE TRUE ORDER BY 1 \
        ON CONFLICT (object_key) DO NOTHING");

    /// One object to remove.
    DOOM = "INSERT INTO object_deletions (object_key, driver_state, size, not_before) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (object_key) DO NOTHING";

    /// Takes an object off the list because it is wanted again.
    UNDOOM = "DELETE FROM object_deletions WHERE object_key = $1";

    /// Keeps objects from being removed.
    HOLD = "INSERT INTO purge_holds (name, held_until) VALUES ($1, $2) \
        ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until";

    /// Does so no more.
    RELEASE = "DELETE FROM purge_holds WHERE name = $1";

    /// Who does so now. Nobody wants to read about more.
    HOLDS = "SELECT name, held_until FROM purge_holds WHERE held_until > $1 \
        ORDER BY held_until, name LIMIT 100";

    /// Hands out objects to remove, and not again before a moment; none while somebody holds them.
    CLAIM = concat!(either!("UPDATE object_deletions SET not_before = $2, attempts = attempts + 1 WHERE object_key IN \
            (SELECT object_key FROM object_deletions WHERE not_before <= $1 \
                AND NOT EXISTS (SELECT 1 FROM purge_holds h WHERE h.held_until > $1) ORDER BY not_before LIMIT $3) \
        RETURNING object_key, driver_state, size, attempts - 1 AS attempts",
        "WITH due AS MATERIALIZED (SELECT object_key FROM object_deletions WHERE not_before <= $1 \
            AND NOT EXISTS (SELECT 1 FROM purge_holds h WHERE h.held_until > $1) \
            ORDER BY not_before LIMIT $3 FOR UPDATE SKIP LOCKED) \
        UPDATE object_deletions d SET not_before = $2, attempts = d.attempts + 1 FROM due \
        WHERE d.object_key = due.object_key \
        RETURNING d.object_key, d.driver_state, d.size, d.attempts - 1 AS attempts"));

    /// Objects that are gone.
    DONE = concat!("DELETE FROM object_deletions WHERE object_key ", among!("$1"));

    /// An object that could not be removed.
    RETRY = "UPDATE object_deletions SET not_before = $2 WHERE object_key = $1";

    /// Whether any of some blobs is garbage that a sweep would take now.
    GARBAGE_BLOBS = concat!("SELECT EXISTS (SELECT 1 FROM blobs b WHERE b.id ", among!("$1"), " \
        AND (b.gc_after <= $2 OR EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id)) \
        AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id AND \
            (rb.gc_after IS NULL OR rb.gc_after > $2 OR rb.lease_until > $2 \
            OR EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.repo_id = rb.repo_id AND e.blob_id = rb.blob_id))))");

    /// Whether any of some keys is listed.
    GARBAGE_KEYS = concat!("SELECT EXISTS (SELECT 1 FROM object_deletions WHERE object_key ", among!("$1"), ")");
}
