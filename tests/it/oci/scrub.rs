//! Bytes that changed where they lie: found, not served, and healed by the next push, on every pair of stores.

use std::time::Duration;

use bonded::faults::Moment;
use bonded::metadata::layers::Fault;
use reqwest::StatusCode;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use super::blobs::find_file;
use crate::app::{TestApp, error_code, expect, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, bytes, sha256};
use crate::stores::Place;

on_both_places! {
    a_flipped_byte_is_found_and_healed_by_the_next_push
    a_removed_object_is_found_and_healed_by_the_next_push
    changed_rows_are_found_and_healed_by_the_next_push
    a_mark_that_fails_is_made_by_the_next_call_and_once
    pulls_while_everything_is_away_mark_nothing
}

/// A month later everything is read again.
async fn pass(app: &TestApp) {
    app.clock.advance(Duration::from_hours(31 * 24));
    for _ in 0..3 {
        app.registry.scrub().await.expect("read");
        app.clock.advance(Duration::from_secs(1));
    }
}

fn flip(app: &TestApp, digest: &str) {
    let (_, hex) = digest.split_once(':').expect("a digest has a colon");
    let file = find_file(&app.place.folder(), hex).expect("the blob has a file");
    let mut data = std::fs::read(&file).expect("readable");
    let at = data.len() / 2;
    data[at] ^= 1;
    std::fs::write(&file, data).expect("the file can be written");
}

/// Changes the facts behind the registry's back.
async fn execute(app: &TestApp, sqlite: &'static str, postgres: &'static str) {
    match &*app.place {
        Place::Local(folder) => {
            let options = SqliteConnectOptions::new().filename(folder.path().join("bonded.db"));
            options.connect().await.expect("a connection").execute(AssertSqlSafe(sqlite)).await.expect(sqlite);
        }
        Place::Shared { database, .. } => {
            let mut conn = PgConnection::connect(database.url()).await.expect("a connection");
            conn.execute(AssertSqlSafe(postgres)).await.expect(postgres);
        }
    }
}

/// Kinds and subjects of the events about damage.
async fn events(app: &TestApp) -> Vec<(String, String)> {
    let events = app.auth.audit().unsealed(i64::MIN).await.expect("events").into_iter();
    let about = |kind: &str| kind.contains("damage") || kind.contains("heal");
    events.filter(|event| about(&event.kind)).map(|event| (event.kind, event.subject)).collect()
}

async fn damaged(app: &TestApp) -> (u64, u64) {
    let counts = app.registry.store_counts().await.expect("numbers");
    (counts.damaged_blobs, counts.damaged_manifests)
}

