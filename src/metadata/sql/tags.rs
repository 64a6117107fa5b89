//! Tags and their history.

super::statements! { "tags":
    /// Tags of a repository and what they point to.
    FIND = concat!("SELECT t.name, t.manifest_id, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id \
        WHERE t.repo_id = $1 AND t.name ", among!("$2"));

    /// Tags of a manifest.
    OF_MANIFEST = "SELECT name FROM tags WHERE manifest_id = $1 AND repo_id = $2 ORDER BY name";

    /// Tags as one text, with commas between them, which no tag has. SQLite promises no order here.
    LIST = concat!("SELECT ", either!("group_concat(l.name, ',')", "string_agg(l.name, ',')"), " AS names \
        FROM (SELECT t.name FROM repositories r JOIN tags t ON t.repo_id = r.id \
            WHERE r.path = $1 AND r.deleted_at IS NULL AND t.name > $2 ORDER BY t.name LIMIT $3) AS l");

    /// Sets or moves a tag.
    SET = "INSERT INTO tags (repo_id, name, manifest_id, updated_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (repo_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at";

    /// Deletes a tag.
    DELETE = "DELETE FROM tags WHERE repo_id = $1 AND name = $2";

    /// Deletes the tags of a manifest.
    DELETE_OF_MANIFEST = "DELETE FROM tags WHERE manifest_id = $1 AND repo_id = $2";

    /// What became of a tag.
    EVENT = "INSERT INTO tag_events (repo_id, name, old_digest, new_digest, at) VALUES ($1, $2, $3, $4, $5)";

    /// The end of all tags of a manifest.
    EVENTS_OF_MANIFEST = "INSERT INTO tag_events (repo_id, name, old_digest, at) \
        SELECT t.repo_id, t.name, m.digest, CAST($3 AS BIGINT) FROM tags t JOIN manifests m ON m.id = t.manifest_id \
        WHERE t.manifest_id = $1 AND t.repo_id = $2";

    /// The end of all tags of a repository.
    EVENTS_OF_REPOSITORY = "INSERT INTO tag_events (repo_id, name, old_digest, at) \
        SELECT t.repo_id, t.name, m.digest, CAST($2 AS BIGINT) FROM tags t JOIN manifests m ON m.id = t.manifest_id \
        WHERE t.repo_id = $1";
}
