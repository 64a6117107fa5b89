//! Upload sessions and the bytes that no object has yet.

super::statements! { "uploads":
    /// A new session, which is its writer's; no row when somebody else was quicker.
    INSERT = "INSERT INTO uploads (id, repo_id, object_key, driver_state, received, hash_state, epoch, owner, principal, \
            state, digest, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";

    /// A session of a repository that has not expired.
    FIND = "SELECT u.id, u.object_key, u.driver_state, u.received, u.hash_state, u.epoch, u.principal, u.state, u.digest \
        FROM uploads u JOIN repositories r ON r.id = u.repo_id \
        WHERE u.id = $1 AND r.path = $2 AND r.deleted_at IS NULL AND u.expires_at > $3";

    /// The same, and it stays as it is until the transaction ends.
    FIND_ALONE = concat!("SELECT u.id, u.object_key, u.driver_state, u.received, u.hash_state, u.epoch, u.principal, \
            u.state, u.digest \
        FROM uploads u JOIN repositories r ON r.id = u.repo_id \
        WHERE u.id = $1 AND r.path = $2 AND r.deleted_at IS NULL AND u.expires_at > $3", locking!(" FOR UPDATE OF u"));

    /// Makes a session the caller's, with a key where it has none.
    TAKE = "UPDATE uploads SET epoch = epoch + 1, owner = $2, expires_at = $3, object_key = COALESCE(object_key, $4) \
        WHERE id = $1 RETURNING epoch, object_key";

    /// The kept bytes.
    TAIL = "SELECT start, bytes FROM upload_tail WHERE upload_id = $1 ORDER BY start";

    /// The object's key, written once.
    INTEND = "UPDATE uploads SET object_key = $3 WHERE id = $1 AND epoch = $2 AND state <> 'committed' \
        AND (object_key IS NULL OR object_key = $3)";

    /// Another key, under which nothing is stored.
    REKEY = "UPDATE uploads SET object_key = $2, driver_state = $3 WHERE id = $1";

    /// Progress. A session that was about to complete takes bytes again.
    CHECKPOINT = "UPDATE uploads SET received = $3, driver_state = $4, hash_state = $5, expires_at = $6, state = 'open', \
            digest = NULL \
        WHERE id = $1 AND epoch = $2 AND state <> 'committed'";

    /// Kept bytes that an object has now.
    TAIL_DROP = "DELETE FROM upload_tail WHERE upload_id = $1 AND start + length(bytes) <= $2";

    /// Kept bytes of which an object has the first ones now.
    TAIL_TRIM = concat!("UPDATE upload_tail SET bytes = ",
        either!("substr(bytes, $2 - start + 1)", "substr(bytes, CAST($2 - start + 1 AS INTEGER))"), ", start = $2 \
        WHERE upload_id = $1 AND start < $2");

    /// More kept bytes.
    TAIL_INSERT = "INSERT INTO upload_tail (upload_id, start, bytes) VALUES ($1, $2, $3)";

    /// All kept bytes of a session.
    TAIL_CLEAR = "DELETE FROM upload_tail WHERE upload_id = $1";

    /// A later expiry.
    RENEW = "UPDATE uploads SET expires_at = $3 WHERE id = $1 AND epoch = $2 AND state <> 'committed'";

    /// The intent to complete the object.
    COMPLETING = "UPDATE uploads SET state = 'completing', digest = $3, received = $4, driver_state = $5 \
        WHERE id = $1 AND epoch = $2 AND state <> 'committed'";

    /// The session of a holder, which stays as it is until the transaction ends.
    HELD = concat!("SELECT repo_id, object_key, driver_state, received, state, digest FROM uploads \
        WHERE id = $1 AND epoch = $2", locking!(" FOR UPDATE"));

    /// What is left of a session that is over. The key is the blob's from here on, or that of an object that must go.
    COMMITTED = "UPDATE uploads SET state = 'committed', digest = $2, received = $3, expires_at = $4, object_key = NULL, \
            driver_state = $5 \
        WHERE id = $1";

    /// Sessions past their expiry, but those that somebody is just working on.
    EXPIRED = concat!("SELECT id FROM uploads WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2",
        locking!(" FOR UPDATE SKIP LOCKED"));

    /// The objects of sessions that end. A committed session has none.
    DOOM = concat!("INSERT INTO object_deletions (object_key, driver_state, size, not_before) \
        SELECT object_key, driver_state, received, CAST($2 AS BIGINT) FROM uploads \
        WHERE id ", among!("$1"), " AND object_key IS NOT NULL AND state <> 'committed' ORDER BY object_key \
        ON CONFLICT (object_key) DO NOTHING");

    /// Sessions that end; their kept bytes go with them.
    DELETE = concat!("DELETE FROM uploads WHERE id ", among!("$1"));
}
