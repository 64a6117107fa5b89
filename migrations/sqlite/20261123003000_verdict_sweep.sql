-- Telling what ceases to pass: what was told, and the walk that looks for more.

-- Since when a digest that had passed does not any more, as far as that was told; NULL: nothing was, or it passes again.
ALTER TABLE verdicts ADD COLUMN failed_at INTEGER;

-- The walk over what passed that is under way, or the last one. One node at a time walks for all.
CREATE TABLE verdict_sweep (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    holder      TEXT NOT NULL,
    held_until  INTEGER NOT NULL,
    began_at    INTEGER NOT NULL,
    -- NULL: it is under way, or whoever was at it is gone.
    finished_at INTEGER,
    -- Of the policies that it judges by.
    revision    TEXT NOT NULL
) STRICT;
INSERT INTO verdict_sweep VALUES (1, '', 0, 0, 0, '');

-- What only warnings spoke of was written down as a pass. What passed by an index is found out again.
UPDATE verdicts SET outcome = 'off' WHERE outcome = 'pass' AND evidence = '[]';
