-- Repositories, blobs, uploads, manifests, tags and the objects waiting to be removed.
--
-- Digests are TEXT `algorithm:hex`, times are microseconds since 1970 UTC and always passed in. TEXT compares byte by
-- byte (BINARY), which is the order that pages of tags, repositories and referrers follow.

CREATE TABLE repositories (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    ns_id      INTEGER,
    path       TEXT NOT NULL,
    policy     TEXT,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX repositories_path ON repositories (path) WHERE deleted_at IS NULL;

-- The bytes are either under object_key in the store or in the row.
CREATE TABLE blobs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    digest       TEXT NOT NULL UNIQUE,
    size         INTEGER NOT NULL CHECK (size >= 0),
    object_key   TEXT UNIQUE,
    adopted      INTEGER NOT NULL DEFAULT 0,
    damaged_at   INTEGER,
    orphan_since INTEGER,
    gc_after     INTEGER,
    created_at   INTEGER NOT NULL,
    inline       BLOB,
    CHECK ((object_key IS NULL) <> (inline IS NULL))
) STRICT;
CREATE INDEX blobs_gc ON blobs (gc_after) WHERE gc_after IS NOT NULL;

-- Membership: who may read, mount and name a blob; and the lease that holds it while no manifest does.
-- leased_at is written by uploads and mounts only, never by a HEAD.
CREATE TABLE repo_blobs (
    repo_id     INTEGER NOT NULL REFERENCES repositories (id),
    blob_id     INTEGER NOT NULL REFERENCES blobs (id),
    lease_until INTEGER,
    leased_at   INTEGER,
    gc_after    INTEGER,
    PRIMARY KEY (repo_id, blob_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX repo_blobs_blob ON repo_blobs (blob_id);
CREATE INDEX repo_blobs_gc ON repo_blobs (gc_after) WHERE gc_after IS NOT NULL;

-- subject has no foreign key: a referrer may come before what it refers to.
CREATE TABLE manifests (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id        INTEGER NOT NULL REFERENCES repositories (id),
    digest         TEXT NOT NULL,
    media_type     TEXT NOT NULL,
    artifact_type  TEXT,
    subject        TEXT,
    referrer       TEXT,
    state          TEXT NOT NULL DEFAULT 'live',
    untagged_since INTEGER,
    pulled_at      INTEGER,
    gc_after       INTEGER,
    created_at     INTEGER NOT NULL,
    payload        BLOB NOT NULL,
    UNIQUE (repo_id, digest),
    UNIQUE (id, repo_id)
) STRICT;
CREATE INDEX manifests_subject ON manifests (repo_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_gc ON manifests (gc_after) WHERE gc_after IS NOT NULL;

-- A NULL blob_id is content that the repository does not have (yet).
CREATE TABLE manifest_blobs (
    manifest_id INTEGER NOT NULL,
    pos         INTEGER NOT NULL,
    repo_id     INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('config', 'layer', 'child')),
    blob_id     INTEGER,
    PRIMARY KEY (manifest_id, pos),
    FOREIGN KEY (manifest_id, repo_id) REFERENCES manifests (id, repo_id) ON DELETE CASCADE,
    FOREIGN KEY (repo_id, blob_id) REFERENCES repo_blobs (repo_id, blob_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repo_id, blob_id);
CREATE INDEX manifest_blobs_missing ON manifest_blobs (repo_id, digest) WHERE blob_id IS NULL;

-- A child that the repository does not know stands here and in manifest_blobs with NULL; when one is filled, the other goes.
CREATE TABLE manifest_children (
    parent_id    INTEGER NOT NULL,
    pos          INTEGER NOT NULL,
    repo_id      INTEGER NOT NULL,
    child_digest TEXT NOT NULL,
    child_id     INTEGER,
    platform     TEXT,
    PRIMARY KEY (parent_id, pos),
    FOREIGN KEY (parent_id, repo_id) REFERENCES manifests (id, repo_id) ON DELETE CASCADE,
    FOREIGN KEY (child_id, repo_id) REFERENCES manifests (id, repo_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_children_child ON manifest_children (child_id, repo_id);
CREATE INDEX manifest_children_missing ON manifest_children (repo_id, child_digest) WHERE child_id IS NULL;

CREATE TABLE tags (
    repo_id     INTEGER NOT NULL,
    name        TEXT NOT NULL,
    manifest_id INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (repo_id, name),
    FOREIGN KEY (manifest_id, repo_id) REFERENCES manifests (id, repo_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (manifest_id, repo_id);

-- Append-only.
CREATE TABLE tag_events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id    INTEGER NOT NULL REFERENCES repositories (id),
    name       TEXT NOT NULL,
    old_digest TEXT,
    new_digest TEXT,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX tag_events_name ON tag_events (repo_id, name);

-- object_key is committed before the first byte goes there.
CREATE TABLE uploads (
    id           TEXT PRIMARY KEY,
    repo_id      INTEGER NOT NULL REFERENCES repositories (id),
    object_key   TEXT UNIQUE,
    driver_state BLOB NOT NULL,
    received     INTEGER NOT NULL,
    hash_state   BLOB NOT NULL,
    epoch        INTEGER NOT NULL,
    owner        TEXT,
    principal    TEXT,
    state        TEXT NOT NULL CHECK (state IN ('open', 'completing', 'committed')),
    digest       TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    CHECK ((state = 'open') = (digest IS NULL))
) STRICT;
CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_repository ON uploads (repo_id);

-- Bytes that no object has yet.
CREATE TABLE upload_tail (
    upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    start     INTEGER NOT NULL,
    bytes     BLOB NOT NULL,
    PRIMARY KEY (upload_id, start)
) STRICT;

-- Objects that must go. A driver_state marks an unfinished upload.
CREATE TABLE object_deletions (
    object_key   TEXT PRIMARY KEY,
    driver_state BLOB,
    size         INTEGER NOT NULL,
    not_before   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX object_deletions_due ON object_deletions (not_before);
