-- When manifests were last pushed, and holds that keep objects from being removed.

ALTER TABLE manifests ADD COLUMN pushed_at BIGINT;

CREATE TABLE purge_holds (
    name       TEXT COLLATE "C" PRIMARY KEY,
    held_until BIGINT NOT NULL
);
CREATE INDEX purge_holds_until ON purge_holds (held_until);
