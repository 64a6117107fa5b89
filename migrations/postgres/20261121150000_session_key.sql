-- What proves the names of upload sessions, of which nothing is written down before their first bytes come.

ALTER TABLE instance ADD COLUMN session_key BYTEA;
UPDATE instance SET session_key =
    decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');
