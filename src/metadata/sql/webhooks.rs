//! Webhooks and their outbox.

super::statements! { "webhooks":
    /// A new webhook.
    INSERT = "INSERT INTO webhooks (key_id, ns_id, url, secret_sealed, events, created_at) VALUES ($1, $2, $3, $4, $5, $6)";

    /// The webhooks of a namespace.
    LIST = "SELECT key_id, url, events, active, created_at FROM webhooks WHERE ns_id = $1 ORDER BY key_id";

    /// One of them.
    FIND = "SELECT id FROM webhooks WHERE ns_id = $1 AND key_id = $2";

    /// Whether anything is sent to it.
    ACTIVATE = "UPDATE webhooks SET active = CAST($2 AS BIGINT) <> 0 WHERE id = $1";

    /// The end of a webhook, with its outbox.
    DELETE = "DELETE FROM webhooks WHERE id = $1";

    /// One event for one webhook, unless many wait for it or it has ended.
    QUEUE = concat!("INSERT INTO outbox (hook_id, event_id, kind, subject, data, created_at, next_at, ends_at) \
        SELECT CAST($1 AS BIGINT), ", either!("lower(hex(randomblob(16)))", "replace(CAST(gen_random_uuid() AS TEXT), '-', '')"),
        ", CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT) \
        FROM webhooks h WHERE h.id = $1 \
            AND (SELECT w.id FROM outbox w WHERE w.hook_id = $1 AND w.next_at IS NOT NULL LIMIT 1 OFFSET $7) IS NULL",
        locking!(" FOR KEY SHARE OF h"), " RETURNING id");

    /// Events of a repository (rows of event, kind, subject, data and place) for each webhook of its namespace that wants to
    /// know of them and for which not too many wait, in this order. A webhook that is just ending is waited for, and left out.
    ENQUEUE = concat!("INSERT INTO outbox (hook_id, event_id, kind, subject, data, created_at, next_at, ends_at) \
        SELECT h.id, ", either!("lower(hex(randomblob(16)))", "replace(CAST(gen_random_uuid() AS TEXT), '-', '')"), ", ",
        text!(1), ", ", text!(2), ", ", text!(3), ", CAST($3 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT) \
        FROM ", rows!("$1"), " JOIN webhooks h ON h.ns_id = (SELECT n.id FROM namespaces n WHERE n.path ", among!("$2"), " \
            ORDER BY length(n.path) DESC LIMIT 1) \
        WHERE h.active AND (h.events & ", int!(0), ") <> 0 \
            AND (SELECT w.id FROM outbox w WHERE w.hook_id = h.id AND w.next_at IS NOT NULL LIMIT 1 OFFSET $5) IS NULL \
        ORDER BY ", int!(4), ", h.id", locking!(" FOR KEY SHARE OF h"));

    /// Which namespaces there are of a list, and whether anybody wants to know of refusals there.
    OWNERS = concat!("SELECT n.path, EXISTS (SELECT 1 FROM webhooks h WHERE h.ns_id = n.id AND h.active AND (h.events & 8) <> 0) \
            AS wants FROM namespaces n WHERE n.path ", among!("$1"));

    /// Where to send to, and what signs it.
    TARGETS = concat!("SELECT id, key_id, url, secret_sealed FROM webhooks WHERE id ", among!("$1"));

    /// Deliveries of the webhooks of a namespace, the newest first.
    DELIVERIES = "SELECT o.id, h.key_id AS webhook, o.event_id, o.kind, o.subject, o.created_at, o.attempts, o.last_status, \
            o.last_error, o.next_at, o.done_at, o.dead_at \
        FROM webhooks h JOIN outbox o ON o.hook_id = h.id \
        WHERE h.ns_id = $1 AND o.id < $2 AND (CAST($3 AS BIGINT) = 0 OR o.dead_at IS NOT NULL) ORDER BY o.id DESC LIMIT $4";

    /// Sends one of them from the beginning, unless a node is just sending it.
    AGAIN = "UPDATE outbox SET next_at = $3, claimed_until = NULL, attempts = 0, done_at = NULL, dead_at = NULL, ends_at = $4 \
        WHERE id = $2 AND hook_id IN (SELECT h.id FROM webhooks h WHERE h.ns_id = $1) \
        AND (claimed_until IS NULL OR claimed_until <= $3)";

    /// Whether anything is due. It asks for each webhook, of which there are few.
    DUE = "SELECT EXISTS (SELECT 1 FROM webhooks h WHERE h.id > 0 AND h.active \
        AND EXISTS (SELECT 1 FROM outbox o WHERE o.hook_id = h.id AND o.next_at <= $1))";

    /// Hands out what is due, not again before a moment: one row of each webhook of which none is handed out.
    CLAIM = concat!(either!("UPDATE outbox SET next_at = $2, claimed_until = $2, attempts = attempts + 1 WHERE id IN (",
        "WITH due AS MATERIALIZED (SELECT id FROM outbox WHERE next_at <= $1 AND id = ANY (ARRAY("),
        "SELECT (SELECT o.id FROM outbox o WHERE o.hook_id = h.id AND o.next_at <= $1 ORDER BY o.next_at, o.id LIMIT 1) \
            FROM webhooks h WHERE h.id > $3 AND h.active \
            AND EXISTS (SELECT 1 FROM outbox d WHERE d.hook_id = h.id AND d.next_at <= $1) \
            AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.hook_id = h.id AND b.claimed_until > $1) \
            ORDER BY h.id LIMIT $4",
        either!(") RETURNING id, hook_id, attempts, event_id, kind, subject, data, created_at, ends_at",
        ")) FOR UPDATE SKIP LOCKED) \
        UPDATE outbox o SET next_at = $2, claimed_until = $2, attempts = o.attempts + 1 FROM due WHERE o.id = due.id \
        RETURNING o.id, o.hook_id, o.attempts, o.event_id, o.kind, o.subject, o.data, o.created_at, o.ends_at"));

    /// What became of an attempt that is still the caller's.
    SETTLE = "UPDATE outbox SET next_at = $3, claimed_until = NULL, last_status = $4, last_error = $5, done_at = $6, \
            dead_at = $7, ends_at = COALESCE($8, ends_at) \
        WHERE id = $1 AND attempts = $2 AND claimed_until IS NOT NULL";

    /// Gives up what was not delivered in time, unless a node is just sending it.
    GIVE_UP = concat!("UPDATE outbox SET next_at = NULL, claimed_until = NULL, dead_at = $1, ends_at = $2, \
            last_error = COALESCE(last_error, 'it was not sent in time') \
        WHERE id IN (SELECT id FROM outbox WHERE ends_at <= $1 AND next_at IS NOT NULL \
            AND (claimed_until IS NULL OR claimed_until <= $1) ORDER BY ends_at LIMIT $3",
        locking!(" FOR UPDATE SKIP LOCKED"), ")");

    /// Removes what was delivered or given up long ago.
    FORGET = concat!("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE ends_at <= $1 AND next_at IS NULL \
            ORDER BY ends_at LIMIT $2", locking!(" FOR UPDATE SKIP LOCKED"), ")");

    /// Webhooks with more rows than are kept, and the newest row that is too much.
    OVERFULL = "SELECT f.id, f.up_to FROM (SELECT h.id, \
            (SELECT k.id FROM outbox k WHERE k.hook_id = h.id ORDER BY k.id DESC LIMIT 1 OFFSET $1) AS up_to \
        FROM webhooks h WHERE h.id > 0) AS f WHERE f.up_to IS NOT NULL";

    /// Removes what was delivered or given up of a webhook, up to a row.
    TRIM = concat!("DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o \
        WHERE o.hook_id = $1 AND o.id <= $2 AND o.next_at IS NULL LIMIT $3", locking!(" FOR UPDATE SKIP LOCKED"), ")");
}
