-- What keeps the record of what happened: who numbers and chains its rows, and that nobody changes them.

-- One node at a time seals; another one may when this one has not for a while.
CREATE TABLE audit_sealer (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    holder     TEXT NOT NULL,
    held_until INTEGER NOT NULL,
    -- All facts are being put in the place of others, in this very transaction.
    loading    INTEGER NOT NULL DEFAULT 0,
    -- The end of the chain, so that it is missed when it goes.
    sequence   INTEGER NOT NULL DEFAULT 0,
    hash       BLOB
) STRICT;
INSERT INTO audit_sealer (one, holder, held_until) VALUES (1, '', 0);

-- A row changes once: when it gets its number and its hash.
CREATE TRIGGER audit_events_stay BEFORE UPDATE ON audit_events
WHEN OLD.sequence IS NOT NULL OR OLD.hash IS NOT NULL OR NEW.sequence IS NULL OR NEW.hash IS NULL
    OR NEW.id IS NOT OLD.id OR NEW.at IS NOT OLD.at OR NEW.kind IS NOT OLD.kind OR NEW.actor IS NOT OLD.actor
    OR NEW.address IS NOT OLD.address OR NEW.request_id IS NOT OLD.request_id OR NEW.subject IS NOT OLD.subject
    OR NEW.detail IS NOT OLD.detail
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only');
END;

CREATE TRIGGER audit_events_remain BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_sealer WHERE one = 1 AND loading = 1)
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only');
END;
