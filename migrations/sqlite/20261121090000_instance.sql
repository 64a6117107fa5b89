-- Which database this is, so that a copy or a backup can say where it comes from, and whether it is itself a copy.

CREATE TABLE instance (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    id        TEXT NOT NULL,
    -- The instance that this one is a copy of.
    copy_of   TEXT,
    -- When the last copy into it was finished; none while the first one is under way.
    copied_at INTEGER,
    -- When it was first served after that. What came since is nobody's copy.
    served_at INTEGER
) STRICT;
INSERT INTO instance (one, id) VALUES (1, lower(hex(randomblob(16))));
