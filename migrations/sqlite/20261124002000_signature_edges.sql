-- A manifest that came twice under two content types could keep the edges of the first reading and be a signature by the
-- second: everybody could read what it names. Those that name more than they counted as their signatures, or something
-- that is not there, are ordinary manifests until they come again.

UPDATE repositories SET trust_generation = trust_generation + 1
    WHERE EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = repositories.id AND m.signature_bytes IS NOT NULL);

UPDATE manifests SET signature_bytes = NULL
    WHERE signature_bytes IS NOT NULL AND (
        signature_bytes <> OCTET_LENGTH(payload) + COALESCE((SELECT SUM(b.size) FROM manifest_blobs e
            JOIN blobs b ON b.id = e.blob_id WHERE e.manifest_id = manifests.id AND e.role = 'layer'), 0)
        OR EXISTS (SELECT 1 FROM manifest_blobs e WHERE e.manifest_id = manifests.id AND e.blob_id IS NULL));
