-- What bounds logins, requests and namespaces.

-- Logins that failed or are being tried, counted until a moment. A key is a digest of what is counted: an address, an
-- account, or both. Nothing here is worth a copy: without these rows everybody begins anew.
CREATE TABLE login_attempts (
    key         TEXT PRIMARY KEY,
    failures    INTEGER NOT NULL,
    ends_at     INTEGER NOT NULL,
    -- Until then a password was right from there not long ago.
    known_until INTEGER NOT NULL DEFAULT 0,
    -- The later of the two: from then on the row says nothing.
    kept_until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_attempts_end ON login_attempts (kept_until);

-- When buckets of requests that more than one node may fill have run out. A node adds what it let through, at most once
-- a second for a bucket. A server on SQLite is alone and needs none.
CREATE TABLE rate_buckets (
    key      TEXT PRIMARY KEY,
    empty_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rate_buckets_empty ON rate_buckets (empty_at);

-- What a namespace may hold; none: any number.
CREATE TABLE quotas (
    ns_id        INTEGER PRIMARY KEY REFERENCES namespaces (id) ON DELETE CASCADE,
    bytes        INTEGER,
    repositories INTEGER
) STRICT;
