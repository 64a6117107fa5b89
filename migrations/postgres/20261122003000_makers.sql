-- Who made a token, so that it ends with what made it.

ALTER TABLE api_tokens
    -- The API token by which it was made, with which it ends.
    ADD COLUMN parent  BIGINT REFERENCES api_tokens (id) ON DELETE CASCADE,
    -- The account that made it for another one; none: its own, or the operator at the command line.
    ADD COLUMN made_by BIGINT REFERENCES users (id) ON DELETE SET NULL;
CREATE INDEX api_tokens_parent ON api_tokens (parent) WHERE parent IS NOT NULL;
CREATE INDEX api_tokens_made_by ON api_tokens (made_by) WHERE made_by IS NOT NULL;
