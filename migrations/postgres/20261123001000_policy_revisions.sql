-- The revision that a policy document had when it was stored, so that a list of documents need not read them. NULL: it was
-- stored before this column was there, and is read for it.
ALTER TABLE trust_policies ADD COLUMN revision TEXT;
