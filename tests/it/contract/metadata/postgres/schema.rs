//! The schema: made once, by one of many; older and newer programs beside each other.

use std::time::Duration;

use bonded::metadata::postgres::{MIGRATIONS, PostgresOptions, PostgresStore};
use bonded::metadata::{MetadataError, MetadataStore};
use conformance::random::Random;
use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::contract::metadata::fixtures::{
    Image, UNDO_SIGNATURE_EDGES, check_old_generations, check_old_signatures, delete, find, push_blob,
    push_old_signatures, tagged,
};
use crate::postgres::{Database, cluster};

/// What the migration of a later version may look like: it only adds.
const LATER: &str = "ALTER TABLE blobs ADD COLUMN later TEXT; \
    ALTER TABLE manifests ADD COLUMN later BIGINT NOT NULL DEFAULT 0; \
    CREATE TABLE later (id BIGINT PRIMARY KEY, blob_id BIGINT REFERENCES blobs (id) ON DELETE CASCADE); \
    CREATE INDEX manifests_later ON manifests (later); \
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    VALUES (99990101000000, 'later', TRUE, '\\x00', 0)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_start_on_an_empty_database() {
    let database = Database::empty();
    let options = database.options();
    let stores = join_all((0..8).map(|_| PostgresStore::open(&options))).await;
    for (n, store) in stores.into_iter().enumerate() {
        push_blob(&store.expect("a store"), "r", &format!("b{n}"), 0).await;
    }
    let applied = cluster().sql(database.name(), "SELECT count(*) FROM _sqlx_migrations").expect("a count");
    assert_eq!(applied, MIGRATIONS.len().to_string(), "each was applied once");
}

/// One node is of a later version and migrates; the others go on, but one that starts now is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_node_goes_on_while_a_newer_one_migrates() {
    let database = Database::migrated();
    let store = database.open().await;
    let push = |n: u32| {
        let store = &store;
        async move {
            let (name, layer) = (format!("image {n}"), format!("layer {n}"));
            Image::new(&name).blob(&layer).tag("latest").push(store, "r", 0).await;
            assert_eq!(tagged(store, "r", "latest").await, Some(name.clone()));
            assert!(find(store, "r", &layer).await.is_some());
            delete(store, "r", &name, 1).await;
        }
    };
    // Every statement that a push needs is prepared on the connections by now.
    for n in 0..10 {
        push(n).await;
    }
    let name = database.name().to_owned();
    let migration = tokio::task::spawn_blocking(move || cluster().sql(&name, LATER).expect("a migration"));
    let mut n = 10;
    while !migration.is_finished() {
        push(n).await;
        n += 1;
    }
    migration.await.expect("a migration");
    for n in n..n + 10 {
        push(n).await;
    }
    for migrate in [true, false] {
        let refused = PostgresStore::open(&PostgresOptions { migrate, ..database.options() }).await;
        assert!(matches!(refused, Err(MetadataError::Newer { found: 99_990_101_000_000, .. })), "{refused:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_command_does_not_migrate() {
    let database = Database::empty();
    let options = PostgresOptions { migrate: false, ..database.options() };
    assert!(matches!(PostgresStore::open(&options).await, Err(MetadataError::Absent)));
    assert_eq!(
        cluster().sql(database.name(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").expect("a count"),
        "0"
    );
    database.open().await.close().await;
    PostgresStore::open(&options).await.expect("a store beside the server").close().await;
}

/// Takes the column of one migration away, and makes it due again.
const UNDO_CREDENTIALS: &str =
    "ALTER TABLE users DROP COLUMN epoch; DELETE FROM _sqlx_migrations WHERE version = 20261122001000";

/// Whoever reads a table keeps a migration of it waiting, which must not keep everybody else waiting.
#[tokio::test]
async fn a_migration_waits_for_a_lock_a_moment_at_a_time() {
    let database = Database::migrated();
    cluster().sql(database.name(), UNDO_CREDENTIALS).expect("an older schema");
    let mut holder = PgConnection::connect(database.url()).await.expect("a connection");
    holder.execute("BEGIN; SELECT 1 FROM users").await.expect("a lock");
    let mut other = PgConnection::connect(database.url()).await.expect("a connection");
    let options = PostgresOptions { lock_timeout: Duration::from_millis(20), ..database.options() };
    let (store, ()) = tokio::join!(PostgresStore::open(&options), async {
        let blocked = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'bonded' \
            AND datname = current_database() AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut other).await.expect("a count") == 0 {
            tokio::task::yield_now().await;
        }
        // It gives way to whoever comes meanwhile, and then goes on.
        other.execute("SELECT 1 FROM users").await.expect("an answer");
        holder.execute("COMMIT").await.expect("a release");
    });
    store.expect("a store").close().await;
    let columns = "SELECT COUNT(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'epoch'";
    assert_eq!(cluster().sql(database.name(), columns).expect("a count"), "1");
}

#[tokio::test]
async fn a_migration_does_not_wait_for_ever_and_says_for_what() {
    let database = Database::migrated();
    cluster().sql(database.name(), UNDO_CREDENTIALS).expect("an older schema");
    let mut holder = PgConnection::connect(database.url()).await.expect("a connection");
    let options = PostgresOptions { lock_timeout: Duration::from_millis(1), ..database.options() };
    for lock in ["BEGIN; SELECT 1 FROM users", "LOCK TABLE _sqlx_migrations"] {
        holder.execute(lock).await.expect("a lock");
        let refused = PostgresStore::open(&options).await;
        let told = matches!(&refused, Err(MetadataError::Unavailable(why)) if why.contains("pg_stat_activity"));
        assert!(told, "{lock}: {refused:?}");
    }
    holder.execute("COMMIT").await.expect("a release");
    database.open().await.close().await;
}

#[tokio::test]
async fn signatures_that_name_more_than_they_carry_are_none_after_the_migration() {
    let database = Database::migrated();
    let store = database.open().await;
    push_old_signatures(&store).await;
    store.close().await;
    cluster().sql(database.name(), UNDO_SIGNATURE_EDGES).expect("an older schema");
    let store = database.open().await;
    check_old_signatures(&store).await;
    check_old_generations(&store).await;
    store.close().await;
}

#[tokio::test]
async fn a_changed_migration_is_noticed() {
    let database = Database::migrated();
    cluster().sql(database.name(), "UPDATE _sqlx_migrations SET checksum = '\\x00'").expect("another text");
    assert!(matches!(PostgresStore::open(&database.options()).await, Err(MetadataError::Driver(_))));
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let name = format!("bonded_ascii_{}", Random::new(Random::any_seed()).word());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster().sql("postgres", &create).expect("a database");
    let refused = PostgresStore::open(&PostgresOptions::new(cluster().url(&name))).await;
    cluster().drop_database(&name).expect("its end");
    assert!(matches!(&refused, Err(MetadataError::Driver(error)) if error.to_string().contains("UTF8")), "{refused:?}");
}
