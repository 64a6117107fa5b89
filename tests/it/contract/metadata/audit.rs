//! The record of what happened: rows of the transaction that did it, in a chain that shows what was changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bonded::audit::{Audit, Broken, Verified};
use bonded::clock::{ManualClock, SeededEntropy};
use bonded::metadata::MetadataStore;
use bonded::metadata::audit::AuditStore;
use bonded::metadata::dump::{Batch, LoadOptions};
use bonded::metadata::model::ManifestStored;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::audit::{AuditEvent, AuditFilter, AuditNote, Seal};
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::oci::glob::ImmutableTags;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use super::fixtures::{DAY, Image, at, delete, digest, has, push_blob, repo, sweep, tag};
use crate::fixtures::NOBODY;
use crate::postgres::Database;

/// Everything of a store that these rules need.
trait Store: MetadataStore + AuditStore {}

impl<S: MetadataStore + AuditStore> Store for S {}

/// Where somebody who owns the database may do what no transaction of ours does.
enum Raw {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Raw {
    /// Runs one of two texts; says whether the database let it.
    async fn run(&self, sqlite: &'static str, postgres: &'static str) -> bool {
        let done = match self {
            Self::Sqlite(path) => {
                let mut conn = SqliteConnectOptions::new().filename(path).connect().await.expect("a connection");
                conn.execute(sqlite).await.map(drop)
            }
            Self::Postgres(url) => {
                let mut conn = PgConnection::connect(url).await.expect("a connection");
                conn.execute(postgres).await.map(drop)
            }
        };
        done.is_ok()
    }

    async fn both(&self, sql: &'static str) -> bool {
        self.run(sql, sql).await
    }

    /// Takes away what keeps rows from being changed, as an intruder would.
    async fn unguard(&self) {
        let sqlite = "DROP TRIGGER audit_events_stay; DROP TRIGGER audit_events_remain";
        let postgres =
            "DROP TRIGGER audit_events_stay ON audit_events; DROP TRIGGER audit_events_remain ON audit_events";
        assert!(self.run(sqlite, postgres).await);
    }
}

struct Bench {
    store: Arc<dyn Store>,
    audit: Audit,
    clock: Arc<ManualClock>,
    raw: Raw,
}

impl Bench {
    fn new<S: Store + 'static>(store: S, raw: Raw) -> Self {
        let store = Arc::new(store);
        let clock = Arc::new(ManualClock::new(at(0)));
        let audit = Audit::new(Arc::<S>::clone(&store), Arc::<ManualClock>::clone(&clock), &SeededEntropy::new(1));
        Self { store, audit, clock, raw }
    }

    fn facts(&self) -> &dyn MetadataStore {
        &*self.store
    }

    /// What has no number yet, as (kind, subject, detail).
    async fn events(&self) -> Vec<(String, String, Value)> {
        let events = self.store.audit_unsealed(0, 1_000).await.expect("events");
        let shown = |event: AuditEvent| {
            let detail = event.detail();
            (event.kind, event.subject, detail)
        };
        events.into_iter().map(shown).collect()
    }

    /// Seals everything, and gives what happened since the last time.
    async fn news(&self) -> Vec<(String, String, Value)> {
        let events = self.events().await;
        self.seal().await;
        events
    }

    /// Seals everything, long after anybody else has.
    async fn seal(&self) {
        self.clock.advance(Duration::from_mins(1));
        while self.audit.seal().await.expect("sealed") {}
    }

    async fn verify(&self, expected: Option<Seal>) -> Verified {
        self.audit.verify(expected).await.expect("a walk").expect("nobody else walks")
    }

    async fn fill(&self, events: usize) {
        for n in 0..events {
            self.note(&format!("event {n}")).await;
        }
    }

    async fn note(&self, subject: &str) {
        let note =
            AuditNote { by: Actor::default(), kind: "test", subject: subject.to_owned(), detail: json!({"n": 1}) };
        self.store.audit_note(&[note], at(0)).await.expect("written");
    }
}

fn event(kind: &str, subject: impl Into<String>, detail: Value) -> (String, String, Value) {
    (kind.to_owned(), subject.into(), detail)
}

