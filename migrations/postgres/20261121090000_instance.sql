-- Which database this is, so that a copy or a backup can say where it comes from, and whether it is itself a copy.

CREATE TABLE instance (
    one       BIGINT PRIMARY KEY CHECK (one = 1),
    id        TEXT COLLATE "C" NOT NULL,
    -- The instance that this one is a copy of.
    copy_of   TEXT COLLATE "C",
    -- When the last copy into it was finished; none while the first one is under way.
    copied_at BIGINT,
    -- When it was first served after that. What came since is nobody's copy.
    served_at BIGINT
);
INSERT INTO instance (one, id) VALUES (1, replace(CAST(gen_random_uuid() AS TEXT), '-', ''));
