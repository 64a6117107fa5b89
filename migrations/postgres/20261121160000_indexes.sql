-- A subject may have thousands of referrers, of which a client wants the few of one type.

CREATE INDEX manifests_subject_type ON manifests (repo_id, subject, artifact_type, digest) WHERE subject IS NOT NULL;

-- Only sessions that are not over end with their repository. Of the others, each blob that comes leaves a row.
DROP INDEX uploads_repository;
CREATE INDEX uploads_repository_open ON uploads (repo_id, id) WHERE state <> 'committed';