fn pushed(name: &str, tags: &[&str]) -> (String, String, Value) {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let detail = json!({"tags": tags, "mediaType": media_type, "size": name.len()});
    event("manifest.push", format!("r@{}", digest(name)), detail)
}

async fn each_change_is_written_down_and_nothing_else(bench: &Bench) {
    let store = bench.facts();
    Image::new("m").blob("b").tag("v2").tag("v1").push(store, "r", 0).await;
    assert_eq!(bench.news().await, [pushed("m", &["v1", "v2"])], "no blob is");
    Image::new("m").blob("b").tag("v1").push(store, "r", 1).await;
    assert_eq!(bench.news().await, [], "nothing is different");
    Image::new("m").blob("b").tag("v3").push(store, "r", 1).await;
    assert_eq!(bench.news().await, [pushed("m", &["v3"])]);

    Image::new("other").blob("b").tag("v1").tag("v3").push(store, "r", 2).await;
    let moved = json!({"old": digest("m").to_string(), "new": digest("other").to_string()});
    let expected =
        [pushed("other", &["v1", "v3"]), event("tag.move", "r:v1", moved.clone()), event("tag.move", "r:v3", moved)];
    assert_eq!(bench.news().await, expected);

    let rules = ImmutableTags::default();
    store.tag_delete(&repo("r"), &tag("v3"), &rules, at(3), &NOBODY).await.expect("deleted");
    let was = json!({"digest": digest("other").to_string()});
    assert_eq!(bench.news().await, [event("tag.delete", "r:v3", was)]);
    delete(store, "r", "other", 4).await;
    let subject = format!("r@{}", digest("other"));
    assert_eq!(bench.news().await, [event("manifest.delete", subject, json!({"tags": ["v1"]}))]);
    push_blob(store, "r", "alone", 5).await;
    store.blob_delete(&repo("r"), &digest("alone"), at(6), &NOBODY).await.expect("deleted");
    assert_eq!(bench.news().await, [event("blob.delete", format!("r@{}", digest("alone")), json!({}))]);
    store.repository_delete(&repo("r"), at(7), at(7), &NOBODY).await.expect("deleted");
    assert_eq!(bench.news().await, [event("repository.delete", "r", json!({"manifests": 1, "tags": 1}))]);
    assert_eq!(bench.verify(None).await.broken, None);
}

async fn who_did_it_stands_beside_it(bench: &Bench) {
    let store = bench.facts();
    let ann =
        Actor { name: Some("ann".to_owned()), address: Some([10, 0, 0, 1].into()), request_id: Some("42".to_owned()) };
    Image::new("m").blob("b").tag("v1").push(store, "r", 0).await;
    store.tag_delete(&repo("r"), &tag("v1"), &ImmutableTags::default(), at(3), &ann).await.expect("deleted");
    let found = bench.store.audit_unsealed(0, 10).await.expect("events").pop().expect("an event");
    let who = [found.actor, found.address, found.request_id];
    assert_eq!(who, ["ann", "10.0.0.1", "42"].map(|text| Some(text.to_owned())));
    assert_eq!((found.at, found.seal), (at(3), None));

    Image::new("signature").subject("m").push(store, "r", 4).await;
    delete(store, "r", "m", 5).await;
    bench.seal().await;
    sweep(store, 6 + DAY).await;
    assert!(!has(store, "r", "signature").await);
    let found = bench.store.audit_unsealed(0, 10).await.expect("events");
    let who: Vec<_> = found.iter().map(|event| (event.kind.as_str(), event.actor.as_deref())).collect();
    assert_eq!(who, [("manifest.delete", Some("collection job"))]);
}

