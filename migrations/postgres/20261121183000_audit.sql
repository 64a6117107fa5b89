-- What keeps the record of what happened: who numbers and chains its rows, and that nobody changes them.

-- One node at a time seals; another one may when this one has not for a while.
CREATE TABLE audit_sealer (
    one        BIGINT PRIMARY KEY CHECK (one = 1),
    holder     TEXT COLLATE "C" NOT NULL,
    held_until BIGINT NOT NULL,
    -- All facts are being put in the place of others, in this very transaction.
    loading    BIGINT NOT NULL DEFAULT 0,
    -- The end of the chain, so that it is missed when it goes.
    sequence   BIGINT NOT NULL DEFAULT 0,
    hash       BYTEA
);
INSERT INTO audit_sealer (one, holder, held_until) VALUES (1, '', 0);

CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM audit_sealer WHERE one = 1 AND loading = 1) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only';
END
$$;

-- A row changes once: when it gets its number and its hash.
CREATE TRIGGER audit_events_stay BEFORE UPDATE ON audit_events FOR EACH ROW
WHEN (OLD.sequence IS NOT NULL OR OLD.hash IS NOT NULL OR NEW.sequence IS NULL OR NEW.hash IS NULL
    OR (NEW.id, NEW.at, NEW.kind, NEW.actor, NEW.address, NEW.request_id, NEW.subject, NEW.detail)
        IS DISTINCT FROM (OLD.id, OLD.at, OLD.kind, OLD.actor, OLD.address, OLD.request_id, OLD.subject, OLD.detail))
EXECUTE FUNCTION audit_events_refuse();

CREATE TRIGGER audit_events_remain BEFORE DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_events_refuse();

CREATE TRIGGER audit_events_whole BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse();
