-- Whose tokens are taken for a role in a namespace: rules for publishing without a secret of our own.

CREATE TABLE publisher_rules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    ns_id      INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    audience   TEXT NOT NULL,
    -- JSON: the name of each claim with the glob that its value has to match.
    claims     TEXT NOT NULL,
    -- By rank: 1 read, 2 write, 3 admin.
    role       INTEGER NOT NULL CHECK (role BETWEEN 1 AND 3),
    -- 1: a token is taken any number of times, and needs no `jti`.
    reuse      INTEGER NOT NULL CHECK (reuse IN (0, 1)),
    -- A JWK set; none: the issuer says where its keys are.
    jwks       TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (ns_id, name)
) STRICT;
CREATE INDEX publisher_rules_issuer ON publisher_rules (issuer, audience);

-- Tokens that were taken once, until they would not be taken anyway. A rule may end before them.
CREATE TABLE publisher_uses (
    rule_id INTEGER NOT NULL,
    -- SHA-256 of the token's `jti`.
    jti     BLOB NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (rule_id, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX publisher_uses_end ON publisher_uses (ends_at);

-- Names in client certificates (`uri:`, `dns:`, `email:` or `cn:`), and the accounts that they prove.
CREATE TABLE user_certificates (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX user_certificates_user ON user_certificates (user_id);
