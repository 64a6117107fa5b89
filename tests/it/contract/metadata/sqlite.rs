//! The contract on SQLite, and what is particular to it: several processes on one file.

use bonded::metadata::MetadataStore;
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use tempfile::TempDir;

use super::fixtures::{
    Image, UNDO_SIGNATURE_EDGES, check_old_generations, check_old_signatures, delete, digest, find, has, push_blob,
    push_old_signatures, repo, sweep,
};

struct Opened {
    _folder: TempDir,
    store: SqliteStore,
}

impl Opened {
    fn store(&self) -> &dyn MetadataStore {
        &self.store
    }
}

async fn open() -> Opened {
    let folder = tempfile::tempdir().expect("a folder");
    // The disk is not what these rules are about.
    let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::new(folder.path().join("bonded.db")) };
    Opened { store: SqliteStore::open(&options).await.expect("a store"), _folder: folder }
}

super::contract!(super::open);

#[tokio::test]
async fn facts_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions::new(folder.path().join("bonded.db"));
    let store = SqliteStore::open(&options).await.expect("a store");
    Image::new("m").blob("b").push(&store, "r", 0).await;
    store.close().await;
    assert!(!options.path.with_extension("db-wal").exists(), "the log is folded in");
    assert!(!store.writer_died().is_cancelled());
    let store = SqliteStore::open(&options).await.expect("a store");
    assert!(has(&store, "r", "m").await);
}

#[tokio::test]
async fn signatures_that_name_more_than_they_carry_are_none_after_the_migration() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions::new(folder.path().join("bonded.db"));
    let store = SqliteStore::open(&options).await.expect("a store");
    push_old_signatures(&store).await;
    store.close().await;
    let mut conn = SqliteConnectOptions::new().filename(&options.path).connect().await.expect("a connection");
    sqlx::query(UNDO_SIGNATURE_EDGES).execute(&mut conn).await.expect("an older schema");
    conn.close().await.expect("an end");
    let store = SqliteStore::open(&options).await.expect("a store");
    check_old_signatures(&store).await;
    check_old_generations(&store).await;
}

/// A server's store, and that of a command beside it.
async fn server_and_command() -> (TempDir, SqliteStore, SqliteStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions::new(folder.path().join("bonded.db"));
    let server = SqliteStore::open(&options).await.expect("a store");
    let command = SqliteStore::open(&SqliteOptions { create: false, ..options }).await.expect("a store");
    (folder, server, command)
}

#[tokio::test]
async fn a_second_process_reads_and_writes_beside_the_server() {
    let (_folder, server, command) = server_and_command().await;
    let writes = (0..20).map(|n| {
        let (server, command) = (&server, &command);
        async move {
            let store = if n % 2 == 0 { server } else { command };
            push_blob(store, "r", &format!("blob {n}"), 0).await;
        }
    });
    futures_util::future::join_all(writes).await;
    assert!(sweep(&command, 1).await.is_empty());
    for n in 0..20 {
        assert!(find(&server, "r", &format!("blob {n}")).await.is_some());
    }
    command.close().await;
    push_blob(&server, "r", "afterwards", 0).await;
    server.close().await;
}

#[tokio::test]
async fn a_list_shows_what_another_process_committed() {
    let (_folder, server, command) = server_and_command().await;
    for n in 1..5 {
        Image::new(&format!("m{n}")).tag(&format!("t{n}")).push(&command, "r", 0).await;
        for _ in 0..2 {
            assert_eq!(server.tag_list(&repo("r"), None, 9).await.expect("a list").expect("tags").len(), n);
        }
    }
    command.close().await;
    server.close().await;
}

#[tokio::test]
async fn the_history_of_tags_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions::new(folder.path().join("bonded.db"));
    let store = SqliteStore::open(&options).await.expect("a store");
    Image::new("old").tag("v").push(&store, "r", 1).await;
    Image::new("old").tag("v").push(&store, "r", 2).await;
    Image::new("new").tag("v").push(&store, "r", 3).await;
    let mut conn = SqliteConnectOptions::new().filename(&options.path).connect().await.expect("a connection");
    let untagged: Vec<String> = sqlx::query_scalar("SELECT digest FROM manifests WHERE untagged_since IS NOT NULL")
        .fetch_all(&mut conn)
        .await
        .expect("rows");
    assert_eq!(untagged, [digest("old").to_string()]);
    delete(&store, "r", "new", 4).await;
    let events: Vec<(Option<String>, Option<String>)> =
        sqlx::query_as("SELECT old_digest, new_digest FROM tag_events WHERE name = 'v' ORDER BY id")
            .fetch_all(&mut conn)
            .await
            .expect("rows");
    let (old, new) = (Some(digest("old").to_string()), Some(digest("new").to_string()));
    assert_eq!(events, [(None, old.clone()), (old, new.clone()), (new, None)]);
}
