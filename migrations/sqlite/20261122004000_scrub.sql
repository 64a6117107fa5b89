-- Reading everything again: how far that is, and manifests whose bytes turned out to be wrong.

-- Of a manifest as of a blob: since when its bytes are known not to be what its digest says.
ALTER TABLE manifests ADD COLUMN damaged_at INTEGER;

-- So few of so many; they are counted now and then.
CREATE INDEX blobs_damaged ON blobs (damaged_at) WHERE damaged_at IS NOT NULL;
CREATE INDEX manifests_damaged ON manifests (damaged_at) WHERE damaged_at IS NOT NULL;

-- The pass that is under way, or the last one. One node at a time reads; another one may when this one has not for a while.
CREATE TABLE scrub (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    holder      TEXT NOT NULL,
    held_until  INTEGER NOT NULL,
    began_at    INTEGER NOT NULL,
    -- NULL: it is under way.
    finished_at INTEGER,
    -- 0: at the blobs; 1: at the manifests, which come after them.
    stage       INTEGER NOT NULL,
    -- The id of the last one that was read.
    after_id    INTEGER NOT NULL,
    objects     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    damaged     INTEGER NOT NULL
) STRICT;
INSERT INTO scrub VALUES (1, '', 0, 0, 0, 0, 0, 0, 0, 0);
