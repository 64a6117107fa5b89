-- Who downloaded what, where the operator wants to know; and rows of the record that are not overwritten either.

-- One row for each hour, manifest, account and address. No fact: it is worth no copy, and goes with its time.
CREATE TABLE downloads (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- When the hour began.
    hour       INTEGER NOT NULL,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    -- Empty: nobody in particular.
    actor      TEXT NOT NULL,
    address    TEXT NOT NULL,
    pulls      INTEGER NOT NULL,
    UNIQUE (hour, repository, digest, actor, address)
) STRICT;
CREATE INDEX downloads_repository ON downloads (repository, id);

-- A row that takes the place of another one (OR REPLACE) does away with it, and no trigger of a DELETE runs then. So no row
-- may have the id or the number of one that is there.
CREATE TRIGGER audit_events_new BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence)
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only');
END;

CREATE TRIGGER audit_events_numbered BEFORE UPDATE OF sequence ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence AND id <> OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only');
END;
