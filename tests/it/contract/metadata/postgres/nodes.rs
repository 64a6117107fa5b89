//! Several nodes on one database, and what must be true of the tables whatever they did at the same time.

use std::sync::Arc;

use bonded::metadata::MetadataStore;
use bonded::metadata::postgres::PostgresStore;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;

use crate::postgres::Database;

/// Each is a question that must find nothing.
const NEVER: &[(&str, &str)] = &[
    (
        "an edge that waits for a blob which is there",
        "SELECT count(*) FROM manifest_blobs e JOIN blobs b ON b.digest = e.digest \
         JOIN repo_blobs rb ON rb.repo_id = e.repo_id AND rb.blob_id = b.id WHERE e.blob_id IS NULL",
    ),
    (
        "an index that waits for a manifest which is there",
        "SELECT count(*) FROM manifest_children c JOIN manifests m ON m.repo_id = c.repo_id AND m.digest = c.child_digest \
         WHERE c.child_id IS NULL",
    ),
    (
        "a membership that nothing holds and nobody will collect",
        "SELECT count(*) FROM repo_blobs rb WHERE rb.gc_after IS NULL AND NOT EXISTS (SELECT 1 FROM manifest_blobs e \
         WHERE e.repo_id = rb.repo_id AND e.blob_id = rb.blob_id)",
    ),
    (
        "a blob that no repository has and nobody will collect",
        "SELECT count(*) FROM blobs b WHERE b.gc_after IS NULL \
         AND NOT EXISTS (SELECT 1 FROM repo_blobs rb WHERE rb.blob_id = b.id)",
    ),
    (
        "an object that is a blob's and will be removed",
        "SELECT count(*) FROM object_deletions d JOIN blobs b ON b.object_key = d.object_key",
    ),
    (
        "a referrer that will be collected though its subject is there",
        "SELECT count(*) FROM manifests r JOIN manifests s ON s.repo_id = r.repo_id AND s.digest = r.subject \
         WHERE r.gc_after IS NOT NULL",
    ),
    (
        "something in a repository that has ended",
        "SELECT count(*) FROM repositories r WHERE r.deleted_at IS NOT NULL \
         AND (EXISTS (SELECT 1 FROM repo_blobs x WHERE x.repo_id = r.id) \
         OR EXISTS (SELECT 1 FROM manifests x WHERE x.repo_id = r.id) \
         OR EXISTS (SELECT 1 FROM tags x WHERE x.repo_id = r.id) \
         OR EXISTS (SELECT 1 FROM uploads x WHERE x.repo_id = r.id AND x.state <> 'committed'))",
    ),
    (
        "a tagged manifest that counts as untagged",
        "SELECT count(*) FROM manifests m JOIN tags t ON t.manifest_id = m.id WHERE m.untagged_since IS NOT NULL",
    ),
    (
        "an untagged manifest that counts as tagged",
        "SELECT count(*) FROM manifests m WHERE m.untagged_since IS NULL \
         AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id)",
    ),
];

/// Stores on one database, as many nodes would have.
pub(super) struct Nodes {
    stores: Vec<Arc<PostgresStore>>,
    /// For questions about the tables.
    conn: Mutex<PgConnection>,
    _database: Database,
}

impl Nodes {
    pub(super) async fn start(count: usize) -> Self {
        let database = Database::migrated();
        let mut stores = Vec::new();
        for _ in 0..count {
            stores.push(Arc::new(database.open().await));
        }
        let conn = Mutex::new(PgConnection::connect(database.url()).await.expect("a connection"));
        Self { stores, conn, _database: database }
    }

    /// One of the nodes; any number stands for one.
    pub(super) fn node(&self, n: usize) -> &PostgresStore {
        &self.stores[n % self.stores.len()]
    }

    pub(super) fn owned(&self, n: usize) -> Arc<PostgresStore> {
        Arc::clone(&self.stores[n % self.stores.len()])
    }

    /// The number that a statement gives.
    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut *self.conn.lock().await).await.expect(sql)
    }

    /// Everything that must hold when nobody writes.
    pub(super) async fn check(&self) {
        for (what, sql) in NEVER {
            let found = self.count(sql).await;
            assert_eq!(found, 0, "{what}");
        }
        let findings = self.node(0).reference_check().await.expect("a check");
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
