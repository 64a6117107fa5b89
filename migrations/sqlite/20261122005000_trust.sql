-- What signature policies need: which manifests are signatures, when those of a repository changed, what was judged, and
-- the document.

-- Moves with every change of the signatures and indexes of a repository, so that a verdict is known to be an old one.
ALTER TABLE repositories ADD COLUMN trust_generation INTEGER NOT NULL DEFAULT 0;

-- Bytes of the signatures that a manifest carries; NULL: it is no signature artifact.
ALTER TABLE manifests ADD COLUMN signature_bytes INTEGER;
CREATE INDEX manifests_signatures ON manifests (repo_id, subject, signature_bytes, digest)
    WHERE signature_bytes IS NOT NULL;

-- What was found out last about a digest, which is looked at first when it is judged again. No fact: it can be found out
-- again; what is no longer true of it costs a look. The digest need not be there yet.
CREATE TABLE verdicts (
    repo_id    INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    -- Digests of the manifests whose signatures counted, as a list in JSON.
    evidence   TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (repo_id, digest)
) STRICT, WITHOUT ROWID;

-- Every document there was; the newest one holds.
CREATE TABLE trust_policies (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Empty: no policy.
    document   TEXT NOT NULL,
    actor      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('manifests', 'manifests_signatures', '10000 1000 10 2 1'),
    ('verdicts', 'verdicts', '100000 1000 1');
ANALYZE sqlite_schema;
