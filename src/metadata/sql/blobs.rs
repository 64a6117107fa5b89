//! Blobs, their memberships and leases.

super::statements! { "blobs":
    /// A blob of a repository.
    FIND = "SELECT b.id, b.digest, b.size, b.object_key, b.inline, b.damaged_at, b.created_at \
        FROM repositories r JOIN blobs b ON b.digest = $2 JOIN repo_blobs rb ON rb.repo_id = r.id AND rb.blob_id = b.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL";

    /// A sound blob of a repository, with its lease and whether a manifest of the repository names it.
    FIND_LEASE = "SELECT b.id, b.digest, b.size, b.object_key, b.inline, b.damaged_at, b.created_at, rb.repo_id, \
            rb.lease_until, EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.repo_id = rb.repo_id AND e.blob_id = rb.blob_id) \
            AS referenced \
        FROM repositories r JOIN blobs b ON b.digest = $2 JOIN repo_blobs rb ON rb.repo_id = r.id AND rb.blob_id = b.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND b.damaged_at IS NULL";

    /// A membership that stays as it is, until the transaction ends, for one who may change its lease.
    FIND_TO_LEASE = concat!("SELECT rb.repo_id, rb.blob_id \
        FROM repositories r JOIN blobs b ON b.digest = $2 JOIN repo_blobs rb ON rb.repo_id = r.id AND rb.blob_id = b.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL", locking!(" FOR NO KEY UPDATE OF rb"));

    /// The same for one who may end it.
    FIND_TO_LEAVE = concat!("SELECT rb.repo_id, rb.blob_id \
        FROM repositories r JOIN blobs b ON b.digest = $2 JOIN repo_blobs rb ON rb.repo_id = r.id AND rb.blob_id = b.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL", locking!(" FOR UPDATE OF rb"));

    /// Keeps memberships as they are, until the transaction ends, for one who will change their leases.
    LOCK_MEMBERSHIPS = locking!("SELECT blob_id FROM repo_blobs WHERE repo_id = $1 AND blob_id = ANY ($2) \
        ORDER BY blob_id FOR NO KEY UPDATE");

    /// The same for those that a manifest has to hold, and only where there is something to change.
    LOCK_TO_HOLD = locking!("SELECT blob_id FROM repo_blobs WHERE repo_id = $1 AND blob_id = ANY ($2) \
        AND (lease_until IS NOT NULL OR gc_after IS NOT NULL) ORDER BY blob_id FOR NO KEY UPDATE");

    /// Keeps blobs as they are, until the transaction ends, for one who will mark or change them.
    LOCK_BLOBS = locking!("SELECT id FROM blobs WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE");

    /// A sound blob of a repository that is about to be mounted: it stays until the transaction ends.
    FIND_TO_MOUNT = concat!("SELECT b.id, b.digest, b.size, b.object_key, b.inline, b.damaged_at, b.created_at \
        FROM repositories r JOIN blobs b ON b.digest = $2 JOIN repo_blobs rb ON rb.repo_id = r.id AND rb.blob_id = b.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND b.damaged_at IS NULL",
        locking!(" FOR KEY SHARE OF b"));

    /// A sound blob that any repository has.
    FIND_ANYWHERE = concat!("SELECT b.id, b.digest, b.size, b.object_key, b.inline, b.damaged_at, b.created_at FROM blobs b \
        WHERE b.digest = $1 AND b.damaged_at IS NULL AND EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id)",
        locking!(" FOR KEY SHARE OF b"));

    /// Where a blob's bytes are, by its digest; it stays until the transaction ends.
    BY_DIGEST = concat!("SELECT id, size, object_key, damaged_at, adopted FROM blobs WHERE digest = $1",
        locking!(" FOR KEY SHARE"));

    /// A new blob; no row when somebody else has just made it.
    INSERT = "INSERT INTO blobs (digest, size, object_key, inline, created_at, orphan_since, gc_after) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (digest) DO NOTHING RETURNING id";

    /// Other bytes for the same digest.
    REPLACE = "UPDATE blobs SET size = $2, object_key = $3, inline = $4, damaged_at = NULL, adopted = FALSE WHERE id = $1";

    /// An object of another registry's store that stays when its blob goes.
    ADOPT = "UPDATE blobs SET adopted = TRUE WHERE id = $1 AND object_key = $2 AND NOT adopted";

    /// One that goes with its blob.
    OWN = "UPDATE blobs SET adopted = FALSE WHERE id = $1 AND object_key = $2 AND adopted";

    /// A blob that a repository has again.
    UNORPHAN = "UPDATE blobs SET orphan_since = NULL, gc_after = NULL \
        WHERE id = $1 AND (orphan_since IS NOT NULL OR gc_after IS NOT NULL)";

    /// Blobs that no repository has any more.
    ORPHAN = concat!("UPDATE blobs SET orphan_since = COALESCE(orphan_since, $2), gc_after = COALESCE(gc_after, $2) \
        WHERE id ", among!("$1"), " AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = blobs.id)");

    /// Keeps an orphan until then.
    KEEP_ORPHAN = "UPDATE blobs SET orphan_since = COALESCE(orphan_since, $2), gc_after = $3 \
        WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = blobs.id)";

    /// Membership with the lease of an upload or a mount.
    JOIN = "INSERT INTO repo_blobs (repo_id, blob_id, lease_until, leased_at, gc_after) VALUES ($1, $2, $3, $4, $3) \
        ON CONFLICT (repo_id, blob_id) DO UPDATE SET leased_at = excluded.leased_at, \
        lease_until = CASE WHEN repo_blobs.lease_until > excluded.lease_until THEN repo_blobs.lease_until \
            ELSE excluded.lease_until END, \
        gc_after = CASE WHEN repo_blobs.lease_until > excluded.lease_until THEN repo_blobs.lease_until \
            ELSE excluded.lease_until END";

    /// A HEAD's lease, which is never shorter than the one that is there.
    LEASE = "UPDATE repo_blobs SET lease_until = $3, gc_after = $3 WHERE repo_id = $1 AND blob_id = $2 \
        AND (lease_until IS NULL OR lease_until < $3)";

    /// A manifest of a repository that names a blob.
    NAMED_BY = "SELECT m.digest FROM manifest_blobs e JOIN manifests m ON m.id = e.manifest_id \
        WHERE e.repo_id = $1 AND e.blob_id = $2 LIMIT 1";

    /// The end of a membership.
    LEAVE = "DELETE FROM repo_blobs WHERE repo_id = $1 AND blob_id = $2";

    /// Edges that wait for a blob.
    FILL_EDGES = "UPDATE manifest_blobs SET blob_id = $3 WHERE repo_id = $1 AND digest = $2 AND blob_id IS NULL";

    /// Children that turned out to be a blob.
    DROP_WAITING_CHILDREN = "DELETE FROM manifest_children WHERE repo_id = $1 AND child_digest = $2 AND child_id IS NULL";

    /// Sets what the loss of an edge means: garbage when the lease is over, unless another manifest names it.
    RELEASE = concat!("UPDATE repo_blobs SET gc_after = CASE WHEN lease_until > $3 THEN lease_until ELSE $3 END \
        WHERE repo_id = $1 AND blob_id ", among!("$2"), " AND NOT EXISTS (SELECT 1 FROM manifest_blobs e \
            WHERE e.repo_id = repo_blobs.repo_id AND e.blob_id = repo_blobs.blob_id)");

    /// Ends leases set by HEAD, and those set by an upload or a mount before a moment.
    END_LEASES = concat!("UPDATE repo_blobs SET lease_until = NULL, leased_at = NULL \
        WHERE repo_id = $1 AND blob_id ", among!("$2"), " AND lease_until IS NOT NULL \
        AND (leased_at IS NULL OR leased_at < $3)");

    /// From here on the foreign key holds these blobs, not the lease.
    HOLD = concat!("UPDATE repo_blobs SET lease_until = NULL, leased_at = NULL, gc_after = NULL \
        WHERE repo_id = $1 AND blob_id ", among!("$2"), " AND (lease_until IS NOT NULL OR gc_after IS NOT NULL)");
}
