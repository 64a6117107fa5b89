-- What proves the names of upload sessions, of which nothing is written down before their first bytes come.

ALTER TABLE instance ADD COLUMN session_key BLOB;
UPDATE instance SET session_key = randomblob(32);
