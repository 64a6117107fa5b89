//! A server that goes away, comes back, ends connections and refuses: what the caller is told.

use std::time::Duration;

use bonded::clock::{Clock, ManualClock, Timestamp};
use bonded::metadata::model::ManifestStored;
use bonded::metadata::postgres::{PostgresClock, PostgresOptions, PostgresStore};
use bonded::metadata::{MetadataError, MetadataStore};
use bonded::oci::reference::Reference;
use conformance::servers::{PostgresCluster, PostgresOptions as ClusterOptions, Restart};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::sync::Arc;

use crate::contract::metadata::fixtures::{DAY, Image, at, at_key, find, key, new_blob, push_blob, repo, tag, tagged};
use crate::postgres::Database;

/// Ends every connection of the stores to the database.
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE application_name = 'bonded' AND datname = current_database()";

/// Makes COMMIT of a transaction that wrote a tag do something.
const AT_COMMIT: &str = "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE ON tags DEFERRABLE INITIALLY DEFERRED \
    FOR EACH ROW EXECUTE FUNCTION at_commit()";

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

/// Opens as many connections as the pool may have.
async fn warm(store: &PostgresStore) {
    for _ in 0..10 {
        join_all((0..20).map(|_| store.ping())).await.into_iter().for_each(|pinged| pinged.expect("an answer"));
    }
}

/// Waits until a statement of a store waits for a lock.
async fn until_blocked(conn: &mut PgConnection) {
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bonded' \
        AND datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut *conn).await.expect("a count") == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_not_noticed_by_those_who_come_later() {
    let cluster =
        PostgresCluster::start(&ClusterOptions { fsync: true, ..ClusterOptions::default() }).expect("a cluster");
    let url = cluster.create_database("bonded", None).expect("a database");
    let quick = PostgresOptions { acquire_timeout: Duration::from_secs(1), ..PostgresOptions::new(&url) };
    let store = PostgresStore::open(&quick).await.expect("a store");
    Image::new("m").blob("b").tag("t").push(&store, "r", 0).await;
    for mode in [Restart::Fast, Restart::Immediate] {
        warm(&store).await;
        tokio::task::block_in_place(|| cluster.restart(mode)).expect("a restart");
        let reads = join_all((0..16).map(|_| tagged(&store, "r", "t"))).await;
        assert!(reads.iter().all(|read| read.as_deref() == Some("m")), "{reads:?}");
        warm(&store).await;
        tokio::task::block_in_place(|| cluster.restart(mode)).expect("a restart");
        let pushes = (0..16).map(|n| {
            // Every upload has an object of its own.
            let blob = at_key(if n % 2 == 0 { "x" } else { "y" }, &key(&format!("{mode:?} {n}")), 1);
            let store = &store;
            async move { store.blob_put(&repo("r"), &blob).await.expect("a blob") }
        });
        join_all(pushes).await;
        assert!(find(&store, "r", "y").await.is_some());
    }
    tokio::task::block_in_place(|| cluster.stop()).expect("a stop");
    let refused = store.blob_put(&repo("r"), &new_blob("z", 1)).await;
    assert!(matches!(refused, Err(MetadataError::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.ping().await, Err(MetadataError::Unavailable(_))));
    assert!(matches!(PostgresStore::open(&quick).await, Err(MetadataError::Unavailable(_))));
    tokio::task::block_in_place(|| cluster.restart(Restart::Fast)).expect("a restart");
    push_blob(&store, "r", "z", 1).await;
    store.close().await;
    assert!(matches!(store.ping().await, Err(MetadataError::Unavailable(_))));
}

#[tokio::test]
async fn connections_that_were_ended_are_replaced() {
    let database = Database::migrated();
    let store = database.open().await;
    Image::new("m").tag("t").push(&store, "r", 0).await;
    let mut other = connect(database.url()).await;
    for n in 0..10 {
        warm(&store).await;
        other.execute(TERMINATE).await.expect("an end");
        assert_eq!(tagged(&store, "r", "t").await.as_deref(), Some("m"));
        warm(&store).await;
        other.execute(TERMINATE).await.expect("an end");
        push_blob(&store, "r", &format!("b{n}"), 0).await;
    }
}

/// The connection is ended while a transaction waits for a lock: nothing was committed, so it is run again.
#[tokio::test]
async fn a_transaction_that_breaks_before_its_commit_is_run_again() {
    let database = Database::migrated();
    let store = database.open().await;
    Image::new("m").tag("t").push(&store, "r", 0).await;
    let mut holder = connect(database.url()).await;
    holder.execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.expect("a lock");
    let mut other = connect(database.url()).await;
    let image = Image::new("n").tag("t");
    let (put, ()) = tokio::join!(image.put(&store, "r", 1), async {
        until_blocked(&mut other).await;
        other.execute(TERMINATE).await.expect("an end");
        until_blocked(&mut other).await;
        holder.execute("COMMIT").await.expect("a release");
    });
    assert_eq!(put, ManifestStored::Stored);
    assert_eq!(tagged(&store, "r", "t").await.as_deref(), Some("n"));
}

/// The connection breaks while the server commits: whether it did is not known, and is not claimed.
#[tokio::test]
async fn a_commit_without_an_answer_is_not_a_success() {
    let database = Database::migrated();
    let store = database.open().await;
    Image::new("before").tag("t").push(&store, "r", 0).await;
    let mut other = connect(database.url()).await;
    other
        .execute(
            "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'",
        )
        .await
        .expect("a function");
    other.execute(AT_COMMIT).await.expect("a trigger");
    let mut holder = connect(database.url()).await;
    holder.execute("SELECT pg_advisory_lock(7)").await.expect("a lock");
    let (image, by) = (Image::new("after").tag("t"), Reference::Tag(tag("t")));
    let (put, ()) = tokio::join!(image.try_put(&store, "r", 1), async {
        until_blocked(&mut other).await;
        other.execute(TERMINATE).await.expect("an end");
    });
    match put {
        Err(MetadataError::Unavailable(reason)) => assert!(reason.contains("not known"), "{reason}"),
        other => panic!("{other:?}"),
    }
    holder.execute("SELECT pg_advisory_unlock(7)").await.expect("a release");
    assert!(store.manifest_find(&repo("r"), &by).await.expect("a look").is_some());
}

#[tokio::test]
async fn a_conflict_is_run_again_but_not_for_ever() {
    let database = Database::migrated();
    let store = database.open().await;
    let mut other = connect(database.url()).await;
    other.execute("CREATE SEQUENCE tries").await.expect("a sequence");
    let fail_until = |last: u32| {
        // A number between fixed words.
        AssertSqlSafe(format!(
            "CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
             IF nextval(''tries'') <= {last} THEN RAISE ''in the way'' USING ERRCODE = ''40001''; END IF; RETURN NULL; END'"
        ))
    };
    other.execute(fail_until(3)).await.expect("a function");
    other.execute(AT_COMMIT).await.expect("a trigger");
    assert_eq!(Image::new("m").tag("t").put(&store, "r", 0).await, ManifestStored::Stored);
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&mut other).await.expect("a number");
    assert_eq!(tries, 4, "three are undone, the fourth is kept");
    other.execute(fail_until(1000)).await.expect("a function");
    let refused = Image::new("n").tag("t").try_put(&store, "r", 0).await;
    assert!(matches!(refused, Err(MetadataError::Unavailable(_))), "{refused:?}");
    assert_eq!(tagged(&store, "r", "t").await.as_deref(), Some("m"));
}

