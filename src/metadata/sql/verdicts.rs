//! What was found out about digests, and the walk over what passed.

super::statements! { "verdicts":
    /// What was found out last.
    FIND = "SELECT outcome, evidence, checked_at, failed_at FROM verdicts WHERE repo_id = $1 AND digest = $2";

    /// The same; nobody else finds out anything about it until the transaction ends.
    LOCK = concat!("SELECT outcome, evidence, checked_at, failed_at FROM verdicts WHERE repo_id = $1 AND digest = $2",
        locking!(" FOR UPDATE"));

    /// Writes down what was found out for the first time, for a repository that lives.
    INSERT = "INSERT INTO verdicts (repo_id, digest, outcome, evidence, checked_at) \
        SELECT CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT) \
        WHERE EXISTS (SELECT 1 FROM repositories WHERE id = $1 AND deleted_at IS NULL) \
        ON CONFLICT (repo_id, digest) DO NOTHING";

    /// Writes down what was found out since.
    UPDATE = "UPDATE verdicts SET outcome = $3, evidence = $4, checked_at = $5, failed_at = $6 \
        WHERE repo_id = $1 AND digest = $2";

    /// By what a digest is judged now, and whether it is there to be pulled, and no signature itself.
    STANDS = "SELECT r.path, r.trust_generation AS generation, \
            (SELECT COALESCE(MAX(p.id), 0) FROM trust_policies p) AS document, \
            EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = r.id AND m.digest = $2 AND m.signature_bytes IS NULL) AS stored \
        FROM repositories r WHERE r.id = $1 AND r.deleted_at IS NULL";

    /// Everything, in order.
    SCAN = "SELECT v.repo_id, v.digest, v.outcome, v.failed_at, \
            (SELECT r.path FROM repositories r WHERE r.id = v.repo_id AND r.deleted_at IS NULL) AS path \
        FROM verdicts v WHERE (v.repo_id, v.digest) > ($1, $2) ORDER BY v.repo_id, v.digest LIMIT $3";

    /// The walk that is under way, or the last one.
    SWEEP = "SELECT began_at, finished_at, revision FROM verdict_sweep WHERE one = 1";

    /// Begins a walk after the one that was seen, if no other node is at one.
    TAKE = "UPDATE verdict_sweep SET holder = $1, held_until = $2, began_at = $3, finished_at = NULL, revision = $4 \
        WHERE one = 1 AND (holder = $1 OR held_until <= $3) AND began_at = $5 AND revision = $6";

    /// Goes on with it, or ends it, as long as nobody has begun another one.
    KEEP = "UPDATE verdict_sweep SET held_until = $3, finished_at = $4 WHERE one = 1 AND holder = $1 AND began_at = $2";
}
