//! The record of what happened.

super::statements! { "audit":
    /// Writes down one thing that happened, and says whether anybody may want to be told.
    EVENT = "INSERT INTO audit_events (at, kind, actor, address, request_id, subject, detail) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING EXISTS (SELECT 1 FROM webhooks h WHERE h.id > 0) AS told";

    /// Writes down several that one request did: rows of (kind, subject, detail).
    EVENTS = concat!("INSERT INTO audit_events (at, actor, address, request_id, kind, subject, detail) \
        SELECT CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), ", text!(0), ", ", text!(1), ", ",
        text!(2), " FROM ", rows!("$5"), " WHERE TRUE RETURNING EXISTS (SELECT 1 FROM webhooks h WHERE h.id > 0) AS told");

    /// Writes down what several people did, by no transaction: rows of (actor, address, request, kind, subject, detail).
    NOTES = concat!("INSERT INTO audit_events (at, actor, address, request_id, kind, subject, detail) \
        SELECT CAST($1 AS BIGINT), ", text!(0), ", ", text!(1), ", ", text!(2), ", ", text!(3), ", ", text!(4), ", ",
        text!(5), " FROM ", rows!("$2"));

    /// Whether there is anything to seal that this node may seal.
    DUE = "SELECT EXISTS (SELECT 1 FROM audit_sealer WHERE one = 1 AND (holder = $1 OR held_until <= $2)) \
        AND EXISTS (SELECT 1 FROM audit_events WHERE sequence IS NULL AND id > $3)";

    /// Makes this node the one that seals, or leaves it so, and keeps others out until the transaction ends. Gives the end
    /// of the chain.
    LEASE = "UPDATE audit_sealer SET holder = $1, held_until = $3 WHERE one = 1 AND (holder = $1 OR held_until <= $2) \
        RETURNING sequence, hash";

    /// This node seals no more, if it did.
    LEAVE = "UPDATE audit_sealer SET held_until = 0 WHERE one = 1 AND holder = $1";

    /// The chain ends elsewhere now.
    HEAD_MOVED = "UPDATE audit_sealer SET sequence = $1, hash = $2 WHERE one = 1";

    /// The end of the chain, as the one who sealed it remembers.
    HEAD = "SELECT sequence, hash FROM audit_sealer WHERE one = 1";

    /// What has no number yet, in the order in which it was begun.
    UNSEALED = "SELECT id, at, kind, actor, address, request_id, subject, detail, sequence, hash FROM audit_events \
        WHERE sequence IS NULL AND id > $1 ORDER BY id LIMIT $2";

    /// Numbers and chains: rows of (id, sequence, hash).
    SEAL = concat!("UPDATE audit_events SET sequence = ", int!(1), ", hash = ", either!("unhex(", "decode("), text!(2),
        either!(")", ", 'hex')"), " FROM ", rows!("$1"), " WHERE audit_events.id = ", int!(0));

    /// How much has no number yet, up to a limit, and since when.
    TAIL = "SELECT COUNT(*) AS events, MIN(u.at) AS since \
        FROM (SELECT at FROM audit_events WHERE sequence IS NULL AND id > $1 ORDER BY id LIMIT $2) AS u";

    /// The chain after a number.
    CHAIN = "SELECT id, at, kind, actor, address, request_id, subject, detail, sequence, hash FROM audit_events \
        WHERE sequence > $1 ORDER BY sequence LIMIT $2";

    /// The newest event before one.
    NEWEST = "SELECT id, at FROM audit_events WHERE id < $1 ORDER BY id DESC LIMIT 1";

    /// Events of a span of ids that fit, the newest first.
    LIST = "SELECT id, at, kind, actor, address, request_id, subject, detail, sequence, hash FROM audit_events \
        WHERE id < $1 AND id >= $2 AND at >= $3 AND at < $4 AND (CAST($5 AS TEXT) IS NULL OR actor = $5) \
        AND (CAST($6 AS TEXT) IS NULL OR kind = $6) \
        AND (CAST($7 AS TEXT) IS NULL OR substr(subject, 1, length(CAST($7 AS TEXT))) = $7) \
        ORDER BY id DESC LIMIT $8";

    /// Rows of this transaction may go, because all facts are put in the place of others.
    LOADING = "UPDATE audit_sealer SET loading = 1 WHERE one = 1";

    /// They are in their place, and the chain ends where theirs does.
    LOADED = "UPDATE audit_sealer SET loading = 0, \
        sequence = COALESCE((SELECT sequence FROM audit_events WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1), 0), \
        hash = (SELECT hash FROM audit_events WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1) WHERE one = 1";
}
