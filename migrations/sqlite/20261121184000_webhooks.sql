-- Who is told what happens in a namespace, and what is on its way to them.

CREATE TABLE webhooks (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What its owner knows it by.
    key_id        TEXT NOT NULL UNIQUE,
    ns_id         INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
    url           TEXT NOT NULL,
    -- What signs the deliveries, under the one secret.
    secret_sealed BLOB NOT NULL,
    -- The sum of 1 push, 2 tag, 4 delete, 8 denial.
    events        INTEGER NOT NULL,
    -- No: nothing is added and nothing sent.
    active        INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX webhooks_namespace ON webhooks (ns_id, key_id);

-- One row for each event and webhook, written in the transaction in which it happened.
CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    hook_id       INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id      TEXT NOT NULL,
    kind          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    -- JSON.
    data          TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    -- When it is sent next; none: it was delivered, or given up.
    next_at       INTEGER,
    -- Until then a node is sending it.
    claimed_until INTEGER,
    attempts      INTEGER NOT NULL DEFAULT 0,
    last_status   INTEGER,
    last_error    TEXT,
    done_at       INTEGER,
    dead_at       INTEGER,
    -- When it is given up, or when it goes where it was delivered or given up.
    ends_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_hook ON outbox (hook_id, id);
CREATE INDEX outbox_due ON outbox (hook_id, next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_claimed ON outbox (hook_id, claimed_until) WHERE claimed_until IS NOT NULL;
CREATE INDEX outbox_end ON outbox (ends_at);
