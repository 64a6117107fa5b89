-- What keeps the cost of a statement from growing with the registry.

-- A closed session is remembered for an hour; to count the open ones must not mean to read them all.
CREATE INDEX uploads_open ON uploads (id) WHERE state <> 'committed';
