-- Moves with each other password and each disabling of an account. What came of a password names it, and is worth nothing
-- at any other number.
ALTER TABLE users ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
