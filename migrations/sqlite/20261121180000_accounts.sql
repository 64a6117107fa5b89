-- People and machines, what they may do, and what proves who they are.

-- The longest path that a repository begins with is its namespace.
CREATE TABLE namespaces (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    path       TEXT NOT NULL UNIQUE,
    -- Whether repositories that say nothing themselves are public.
    public     INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    email       TEXT UNIQUE,
    -- A PHC string; none: there is no password to log in with.
    password    TEXT,
    admin       INTEGER NOT NULL DEFAULT 0,
    -- The namespace that a robot belongs to; it ends with it.
    robot_of    INTEGER REFERENCES namespaces (id) ON DELETE CASCADE,
    disabled_at INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX users_admins ON users (id) WHERE admin;
CREATE INDEX users_robots ON users (robot_of) WHERE robot_of IS NOT NULL;

CREATE TABLE teams (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE team_members (
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (team_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_members_user ON team_members (user_id);

-- Roles by rank: 1 read, 2 write, 3 admin, 4 owner. Either a user or a team.
CREATE TABLE grants (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    ns_id   INTEGER NOT NULL REFERENCES namespaces (id) ON DELETE CASCADE,
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
    team_id INTEGER REFERENCES teams (id) ON DELETE CASCADE,
    role    INTEGER NOT NULL CHECK (role BETWEEN 1 AND 4),
    CHECK ((user_id IS NULL) <> (team_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX grants_user ON grants (ns_id, user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX grants_team ON grants (ns_id, team_id) WHERE team_id IS NOT NULL;
CREATE INDEX grants_namespace ON grants (ns_id);
CREATE INDEX grants_of_user ON grants (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX grants_of_team ON grants (team_id) WHERE team_id IS NOT NULL;

-- API tokens. The token itself is nowhere.
CREATE TABLE api_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What its owner knows it by.
    key_id     TEXT NOT NULL UNIQUE,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    -- It came from a login by password, and ends when that changes.
    login      INTEGER NOT NULL DEFAULT 0,
    -- JSON: a list of `GLOB:ACTIONS`; an empty one limits nothing.
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER
) STRICT;
CREATE INDEX api_tokens_user ON api_tokens (user_id);
CREATE INDEX api_tokens_end ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- A number that moves with every change of what anybody may do, so that nodes notice.
CREATE TABLE access_state (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO access_state (one, version) VALUES (1, 0);

-- Keys that sign tokens, sealed by the one secret.
CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX signing_keys_end ON signing_keys (ends_at);

-- Whether a repository is public, 0 or 1; none: as its namespace is.
ALTER TABLE repositories ADD COLUMN is_public INTEGER;

-- What happened, written in the transaction in which it did. A sealer numbers the rows and chains them by hash.
CREATE TABLE audit_events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    actor      TEXT,
    address    TEXT,
    request_id TEXT,
    subject    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    sequence   INTEGER UNIQUE,
    hash       BLOB
) STRICT;
CREATE INDEX audit_events_unsealed ON audit_events (id) WHERE sequence IS NULL;
