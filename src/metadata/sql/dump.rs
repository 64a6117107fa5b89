//! Which database this is, and what surrounds putting all facts in the place of others.

super::statements! { "dump":
    /// Which database this is.
    INSTANCE = "SELECT id, copy_of, copied_at, served_at, \
            NOT EXISTS (SELECT 1 FROM repositories) AND NOT EXISTS (SELECT 1 FROM blobs) \
            AND NOT EXISTS (SELECT 1 FROM uploads) AND NOT EXISTS (SELECT 1 FROM object_deletions) AS empty \
        FROM instance";

    /// The secret that proves the names of upload sessions.
    SESSION_KEY = "SELECT session_key FROM instance WHERE one = 1";

    /// From here on it is another one's copy.
    COPY_BEGIN = "UPDATE instance SET copy_of = $1, copied_at = NULL, served_at = NULL \
        WHERE copy_of IS NULL AND id <> $1";

    /// The copy is whole. Refused once it is served, since what was pushed there would be lost.
    COPY_END = "UPDATE instance SET copied_at = $1 WHERE copy_of IS NOT NULL AND served_at IS NULL";

    /// A copy that is whole may be served, and is no copy's target any more.
    SERVE_COPY = "UPDATE instance SET served_at = $1 \
        WHERE copy_of IS NOT NULL AND copied_at IS NOT NULL AND served_at IS NULL";

    /// Which of some keys are those of blobs whose bytes are sound.
    SOUND_KEYS = concat!("SELECT object_key FROM blobs WHERE object_key ", among!("$1"), " AND damaged_at IS NULL");

    /// Lets the transaction wait for rows as long as they take.
    NO_HURRY = either!("", "SELECT set_config('idle_in_transaction_session_timeout', '0', TRUE)");

    /// Objects of blobs about to be replaced, unless they are somebody else's.
    DOOM_BLOBS = "INSERT INTO object_deletions (object_key, size, not_before) \
        SELECT object_key, size, $1 FROM blobs WHERE object_key IS NOT NULL AND NOT adopted \
        ON CONFLICT (object_key) DO NOTHING";

    /// Objects of sessions about to end.
    DOOM_UPLOADS = "INSERT INTO object_deletions (object_key, driver_state, size, not_before) \
        SELECT object_key, driver_state, received, $1 FROM uploads WHERE object_key IS NOT NULL AND state <> 'committed' \
        ON CONFLICT (object_key) DO NOTHING";

    /// All sessions; their kept bytes go with them.
    CLEAR_UPLOADS = "DELETE FROM uploads";

    /// What the migration `signature_edges` does, for facts that were read before there was that one.
    UNSIGN = "UPDATE manifests SET signature_bytes = NULL WHERE signature_bytes IS NOT NULL AND (signature_bytes <> \
            OCTET_LENGTH(payload) + COALESCE((SELECT SUM(b.size) FROM manifest_blobs e JOIN blobs b ON b.id = e.blob_id \
                WHERE e.manifest_id = manifests.id AND e.role = 'layer'), 0) \
        OR EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.manifest_id = manifests.id AND e.blob_id IS NULL))";

    /// What was to be removed and is named by the new facts.
    UNDOOM_BLOBS = "DELETE FROM object_deletions WHERE object_key IN (SELECT object_key FROM blobs)";
}
