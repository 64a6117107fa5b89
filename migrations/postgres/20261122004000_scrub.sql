-- Reading everything again: how far that is, and manifests whose bytes turned out to be wrong.

-- Of a manifest as of a blob: since when its bytes are known not to be what its digest says.
ALTER TABLE manifests ADD COLUMN damaged_at BIGINT;

-- So few of so many; they are counted now and then.
CREATE INDEX blobs_damaged ON blobs (damaged_at) WHERE damaged_at IS NOT NULL;
CREATE INDEX manifests_damaged ON manifests (damaged_at) WHERE damaged_at IS NOT NULL;

-- The pass that is under way, or the last one. One node at a time reads; another one may when this one has not for a while.
CREATE TABLE scrub (
    one         BIGINT PRIMARY KEY CHECK (one = 1),
    holder      TEXT COLLATE "C" NOT NULL,
    held_until  BIGINT NOT NULL,
    began_at    BIGINT NOT NULL,
    -- NULL: it is under way.
    finished_at BIGINT,
    -- 0: at the blobs; 1: at the manifests, which come after them.
    stage       BIGINT NOT NULL,
    -- The id of the last one that was read.
    after_id    BIGINT NOT NULL,
    objects     BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    damaged     BIGINT NOT NULL
);
INSERT INTO scrub VALUES (1, '', 0, 0, 0, 0, 0, 0, 0, 0);