async fn what_is_refused_or_rolled_back_is_no_event(bench: &Bench) {
    let store = bench.facts();
    assert!(matches!(Image::new("m").blob("b").put(store, "r", 0).await, ManifestStored::Missing(_)));
    delete(store, "r", "m", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(0), &NOBODY).await.expect("an answer");
    store.repository_delete(&repo("r"), at(0), at(0), &NOBODY).await.expect("an answer");
    let rules = ImmutableTags::default();
    store.tag_delete(&repo("r"), &tag("v1"), &rules, at(0), &NOBODY).await.expect("an answer");
    Image::new("m").blob("b").tag("v1").push(store, "r", 0).await;
    bench.seal().await;
    let refused = Image::new("n").blob("b").tag("v1").immutable("r:v1").put(store, "r", 1).await;
    assert!(matches!(refused, ManifestStored::Immutable(_)));
    assert_eq!(bench.events().await, []);

    // What cannot be written down does not happen.
    let sqlite = "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'full'); END";
    assert!(bench.raw.run(sqlite, "ALTER TABLE audit_events ADD CONSTRAINT filled CHECK (at < 0) NOT VALID").await);
    assert!(Image::new("n").blob("b").tag("v1").try_put(store, "r", 1).await.is_err());
    assert!(!has(store, "r", "n").await);
    assert!(bench.raw.run("DROP TRIGGER full", "ALTER TABLE audit_events DROP CONSTRAINT filled").await);
    assert_eq!(bench.events().await, []);
}

/// However two nodes take turns, there is one chain.
async fn two_sealers_make_one_chain(bench: &Bench) {
    bench.fill(60).await;
    let seal = async |node: &str| {
        for turn in 0..30 {
            // Each turn is later than the lease of any other has lasted.
            bench.store.audit_seal(node, at(turn * 100), 3).await.expect("a turn");
        }
    };
    tokio::join!(seal("one"), seal("two"));
    let verified = bench.verify(None).await;
    assert_eq!((verified.last.sequence, verified.broken, verified.unsealed.events), (60, None, 0));
}

async fn a_node_that_seals_keeps_others_out_for_a_while(bench: &Bench) {
    bench.fill(5).await;
    let store = &bench.store;
    assert_eq!(store.audit_seal("one", at(0), 2).await.expect("a turn"), 2);
    assert_eq!(store.audit_seal("two", at(1), 2).await.expect("a turn"), 0);
    assert_eq!(store.audit_seal("one", at(2), 2).await.expect("a turn"), 2);
    assert_eq!(store.audit_seal("two", at(9), 2).await.expect("a turn"), 1);
    assert_eq!(store.audit_seal("two", at(9), 2).await.expect("a turn"), 0, "nothing is left");
    bench.fill(2).await;
    store.audit_leave("one").await.expect("an answer");
    assert_eq!(store.audit_seal("one", at(9), 2).await.expect("a turn"), 0, "it was not the one that seals");
    store.audit_leave("two").await.expect("an answer");
    assert_eq!(store.audit_seal("one", at(9), 2).await.expect("a turn"), 2);
}

async fn rows_stay_as_they_are(bench: &Bench) {
    bench.fill(2).await;
    assert_eq!(bench.store.audit_seal("one", at(0), 1).await.expect("a turn"), 1);
    for sql in [
        "UPDATE audit_events SET kind = 'x' WHERE sequence = 1",
        "UPDATE audit_events SET sequence = NULL, hash = NULL WHERE sequence = 1",
        "UPDATE audit_events SET subject = 'x' WHERE sequence IS NULL",
        "UPDATE audit_events SET sequence = 2 WHERE sequence IS NULL",
        "DELETE FROM audit_events",
    ] {
        assert!(!bench.raw.both(sql).await, "{sql}");
    }
    bench.seal().await;
    assert_eq!(bench.verify(None).await.last.sequence, 2);
}