#[tokio::test]
async fn a_write_does_not_wait_for_ever() {
    let database = Database::migrated();
    let options = PostgresOptions {
        connections_max: 1,
        acquire_timeout: Duration::from_millis(300),
        lock_timeout: Duration::from_secs(2),
        ..database.options()
    };
    let store = PostgresStore::open(&options).await.expect("a store");
    Image::new("m").tag("t").push(&store, "r", 0).await;
    let mut holder = connect(database.url()).await;
    holder.execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.expect("a lock");
    let mut other = connect(database.url()).await;
    let image = Image::new("n").tag("t");
    let (put, ping) = tokio::join!(image.try_put(&store, "r", 1), async {
        until_blocked(&mut other).await;
        store.ping().await
    });
    assert!(matches!(ping, Err(MetadataError::Unavailable(_))), "no connection is free: {ping:?}");
    assert!(matches!(put, Err(MetadataError::Unavailable(_))), "the lock is not given: {put:?}");
    holder.execute("COMMIT").await.expect("a release");
    assert_eq!(image.put(&store, "r", 1).await, ManifestStored::Stored);
}

/// A client that goes away does not leave a transaction open, nor undo what it asked for.
#[tokio::test]
async fn a_client_that_goes_away_does_not_cancel_its_write() {
    let database = Database::migrated();
    let store = database.open().await;
    {
        let (name, blob) = (repo("r"), new_blob("b", 0));
        let write = store.blob_put(&name, &blob);
        tokio::select! {
            biased;
            _ = write => panic!("it has to wait for the database"),
            () = std::future::ready(()) => {}
        }
    }
    store.close().await;
    assert!(find(&database.open().await, "r", "b").await.is_some());
}

#[tokio::test]
async fn the_password_stays_secret() {
    let options = PostgresOptions::new("postgres://someone:secret@127.0.0.1:1/facts");
    assert_eq!(options.place().expect("a place"), "someone@127.0.0.1:1/facts");
    assert!(!format!("{options:?}").contains("secret"));
    let error = PostgresStore::open(&PostgresOptions { acquire_timeout: Duration::from_secs(1), ..options }).await;
    assert!(matches!(&error, Err(MetadataError::Unavailable(text)) if !text.contains("secret")), "{error:?}");
    let error = PostgresStore::open(&PostgresOptions::new("postgres://someone:secret@[/facts")).await;
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn the_clock_follows_the_database() {
    let database = Database::migrated();
    let store = Arc::new(database.open().await);
    let machine = Arc::new(ManualClock::new(Timestamp::from_micros(DAY)));
    let clock = PostgresClock::new(store, machine.clone()).await.expect("a clock");
    let behind =
        |moment: Timestamp| at(0).until(moment) > Duration::ZERO && moment.until(clock.now()) < Duration::from_secs(5);
    let started = clock.now();
    assert!(behind(started), "a machine that believes in 1970 is put right");
    assert_eq!(clock.jump(), None);
    machine.advance(Duration::from_hours(1));
    assert!(clock.now() >= started.after(Duration::from_hours(1)), "between measurements the machine's clock runs");
    clock.sync().await.expect("a measurement");
    assert!(clock.jump().is_some_and(|jump| jump > Duration::from_mins(59)), "{:?}", clock.jump());
    assert!(behind(started) && clock.now() < started.after(Duration::from_mins(59)));
    clock.sync().await.expect("a measurement");
    assert_eq!(clock.jump(), None, "it is in step again");
}
