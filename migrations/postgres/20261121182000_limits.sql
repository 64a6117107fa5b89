-- What bounds logins, requests and namespaces.

-- Logins that failed or are being tried, counted until a moment. A key is a digest of what is counted: an address, an
-- account, or both. Nothing here is worth a copy: without these rows everybody begins anew.
CREATE TABLE login_attempts (
    key         TEXT COLLATE "C" PRIMARY KEY,
    failures    BIGINT NOT NULL,
    ends_at     BIGINT NOT NULL,
    -- Until then a password was right from there not long ago.
    known_until BIGINT NOT NULL DEFAULT 0,
    -- The later of the two: from then on the row says nothing.
    kept_until  BIGINT NOT NULL
);
CREATE INDEX login_attempts_end ON login_attempts (kept_until);

-- When buckets of requests that more than one node may fill have run out. A node adds what it let through, at most once
-- a second for a bucket. A crash may empty them.
CREATE UNLOGGED TABLE rate_buckets (
    key      TEXT COLLATE "C" PRIMARY KEY,
    empty_at BIGINT NOT NULL
);
CREATE INDEX rate_buckets_empty ON rate_buckets (empty_at);

-- What a namespace may hold; none: any number.
CREATE TABLE quotas (
    ns_id        BIGINT PRIMARY KEY REFERENCES namespaces (id) ON DELETE CASCADE,
    bytes        BIGINT,
    repositories BIGINT
);