/// Each database has ways to put a row in the place of another one, and to pass triggers by.
async fn rows_are_not_overwritten(bench: &Bench) {
    bench.fill(2).await;
    assert_eq!(bench.store.audit_seal("one", at(0), 1).await.expect("a turn"), 1);
    for (sqlite, postgres) in [
        (
            "INSERT OR REPLACE INTO audit_events (id, at, kind, subject, detail) \
                SELECT id, 1, 'x', 'x', '{}' FROM audit_events WHERE sequence = 1",
            "INSERT INTO audit_events (id, at, kind, subject, detail) \
                SELECT id, 1, 'x', 'x', '{}' FROM audit_events WHERE sequence = 1 ON CONFLICT (id) DO UPDATE SET kind = 'x'",
        ),
        (
            "REPLACE INTO audit_events (id, at, kind, subject, detail) \
                SELECT id, 1, 'x', 'x', '{}' FROM audit_events WHERE sequence IS NULL",
            "INSERT INTO audit_events (at, kind, subject, detail, sequence) VALUES (1, 'x', 'x', '{}', 1) \
                ON CONFLICT (sequence) DO UPDATE SET subject = 'x'",
        ),
        (
            "INSERT OR REPLACE INTO audit_events (at, kind, subject, detail, sequence) VALUES (1, 'x', 'x', '{}', 1)",
            "TRUNCATE audit_events",
        ),
        (
            "UPDATE OR REPLACE audit_events SET sequence = 1, hash = x'00' WHERE sequence IS NULL",
            "SET session_replication_role = replica; UPDATE audit_events SET kind = 'x' WHERE sequence = 1",
        ),
        (
            "PRAGMA recursive_triggers = OFF; \
                INSERT OR REPLACE INTO audit_events (id, at, kind, subject, detail) VALUES (1, 1, 'x', 'x', '{}')",
            "SET session_replication_role = replica; DELETE FROM audit_events",
        ),
        (
            "INSERT INTO audit_events (id, at, kind, subject, detail) VALUES (1, 1, 'x', 'x', '{}') \
                ON CONFLICT (id) DO UPDATE SET kind = 'x'",
            "SET session_replication_role = replica; TRUNCATE audit_events",
        ),
    ] {
        assert!(!bench.raw.run(sqlite, postgres).await, "{sqlite} / {postgres}");
    }
    // What is new is written all the same, and none is missing.
    bench.fill(1).await;
    bench.seal().await;
    let verified = bench.verify(None).await;
    assert_eq!((verified.last.sequence, verified.broken), (3, None));
    let chain = bench.store.audit_chain(0, 10).await.expect("a chain");
    assert!(chain.iter().all(|event| event.kind == "test"), "{chain:?}");
}

async fn what_was_changed_is_found(bench: &Bench) {
    bench.fill(20).await;
    bench.seal().await;
    let whole = bench.verify(None).await;
    assert_eq!((whole.last.sequence, whole.broken), (20, None));
    let kept = Some(whole.last);
    assert_eq!(bench.verify(kept).await.broken, None);
    let broken = async || bench.verify(kept).await.broken;
    bench.raw.unguard().await;

    bench.raw.both("UPDATE audit_events SET subject = 'another' WHERE sequence = 7").await;
    assert_eq!(broken().await, Some(Broken::Changed(7)));
    assert_eq!(bench.verify(None).await.last.sequence, 6, "up to there it is whole");
    bench.raw.both("UPDATE audit_events SET subject = 'event 6' WHERE sequence = 7").await;
    assert_eq!(broken().await, None);

    let swap = "UPDATE audit_events SET sequence = 99 WHERE sequence = 3; \
        UPDATE audit_events SET sequence = 3 WHERE sequence = 4; UPDATE audit_events SET sequence = 4 WHERE sequence = 99";
    bench.raw.both(swap).await;
    assert_eq!(broken().await, Some(Broken::Changed(3)));
    bench.raw.both(swap).await;
    assert_eq!(broken().await, None);

    bench
        .raw
        .both("INSERT INTO audit_events (at, kind, subject, detail, sequence) VALUES (1, 'x', 'x', '{}', 21)")
        .await;
    assert_eq!(broken().await, Some(Broken::Changed(21)));
    bench.raw.both("DELETE FROM audit_events WHERE sequence > 19").await;
    let short = Some(Broken::Short { last: 19, expected: 20 });
    assert_eq!((bench.verify(None).await.broken, broken().await), (short, short), "the last one is missed");
    bench.fill(1).await;
    bench.seal().await;
    let gap = Some(Broken::Gap { missing: 20, found: 21 });
    assert_eq!(bench.verify(None).await.broken, gap, "also when more has been sealed");
}

