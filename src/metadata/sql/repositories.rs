//! Repositories. A deleted one keeps its row, so that ids stay unique for ever.

super::statements! { "repositories":
    /// Id of a living repository.
    FIND = "SELECT id FROM repositories WHERE path = $1 AND deleted_at IS NULL";

    /// The same, and it lives until the transaction ends.
    FIND_SHARED = concat!("SELECT id FROM repositories WHERE path = $1 AND deleted_at IS NULL", locking!(" FOR KEY SHARE"));

    /// The same, and no other manifest or tag of it is written until the transaction ends.
    FIND_WRITING = concat!("SELECT id FROM repositories WHERE path = $1 AND deleted_at IS NULL",
        locking!(" FOR NO KEY UPDATE"));

    /// The same, and nothing else happens in it until the transaction ends.
    FIND_ALONE = concat!("SELECT id FROM repositories WHERE path = $1 AND deleted_at IS NULL", locking!(" FOR UPDATE"));

    /// A new repository; no row when somebody else has just made it.
    INSERT = "INSERT INTO repositories (path, created_at) VALUES ($1, $2) \
        ON CONFLICT (path) WHERE deleted_at IS NULL DO NOTHING RETURNING id";

    /// The repository of a session lives until the transaction ends.
    SHARE_OF_UPLOAD = locking!("SELECT r.id FROM uploads u JOIN repositories r ON r.id = u.repo_id \
        WHERE u.id = $1 FOR KEY SHARE OF r");

    /// Repositories with a manifest, in byte order.
    LIST = "SELECT r.path FROM repositories r \
        WHERE r.deleted_at IS NULL AND r.path > $1 AND EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = r.id) \
        ORDER BY r.path LIMIT $2";

    /// Whether a repository has a manifest.
    HAS_MANIFEST = "SELECT EXISTS (SELECT 1 FROM repositories r JOIN manifests m ON m.repo_id = r.id \
        WHERE r.path = $1 AND r.deleted_at IS NULL)";

    /// Its end.
    DELETE = "UPDATE repositories SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";

    /// What nodes remember of a repository that said itself whether it is public ends with it.
    FORGET_PUBLIC = "UPDATE access_state SET version = version + 1 \
        WHERE one = 1 AND EXISTS (SELECT 1 FROM repositories WHERE id = $1 AND is_public IS NOT NULL)";

    /// Lists of its indexes.
    DELETE_CHILDREN = "DELETE FROM manifest_children WHERE parent_id IN (SELECT id FROM manifests WHERE repo_id = $1)";

    /// What its manifests name.
    DELETE_EDGES = "DELETE FROM manifest_blobs WHERE manifest_id IN (SELECT id FROM manifests WHERE repo_id = $1)";

    /// Its manifests.
    DELETE_MANIFESTS = "DELETE FROM manifests WHERE repo_id = $1";

    /// Its tags.
    DELETE_TAGS = "DELETE FROM tags WHERE repo_id = $1";

    /// Its memberships.
    DELETE_MEMBERSHIPS = "DELETE FROM repo_blobs WHERE repo_id = $1 RETURNING blob_id";

    /// Its sessions that are not over.
    UPLOADS = concat!("SELECT id FROM uploads WHERE repo_id = $1 AND state <> 'committed' ORDER BY id", locking!(" FOR UPDATE"));
}
