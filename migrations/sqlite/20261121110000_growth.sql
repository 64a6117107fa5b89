-- What keeps the cost of a statement from growing with the registry.

-- A closed session is remembered for an hour; to count the open ones must not mean to read them all.
CREATE INDEX uploads_open ON uploads (id) WHERE state <> 'committed';

-- What the planner is to take the tables for, instead of what it would guess: that a repository has ten rows of anything,
-- and that reading all of them is as good as a look into an index. Rows of each index, and how many of them agree in its
-- first column, in its first two, and so on.
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('repositories', 'repositories_path', '10000 1'),
    ('blobs', 'sqlite_autoindex_blobs_1', '1000000 1'),
    ('blobs', 'sqlite_autoindex_blobs_2', '1000000 1'),
    ('blobs', 'blobs_gc', '10000 10'),
    ('repo_blobs', 'repo_blobs', '1000000 10000 1'),
    ('repo_blobs', 'repo_blobs_blob', '1000000 2'),
    ('repo_blobs', 'repo_blobs_gc', '10000 10'),
    ('manifests', 'sqlite_autoindex_manifests_1', '100000 1000 1'),
    ('manifests', 'sqlite_autoindex_manifests_2', '100000 1 1'),
    ('manifests', 'manifests_subject', '10000 1000 10 1'),
    ('manifests', 'manifests_gc', '1000 10'),
    ('manifest_blobs', 'manifest_blobs', '1000000 10 1'),
    ('manifest_blobs', 'manifest_blobs_blob', '1000000 10000 2'),
    ('manifest_blobs', 'manifest_blobs_missing', '1000 100 2'),
    ('manifest_children', 'manifest_children', '100000 10 1'),
    ('manifest_children', 'manifest_children_child', '100000 2 2'),
    ('manifest_children', 'manifest_children_missing', '1000 100 2'),
    ('tags', 'tags', '100000 1000 1'),
    ('tags', 'tags_manifest', '100000 2 2'),
    ('tag_events', 'tag_events_name', '1000000 10000 10'),
    ('uploads', 'sqlite_autoindex_uploads_1', '10000 1'),
    ('uploads', 'sqlite_autoindex_uploads_2', '1000 1'),
    ('uploads', 'uploads_expiry', '10000 10'),
    ('uploads', 'uploads_repository', '10000 100'),
    ('uploads', 'uploads_open', '1000 1'),
    ('upload_tail', 'sqlite_autoindex_upload_tail_1', '1000 10 1'),
    ('object_deletions', 'sqlite_autoindex_object_deletions_1', '10000 1'),
    ('object_deletions', 'object_deletions_due', '10000 10');
ANALYZE sqlite_schema;
