//! Signatures, verdicts and the policy document.

super::statements! { "trust":
    /// A living repository, and how often its signatures changed.
    STANDING = "SELECT id, trust_generation FROM repositories WHERE path = $1 AND deleted_at IS NULL";

    /// How often the signatures of a repository changed, by its id, and the number of the document that holds.
    STANDS = "SELECT (SELECT trust_generation FROM repositories WHERE id = $1) AS generation, \
        (SELECT COALESCE(MAX(id), 0) FROM trust_policies) AS policy";

    /// They change.
    MOVE = "UPDATE repositories SET trust_generation = trust_generation + 1 WHERE id = $1";

    /// Signature artifacts that are about a digest: those under its tags, then referrers, those with fewest bytes first.
    SIGNATURES = concat!("SELECT s.digest, s.bytes FROM (SELECT m.digest, m.signature_bytes AS bytes, 0 AS place \
            FROM tags t JOIN manifests m ON m.id = t.manifest_id \
            WHERE t.repo_id = $1 AND t.name ", among!("$3"), " AND m.signature_bytes IS NOT NULL \
        UNION ALL SELECT r.digest, r.signature_bytes AS bytes, 1 AS place FROM (SELECT m.digest, m.signature_bytes \
            FROM manifests m WHERE m.repo_id = $1 AND m.subject = $2 AND m.signature_bytes IS NOT NULL \
            ORDER BY m.signature_bytes, m.digest LIMIT $4) AS r) AS s ORDER BY s.place, s.bytes, s.digest");

    /// Those of these manifests that are signature artifacts about a digest.
    KNOWN_SIGNATURES = concat!("SELECT m.digest, m.signature_bytes FROM manifests m \
        WHERE m.repo_id = $1 AND m.digest ", among!("$4"), " AND m.signature_bytes IS NOT NULL AND (m.subject = $2 \
        OR EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id AND t.repo_id = m.repo_id AND t.name ", among!("$3"), ")) \
        ORDER BY m.signature_bytes, m.digest");

    /// Indexes that list a manifest, those that passed last time first.
    PARENTS = "SELECT p.digest FROM manifests m JOIN manifest_children c ON c.child_id = m.id AND c.repo_id = m.repo_id \
            JOIN manifests p ON p.id = c.parent_id LEFT JOIN verdicts v ON v.repo_id = $1 AND v.digest = p.digest \
        WHERE m.repo_id = $1 AND m.digest = $2 GROUP BY p.digest, v.outcome \
        ORDER BY v.outcome IS NULL OR v.outcome <> 'pass', p.digest LIMIT $3";

    /// Manifests that name a blob, and whether as a layer: signature artifacts that have it as a layer, then what is none,
    /// those first that passed last time and then the newest, then the other signature artifacts.
    NAMING = "SELECT m.digest, m.signature_bytes IS NOT NULL AS is_signature, \
            MAX(CASE WHEN e.role = 'layer' THEN 1 ELSE 0 END) = 1 AS is_layer FROM blobs b \
            JOIN manifest_blobs e ON e.repo_id = $1 AND e.blob_id = b.id JOIN manifests m ON m.id = e.manifest_id \
            LEFT JOIN verdicts v ON v.repo_id = $1 AND v.digest = m.digest \
        WHERE b.digest = $2 GROUP BY m.id, m.digest, m.signature_bytes, v.outcome \
        ORDER BY CASE WHEN m.signature_bytes IS NULL THEN 1 WHEN MAX(CASE WHEN e.role = 'layer' THEN 1 ELSE 0 END) = 1 \
                THEN 0 ELSE 2 END, \
            v.outcome IS NULL OR v.outcome <> 'pass', m.id DESC LIMIT $3";

    /// Some manifests of a repository: whether each is a signature artifact, and whether a tag leads to it, by itself or
    /// through indexes that list it, as many levels as the gate looks at.
    REACHED = concat!("SELECT m.id, m.digest, m.signature_bytes IS NOT NULL AS is_signature, \
            (EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id AND t.repo_id = $1) \
            OR EXISTS (WITH RECURSIVE above (id, level) AS (SELECT c.parent_id, 1 FROM manifest_children c \
                    WHERE c.child_id = m.id AND c.repo_id = $1 \
                UNION SELECT c.parent_id, above.level + 1 FROM above \
                    JOIN manifest_children c ON c.child_id = above.id AND c.repo_id = $1 WHERE above.level < 4) \
                SELECT 1 FROM above JOIN tags t ON t.manifest_id = above.id AND t.repo_id = $1)) AS is_reached \
        FROM manifests m WHERE m.repo_id = $1 AND m.id ", among!("$2"), " ORDER BY m.digest");

    /// The first tags of each of some manifests.
    FIRST_TAGS = concat!("SELECT t.manifest_id, t.name FROM (SELECT manifest_id, name, \
            ROW_NUMBER() OVER (PARTITION BY manifest_id ORDER BY name) AS place \
            FROM tags WHERE repo_id = $1 AND manifest_id ", among!("$2"), ") AS t \
        WHERE t.place <= $3 ORDER BY t.manifest_id, t.name");

    /// Forgets what was found out about a manifest that is gone.
    FORGET_VERDICT = "DELETE FROM verdicts WHERE repo_id = $1 AND digest = $2";

    /// The same of a whole repository.
    FORGET_VERDICTS = "DELETE FROM verdicts WHERE repo_id = $1";

    /// The document that holds.
    POLICY = "SELECT id, document, revision, actor, created_at FROM trust_policies \
        WHERE id = (SELECT MAX(id) FROM trust_policies)";

    /// The document with a number.
    POLICY_WITH = "SELECT id, document, revision, actor, created_at FROM trust_policies WHERE id = $1";

    /// Documents before a number, the newest first, without their texts.
    POLICIES = "SELECT id, revision, CAST(OCTET_LENGTH(document) AS BIGINT) AS bytes, actor, created_at FROM trust_policies \
        WHERE id < $1 ORDER BY id DESC LIMIT $2";

    /// Its number.
    POLICY_ID = "SELECT COALESCE(MAX(id), 0) FROM trust_policies";

    /// A new document.
    PUT_POLICY = "INSERT INTO trust_policies (document, revision, actor, created_at) VALUES ($1, $2, $3, $4) RETURNING id";

    /// One writer of documents at a time.
    LOCK_POLICIES = locking!("SELECT one FROM access_state WHERE one = 1 FOR NO KEY UPDATE");
}
