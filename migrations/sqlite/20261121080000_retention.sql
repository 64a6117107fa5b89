-- When manifests were last pushed, and holds that keep objects from being removed.

ALTER TABLE manifests ADD COLUMN pushed_at INTEGER;

-- Pulls are written down from now on. Nobody knows when older manifests were pulled last: for them it counts as now.
UPDATE manifests SET pulled_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000;

CREATE TABLE purge_holds (
    name       TEXT PRIMARY KEY,
    held_until INTEGER NOT NULL
) STRICT;
CREATE INDEX purge_holds_until ON purge_holds (held_until);