/// Who owns the database may make the end of the chain fit; what was kept elsewhere still shows it.
async fn a_chain_that_was_written_anew_is_found(bench: &Bench) {
    bench.fill(20).await;
    bench.seal().await;
    let kept = Some(bench.verify(None).await.last);
    let broken = async || bench.verify(kept).await.broken;
    bench.raw.unguard().await;
    let forget = "DELETE FROM audit_events WHERE sequence > 18; UPDATE audit_sealer SET sequence = 18, \
        hash = (SELECT hash FROM audit_events WHERE sequence = 18)";
    bench.raw.both(forget).await;
    assert_eq!(bench.verify(None).await.broken, None);
    assert_eq!(broken().await, Some(Broken::Short { last: 18, expected: 20 }));
    bench.note("written anew").await;
    bench.note("and again").await;
    bench.seal().await;
    assert_eq!(bench.verify(None).await.broken, None);
    assert_eq!(broken().await, Some(Broken::Other(20)));
    bench
        .raw
        .both("UPDATE audit_sealer SET sequence = 19, hash = (SELECT hash FROM audit_events WHERE sequence = 19)")
        .await;
    assert_eq!(bench.verify(None).await.broken, Some(Broken::Foreign(20)));

    bench.raw.both("DELETE FROM audit_events WHERE sequence = 5").await;
    assert_eq!(broken().await, Some(Broken::Gap { missing: 5, found: 6 }));
    bench.raw.both("DELETE FROM audit_events WHERE sequence = 1").await;
    assert_eq!(broken().await, Some(Broken::Gap { missing: 1, found: 2 }));
    bench.raw.both("DELETE FROM audit_events").await;
    assert_eq!(broken().await, Some(Broken::Short { last: 0, expected: 20 }));
}

async fn the_record_comes_back_with_all_facts(bench: &Bench) {
    bench.fill(5).await;
    assert_eq!(bench.store.audit_seal("one", at(0), 3).await.expect("a turn"), 3);
    let before = bench.verify(None).await;
    assert_eq!((before.last.sequence, before.unsealed.events), (3, 2));
    let dumped: Vec<Batch> = bench.store.dump().try_collect().await.expect("rows");
    bench.fill(4).await;
    bench.seal().await;
    let options = LoadOptions { now: at(1), doom_unknown: false, ends_copy: false };
    let rows = futures_util::stream::iter(dumped).map(Ok).boxed();
    bench.store.load(rows, options).await.expect("loaded");
    assert_eq!(bench.verify(Some(before.last)).await, before);
    assert!(!bench.raw.both("DELETE FROM audit_events").await, "only for the load");
    bench.fill(1).await;
    bench.seal().await;
    assert_eq!(bench.verify(None).await.last.sequence, 6);
}

async fn lists_are_filtered_and_come_in_pages(bench: &Bench) {
    let note = |n: u32| AuditNote {
        by: Actor { name: Some(["ann", "bob"][n as usize % 2].to_owned()), ..Actor::default() },
        kind: ["one", "two", "three"][n as usize % 3],
        subject: format!("team/{n}"),
        detail: json!({}),
    };
    for n in 0..12 {
        bench.store.audit_note(&[note(n)], at(i64::from(n))).await.expect("written");
    }
    let listed = async |filter: AuditFilter, size: u32| {
        let (mut subjects, mut before) = (Vec::new(), None);
        loop {
            let page = bench.store.audit_list(&filter, before, size).await.expect("a page");
            assert!(page.events.len() <= size as usize);
            subjects.extend(page.events.into_iter().map(|event| event.subject));
            before = page.next;
            if before.is_none() {
                return subjects;
            }
        }
    };
    let all: Vec<String> = (0..12).rev().map(|n| format!("team/{n}")).collect();
    assert_eq!(listed(AuditFilter::default(), 5).await, all);
    let bob = AuditFilter { actor: Some("bob".to_owned()), kind: Some("one".to_owned()), ..AuditFilter::default() };
    assert_eq!(listed(bob, 1).await, ["team/9", "team/3"]);
    let begins = AuditFilter { subject: Some("team/1".to_owned()), ..AuditFilter::default() };
    assert_eq!(listed(begins, 100).await, ["team/11", "team/10", "team/1"]);
    let times = AuditFilter { since: Some(at(2)), until: Some(at(4)), ..AuditFilter::default() };
    assert_eq!(listed(times, 100).await, ["team/3", "team/2"]);
    let later = AuditFilter { since: Some(at(2 * DAY)), ..AuditFilter::default() };
    assert_eq!(listed(later, 100).await, Vec::<String>::new());
}