/// Nobody gets the layer, and whoever may push is told to.
async fn is_quarantined(app: &TestApp, digest: &str, image: ImageBuilder) {
    let path = format!("/v2/a/blobs/{digest}");
    for request in [app.get(&path), app.get(&path).header("range", "bytes=0-9")] {
        let refused = expect(request, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(error_code(refused).await, "BLOB_UNKNOWN");
    }
    expect(app.head(&path), StatusCode::NOT_FOUND).await;
    let mount = app.post(&format!("/v2/b/blobs/uploads/?mount={digest}&from=a"));
    expect(mount, StatusCode::ACCEPTED).await;
    let names_it = image.annotation("another", "manifest").manifest();
    let put = app.put("/v2/a/manifests/v2").header("content-type", IMAGE_MANIFEST).body(names_it);
    assert_eq!(error_code(expect(put, StatusCode::NOT_FOUND).await).await, "MANIFEST_BLOB_UNKNOWN");
}

async fn an_object_is_lost_and_healed(app: &TestApp, lose: impl FnOnce(&TestApp, &str)) {
    let (layer, other) = (bytes(300_000, 21), bytes(200_000, 22));
    let image = || ImageBuilder::new().layer(&layer);
    app.push_image("a", "v1", &image()).await;
    let (digest, other) = (sha256(&layer), app.push_blob("a", &other).await);
    pass(app).await;
    assert_eq!((app.registry.scrub_stats().objects, damaged(app).await), (4, (0, 0)));
    lose(app, &digest);
    pass(app).await;
    is_quarantined(app, &digest, image()).await;
    expect(app.get(&format!("/v2/a/blobs/{other}")), StatusCode::OK).await;
    assert_eq!((app.registry.scrub_stats().found, damaged(app).await), (1, (1, 0)));
    app.push_image("a", "v1", &image()).await;
    let whole = expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
    assert_eq!(whole.bytes().await.expect("a whole body"), layer);
    pass(app).await;
    assert_eq!((app.registry.scrub_stats().found, damaged(app).await), (1, (0, 0)));
    let expected = ["blob.damage", "blob.heal"].map(|kind| (kind.to_owned(), digest.clone()));
    assert_eq!(events(app).await, expected);
}

async fn a_flipped_byte_is_found_and_healed_by_the_next_push(app: TestApp) {
    an_object_is_lost_and_healed(&app, flip).await;
}

async fn a_removed_object_is_found_and_healed_by_the_next_push(app: TestApp) {
    let remove = |app: &TestApp, digest: &str| {
        let (_, hex) = digest.split_once(':').expect("a digest has a colon");
        let file = find_file(&app.place.folder(), hex).expect("the blob has a file");
        std::fs::remove_file(file).expect("the file can be removed");
    };
    an_object_is_lost_and_healed(&app, remove).await;
}

async fn changed_rows_are_found_and_healed_by_the_next_push(app: TestApp) {
    let image = ImageBuilder::new().layer(&bytes(50_000, 23));
    let manifest = app.push_image("a", "v1", &image).await;
    let config = sha256(&image.blobs()[0]);
    execute(
        &app,
        "UPDATE blobs SET inline = x'5b5d' WHERE inline IS NOT NULL",
        "UPDATE blobs SET inline = '\\x5b5d' WHERE inline IS NOT NULL",
    )
    .await;
    execute(&app, "UPDATE manifests SET payload = x'7b7d'", "UPDATE manifests SET payload = '\\x7b7d'").await;
    pass(&app).await;
    assert_eq!(damaged(&app).await, (1, 1));
    let path = format!("/v2/a/blobs/{config}");
    expect(app.get(&path), StatusCode::SERVICE_UNAVAILABLE).await;
    expect(app.head(&path), StatusCode::NOT_FOUND).await;
    for reference in ["v1", &manifest] {
        let path = format!("/v2/a/manifests/{reference}");
        let refused = expect(app.get(&path), StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(error_code(refused).await, "MANIFEST_UNKNOWN");
        expect(app.head(&path), StatusCode::NOT_FOUND).await;
    }
    app.push_image("a", "v1", &image).await;
    let served = expect(app.get("/v2/a/manifests/v1"), StatusCode::OK).await;
    assert_eq!(served.bytes().await.expect("a whole body"), image.manifest());
    let served = expect(app.get(&path), StatusCode::OK).await;
    assert_eq!(served.bytes().await.expect("a whole body"), image.blobs()[0]);
    assert_eq!(damaged(&app).await, (0, 0));
    let of_manifest = format!("a@{manifest}");
    let expected = [
        ("blob.damage", &config),
        ("manifest.damage", &of_manifest),
        ("blob.heal", &config),
        ("manifest.heal", &of_manifest),
    ];
    assert_eq!(events(&app).await, expected.map(|(kind, subject)| (kind.to_owned(), subject.clone())));
}

/// Whatever becomes of the call that marks, and of those that write down how far the pass is.
async fn a_mark_that_fails_is_made_by_the_next_call_and_once(app: TestApp) {
    for (round, moment) in (30..).zip(Moment::ALL) {
        let digest = app.push_blob("a", &bytes(300_000, round)).await;
        flip(&app, &digest);
        app.clock.advance(Duration::from_hours(31 * 24));
        for method in ["scrub_take", "blob_scan", "blob_damage", "manifest_scan", "scrub_keep"] {
            app.metadata_faults.fail(method, 1, moment, Fault::Unavailable);
        }
        let mut failures = 0;
        for _ in 0..10 {
            failures += u32::from(app.registry.scrub().await.is_err());
            // A node that lost its turn looks for it a minute later.
            app.clock.advance(Duration::from_mins(1));
        }
        assert!(failures >= 4, "{moment:?}: {failures} calls failed");
        assert_eq!(app.metadata_faults.clear(), 0, "{moment:?}: every fault has happened");
        expect(app.get(&format!("/v2/a/blobs/{digest}")), StatusCode::SERVICE_UNAVAILABLE).await;
        let marks = events(&app).await.into_iter().filter(|(_, subject)| *subject == digest).count();
        assert_eq!(marks, 1, "{moment:?}");
    }
}

/// A volume that is not mounted, and a bucket that was emptied by mistake and comes back from its versions.
async fn pulls_while_everything_is_away_mark_nothing(app: TestApp) {
    let data = [bytes(300_000, 41), bytes(200_000, 42)];
    let mut paths = Vec::new();
    for data in &data {
        paths.push(format!("/v2/a/blobs/{}", app.push_blob("a", data).await));
    }
    let (there, away) = (app.place.folder().join("blobs"), app.place.folder().join("away"));
    std::fs::rename(&there, &away).expect("moved away");
    for path in paths.iter().chain(&paths) {
        let refused = expect(app.get(path), StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(refused.headers().contains_key("retry-after"), "{path}: it is worth while to come again");
        expect(app.head(path), StatusCode::OK).await;
        app.clock.advance(Duration::from_secs(1));
    }
    pass_refused(&app).await;
    assert_eq!((damaged(&app).await, events(&app).await), ((0, 0), Vec::new()));
    std::fs::rename(&away, &there).expect("moved back");
    app.clock.advance(Duration::from_secs(1));
    for (path, data) in paths.iter().zip(&data) {
        let whole = expect(app.get(path), StatusCode::OK).await;
        assert_eq!(whole.bytes().await.expect("a whole body"), *data);
    }
}

/// A month later everything should be read again, and nothing can be.
async fn pass_refused(app: &TestApp) {
    app.clock.advance(Duration::from_hours(31 * 24));
    app.registry.scrub().await.expect("begun");
    for _ in 0..20 {
        app.clock.advance(Duration::from_secs(1));
        app.registry.scrub().await.ok();
    }
}
