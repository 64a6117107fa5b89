//! Manifests and what they name.

super::statements! { "manifests":
    /// A manifest by its digest.
    BY_DIGEST = "SELECT m.id, m.digest, m.media_type, m.payload, m.created_at, m.pulled_at, m.damaged_at, \
            m.signature_bytes IS NOT NULL AS is_signature, r.id AS repo_id, r.trust_generation \
        FROM repositories r JOIN manifests m ON m.repo_id = r.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND m.digest = $2";

    /// A manifest by a tag.
    BY_TAG = "SELECT m.id, m.digest, m.media_type, m.payload, m.created_at, m.pulled_at, m.damaged_at, \
            m.signature_bytes IS NOT NULL AS is_signature, r.id AS repo_id, r.trust_generation \
        FROM repositories r JOIN tags t ON t.repo_id = r.id JOIN manifests m ON m.id = t.manifest_id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND t.name = $2";

    /// Ids of manifests of a repository.
    IDS = concat!("SELECT digest, id FROM manifests WHERE repo_id = $1 AND digest ", among!("$2"));

    /// Blobs of a repository, and whether their bytes are sound; they stay its members until the transaction ends.
    BLOBS = concat!("SELECT b.digest, b.id, b.damaged_at IS NULL AS sound \
        FROM ", texts!("$2"), " JOIN blobs b ON b.digest = j.value \
        JOIN repo_blobs rb ON rb.repo_id = $1 AND rb.blob_id = b.id", locking!(" ORDER BY rb.blob_id FOR KEY SHARE OF rb"));

    /// A new manifest, not tagged yet.
    INSERT = "INSERT INTO manifests (repo_id, digest, media_type, artifact_type, subject, referrer, untagged_since, \
            created_at, payload, signature_bytes) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9) RETURNING id";

    /// The same bytes again, read as something else: another content type, or signatures where there were none.
    REREAD = "UPDATE manifests SET media_type = $2, artifact_type = $3, subject = $4, referrer = $5, gc_after = NULL, \
            pushed_at = $6, signature_bytes = $7 \
        WHERE id = $1 AND (media_type <> $2 OR (signature_bytes IS NULL AND CAST($7 AS BIGINT) IS NOT NULL))";

    /// The same bytes again. That they came is written down now and then.
    REFRESH = "UPDATE manifests SET artifact_type = $2, referrer = $3, gc_after = NULL, pushed_at = $4 \
        WHERE id = $1 AND (gc_after IS NOT NULL OR COALESCE(pushed_at, created_at) <= $5)";

    /// Blobs that a manifest names: rows of (pos, digest, size, role, blob id or null).
    INSERT_EDGES = concat!("INSERT INTO manifest_blobs (manifest_id, repo_id, pos, digest, size, role, blob_id) \
        SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), ", int!(0), ", ", text!(1), ", ", int!(2), ", ", text!(3), ", ",
        int!(4), " FROM ", rows!("$3"));

    /// Manifests that an index lists: rows of (pos, digest, child id or null, platform or null).
    INSERT_CHILDREN = concat!("INSERT INTO manifest_children (parent_id, repo_id, pos, child_digest, child_id, platform) \
        SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), ", int!(0), ", ", text!(1), ", ", int!(2), ", ", text!(3), " FROM ",
        rows!("$3"));

    /// Indexes that wait for this manifest.
    FILL_CHILDREN = "UPDATE manifest_children SET child_id = $3 \
        WHERE repo_id = $1 AND child_digest = $2 AND child_id IS NULL";

    /// The other half of what [`FILL_CHILDREN`] fills.
    DROP_WAITING_EDGES = "DELETE FROM manifest_blobs \
        WHERE repo_id = $1 AND digest = $2 AND blob_id IS NULL AND role = 'child'";

    /// The referrers of a subject that is back.
    KEEP_REFERRERS = "UPDATE manifests SET gc_after = NULL WHERE repo_id = $1 AND subject = $2 AND gc_after IS NOT NULL";

    /// The referrers of a subject that is gone.
    END_REFERRERS = "UPDATE manifests SET gc_after = $3 WHERE repo_id = $1 AND subject = $2 AND gc_after IS NULL";

    /// An index that lists a manifest.
    PARENT = "SELECT p.digest FROM manifest_children c JOIN manifests p ON p.id = c.parent_id \
        WHERE c.child_id = $1 AND c.repo_id = $2 LIMIT 1";

    /// Blobs that a manifest names and the repository has.
    NAMED_BLOBS = "SELECT DISTINCT blob_id FROM manifest_blobs WHERE manifest_id = $1 AND blob_id IS NOT NULL \
        ORDER BY blob_id";

    /// What an index lists is untagged from the end of the index on.
    FREE_CHILDREN = "UPDATE manifests SET untagged_since = $3 WHERE repo_id = $2 AND untagged_since IS NOT NULL \
        AND id IN (SELECT c.child_id FROM manifest_children c WHERE c.parent_id = $1 AND c.child_id IS NOT NULL)";

    /// The end of what it lists.
    DELETE_CHILDREN = "DELETE FROM manifest_children WHERE parent_id = $1";

    /// The end of what it names.
    DELETE_EDGES = "DELETE FROM manifest_blobs WHERE manifest_id = $1 RETURNING blob_id";

    /// Its end; what it lists goes with it.
    DELETE = "DELETE FROM manifests WHERE id = $1";

    /// Referrers in digest order.
    REFERRERS = "SELECT m.digest, m.artifact_type, m.referrer FROM repositories r JOIN manifests m ON m.repo_id = r.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND m.subject = $2 AND m.referrer IS NOT NULL AND m.digest > $3 \
        ORDER BY m.digest LIMIT $4";

    /// Those of one type.
    REFERRERS_OF_TYPE = "SELECT m.digest, m.artifact_type, m.referrer \
        FROM repositories r JOIN manifests m ON m.repo_id = r.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL AND m.subject = $2 AND m.artifact_type = $5 \
        AND m.referrer IS NOT NULL AND m.digest > $3 \
        ORDER BY m.digest LIMIT $4";

    /// How many referrers there are, up to a limit, their descriptors as one text, and whether there is a tag.
    REFERRERS_TEXT = concat!("SELECT COUNT(*) AS found, ",
        either!("group_concat(l.referrer, ',' ORDER BY l.digest)", "string_agg(l.referrer, ',' ORDER BY l.digest)"),
        " AS descriptors, EXISTS (SELECT 1 FROM repositories r JOIN tags t ON t.repo_id = r.id \
            WHERE r.path = $1 AND r.deleted_at IS NULL AND t.name = $3) AS tagged \
        FROM (SELECT m.digest, m.referrer FROM repositories r JOIN manifests m ON m.repo_id = r.id \
            WHERE r.path = $1 AND r.deleted_at IS NULL AND m.subject = $2 AND m.referrer IS NOT NULL \
            ORDER BY m.digest LIMIT $4) AS l");

    /// It has a tag now.
    MARK_TAGGED = "UPDATE manifests SET untagged_since = NULL WHERE id = $1 AND untagged_since IS NOT NULL";

    /// It may have lost its last tag.
    MARK_UNTAGGED = "UPDATE manifests SET untagged_since = $2 WHERE id = $1 AND untagged_since IS NULL \
        AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = manifests.id)";
}