/// On Postgres a transaction may commit after one that began later; nothing of it is lost.
#[tokio::test]
async fn a_late_commit_follows_what_was_sealed_before_it() {
    let database = Database::migrated();
    let bench = Bench::new(database.open().await, Raw::Postgres(database.url().to_owned()));
    let mut late = PgConnection::connect(database.url()).await.expect("a connection");
    late.execute("BEGIN").await.expect("begun");
    let insert = "INSERT INTO audit_events (at, kind, subject, detail) VALUES (1, 'late', 'late', '{}')";
    late.execute(insert).await.expect("written");
    bench.fill(3).await;
    bench.seal().await;
    assert_eq!(bench.verify(None).await.last.sequence, 3);
    late.execute("COMMIT").await.expect("committed");
    bench.fill(1).await;
    bench.seal().await;
    let chain = bench.store.audit_chain(0, 10).await.expect("a chain");
    assert_eq!((chain[3].kind.as_str(), chain.len()), ("late", 5));
    assert!(chain[3].id < chain[0].id);
    assert_eq!(bench.verify(None).await.broken, None);
}

/// Two nodes that both believe they may seal, while others write: every event has one place, and there is no other chain.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_seal_while_others_write_make_one_chain() {
    const WRITERS: usize = 4;
    const EVENTS: usize = 40;
    let database = Database::migrated();
    let raw = || Raw::Postgres(database.url().to_owned());
    let nodes = [Bench::new(database.open().await, raw()), Bench::new(database.open().await, raw())];
    let written = AtomicUsize::new(0);
    let write = async |bench: &Bench| {
        bench.fill(EVENTS).await;
        written.fetch_add(1, Ordering::SeqCst);
    };
    let seal = async |bench: &Bench, node: &str| {
        for turn in 0.. {
            let over = written.load(Ordering::SeqCst) == WRITERS;
            let sealed = bench.store.audit_seal(node, at(turn * 100), 7).await.expect("a turn");
            if over && sealed == 0 && bench.store.audit_tail(1).await.expect("a tail").events == 0 {
                return;
            }
        }
    };
    let [one, two] = &nodes;
    tokio::join!(seal(one, "one"), seal(two, "two"), write(one), write(two), write(one), write(two));
    let verified = one.verify(None).await;
    let all = i64::try_from(WRITERS * EVENTS).expect("a number");
    assert_eq!((verified.last.sequence, verified.broken, verified.unsealed.events), (all, None, 0));
}

macro_rules! rules {
    ($($rule:ident)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $rule() {
                let folder = tempfile::tempdir().expect("a folder");
                let path = folder.path().join("bonded.db");
                let options = super::SqliteOptions { synchronous_full: false, ..super::SqliteOptions::new(&path) };
                let store = super::SqliteStore::open(&options).await.expect("a store");
                super::$rule(&super::Bench::new(store, super::Raw::Sqlite(path))).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $rule() {
                let database = super::Database::migrated();
                let raw = super::Raw::Postgres(database.url().to_owned());
                super::$rule(&super::Bench::new(database.open().await, raw)).await;
            })+
        }
    };
}

rules! {
    each_change_is_written_down_and_nothing_else
    who_did_it_stands_beside_it
    what_is_refused_or_rolled_back_is_no_event
    two_sealers_make_one_chain
    a_node_that_seals_keeps_others_out_for_a_while
    rows_stay_as_they_are
    rows_are_not_overwritten
    what_was_changed_is_found
    a_chain_that_was_written_anew_is_found
    the_record_comes_back_with_all_facts
    lists_are_filtered_and_come_in_pages
}
