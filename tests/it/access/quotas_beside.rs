//! Quotas while several things happen at once: what is counted is what is there in the end, on both databases.

use std::time::Duration;

use bonded::auth::{QuotaOf, Wish};
use bonded::metadata::model::limits::Quota;
use futures_util::future::{join, join_all};
use reqwest::StatusCode;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::Mutex;

use super::quotas::{Bounded, KIB, closed, refused, usage};
use super::with;
use crate::app::{TestApp, expect, json as body_of, on_both_places};
use crate::cli::until;
use crate::fixtures::{bytes, sha256};
use crate::stores::Place;

on_both_places! {
    of_two_pushes_with_room_for_one_the_other_is_refused
    a_delete_beside_pushes_gives_its_room_back_once
    uploads_that_break_off_beside_others_leave_no_room_taken
    whoever_looks_sees_the_sum_with_a_quota_and_without
}

/// What is counted, as a refusal says it for which the quota was set to nothing at all.
async fn counted(place: &Bounded) -> u64 {
    place.allow(Some(0), None).await;
    refused(place.post("/v2/closed/app/blobs/uploads/")).await["used"].as_u64().expect("a number")
}

async fn of_two_pushes_with_room_for_one_the_other_is_refused(app: TestApp) {
    let place = Bounded::found(app, Some(0), None).await;
    for round in 1..=5_u32 {
        // Whether it was just summed up or is so now, there is room for one of them, to the byte.
        let before = usage(&place.town.app).await.bytes;
        place.allow(Some((before - place.held) / (1 << 10) + 50), None).await;
        if round % 2 == 0 {
            place.town.app.clock.advance(Duration::from_secs(30));
        }
        let pushes = (0..2).map(|n| place.push("closed/app", &bytes(50 * KIB, 10 * round + n)).send());
        let mut statuses: Vec<u16> =
            join_all(pushes).await.into_iter().map(|answer| answer.expect("an answer").status().as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 403], "round {round}");
        assert_eq!(usage(&place.town.app).await.bytes, before + (50 << 10));
    }
    assert_eq!(counted(&place).await, usage(&place.town.app).await.bytes);
}

async fn a_delete_beside_pushes_gives_its_room_back_once(app: TestApp) {
    let place = Bounded::found(app, Some(100), None).await;
    let root = place.town.token("root", &[]).await;
    let mut held = bytes(40 * KIB, 0);
    expect(place.push("closed/app", &held), StatusCode::CREATED).await;
    for round in 1..=5_u32 {
        place.allow(Some(100), None).await;
        place.town.app.clock.advance(Duration::from_secs(30));
        let (next, large) = (bytes(40 * KIB, round), bytes(75 * KIB, 100 + round));
        let delete = place.town.app.delete(&format!("/v2/closed/app/blobs/{}", sha256(&held)));
        let delete = expect(with(delete, Some(&root)), StatusCode::ACCEPTED);
        // Together they never fit, and while the old one is there the large one does not.
        let pushes = join(place.push("closed/app", &next).send(), place.push("closed/app", &large).send());
        let (_, (small, large_pushed)) = join(delete, pushes).await;
        let statuses = [small, large_pushed].map(|answer| answer.expect("an answer").status());
        assert!(statuses.iter().all(|status| matches!(status.as_u16(), 201 | 403)), "{statuses:?}");
        assert!(statuses.contains(&StatusCode::CREATED), "one of them always fits: {statuses:?}");
        assert!(usage(&place.town.app).await.bytes <= place.held + (100 << 10), "round {round}: {statuses:?}");
        assert_eq!(counted(&place).await, usage(&place.town.app).await.bytes, "round {round}");
        place.allow(Some(100), None).await;
        if statuses[1] == StatusCode::CREATED {
            let delete = place.town.app.delete(&format!("/v2/closed/app/blobs/{}", sha256(&large)));
            expect(with(delete, Some(&root)), StatusCode::ACCEPTED).await;
            place.town.app.clock.advance(Duration::from_secs(30));
            expect(place.push("closed/app", &next), StatusCode::CREATED).await;
        }
        held = next;
    }
    assert_eq!(usage(&place.town.app).await.bytes, place.held + (40 << 10));
}

async fn uploads_that_break_off_beside_others_leave_no_room_taken(app: TestApp) {
    let place = Bounded::found(app, Some(300), None).await;
    for round in 0..5_u32 {
        let (kept, wrong) = (bytes(20 * KIB, round), bytes(100 * KIB, 50 + round));
        // Bytes that are not what they should be take room until they have come, and then none.
        let claimed = format!("/v2/closed/app/blobs/uploads/?digest={}", sha256(b"something else"));
        let broken = place.post(&claimed).body(wrong);
        let (broken, kept) = join(broken.send(), place.push("closed/app", &kept).send()).await;
        let statuses = [broken, kept].map(|answer| answer.expect("an answer").status());
        assert_eq!(statuses, [StatusCode::BAD_REQUEST, StatusCode::CREATED], "round {round}");
    }
    let sum = usage(&place.town.app).await.bytes;
    assert_eq!(sum, place.held + (100 << 10));
    assert_eq!(counted(&place).await, sum);
}

async fn whoever_looks_sees_the_sum_with_a_quota_and_without(app: TestApp) {
    let place = Bounded::found(app, None, None).await;
    let reader = place.town.token("reader", &[]).await;
    let app = &place.town.app;
    let shown = async || {
        let get = with(app.get("/api/v1/namespaces/closed/quota"), Some(&reader));
        body_of(expect(get, StatusCode::OK).await).await["bytes_used"].clone()
    };
    let root = place.town.token("root", &[]).await;
    // The time of the registry stands still, and yet what is shown follows what happens.
    for (kib, seed) in [(None, 1), (Some(500), 2), (None, 3)] {
        place.allow(kib, None).await;
        let data = bytes(30 * KIB, seed);
        expect(place.push("closed/app", &data), StatusCode::CREATED).await;
        let full = usage(app).await.bytes;
        until(async || shown().await == full).await;
        let looks = (0..20).map(|_| shown());
        assert!(join_all(looks).await.into_iter().all(|bytes| bytes == full));
        let delete = app.delete(&format!("/v2/closed/app/blobs/{}", sha256(&data)));
        expect(with(delete, Some(&root)), StatusCode::ACCEPTED).await;
        until(async || shown().await == full - (30 << 10)).await;
    }
}

/// The database goes on with what somebody asked for who has gone away, so the next one waits for that.
#[tokio::test]
async fn whoever_goes_away_lets_no_second_sum_begin() {
    let mut nodes = TestApp::builder().start_shared(1).await;
    let place = Bounded::found(nodes.pop().expect("a node"), Some(100), None).await;
    let app = &place.town.app;
    let Place::Shared { database, .. } = &*app.place else { panic!("a node on Postgres") };
    let mut holder = PgConnection::connect(database.url()).await.expect("a connection");
    let other = Mutex::new(PgConnection::connect(database.url()).await.expect("a connection"));
    let sums = async || {
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'bonded' \
            AND datname = current_database() AND wait_event_type = 'Lock'";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *other.lock().await).await.expect("a count")
    };
    let of = QuotaOf { namespace: closed(), quota: Quota { bytes: Some(1 << 20), repositories: None } };
    let (repo, session) = ("closed/app".parse().expect("a name"), None);
    app.clock.advance(Duration::from_secs(30));
    holder.execute("BEGIN; LOCK TABLE repo_blobs").await.expect("a lock");
    for (round, expected) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        let look = async {
            if round > 2 {
                app.auth.make_room(&of, Wish { repo: &repo, bytes: 1, session }).await.map(drop).is_err()
            } else {
                app.auth.quota_and_usage(&closed()).await.is_err()
            }
        };
        // Long enough for another statement to come to the lock, if there is one.
        let pause = async {
            until(async || sums().await >= expected).await;
            for _ in 0..50 {
                sums().await;
            }
        };
        tokio::select! {
            _ = look => panic!("it waits for the lock"),
            () = pause => {}
        }
        assert_eq!(sums().await, expected, "round {round}");
    }
    holder.execute("COMMIT").await.expect("a release");
    until(async || sums().await == 0).await;
    assert!(app.auth.quota_and_usage(&closed()).await.expect("an answer").is_some());
    app.auth.make_room(&of, Wish { repo: &repo, bytes: 1, session }).await.expect("room");
}

/// What comes in beyond the quota is what the other node let in before the next sum; then both know it all.
#[tokio::test]
async fn two_nodes_agree_once_they_have_summed_up() {
    let mut nodes = TestApp::builder().start_shared(2).await;
    let other = nodes.pop().expect("a node");
    let place = Bounded::found(nodes.pop().expect("another"), Some(100), None).await;
    other.auth.refresh().await.expect("the new state");
    let pushes = (0..6_u32).map(|n| {
        let (node, data) = (if n % 2 == 0 { &place.town.app } else { &other }, bytes(50 * KIB, n));
        let post = node.post(&format!("/v2/closed/app/blobs/uploads/?digest={}", sha256(&data)));
        with(post, Some(&place.writer)).body(data).send()
    });
    let statuses: Vec<u16> =
        join_all(pushes).await.into_iter().map(|answer| answer.expect("an answer").status().as_u16()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 201 | 403)), "{statuses:?}");
    let pushed = statuses.iter().filter(|status| **status == 201).count() as u64;
    assert!((1..=4).contains(&pushed), "each node lets two in at most: {statuses:?}");
    let sum = usage(&other).await.bytes;
    assert_eq!(sum, place.held + pushed * (50 << 10));
    other.clock.advance(Duration::from_secs(30));
    assert_eq!(counted(&place).await, sum);
    other.auth.refresh().await.expect("the new state");
    let post = with(other.post("/v2/closed/app/blobs/uploads/"), Some(&place.writer));
    assert_eq!(refused(post).await["used"], sum);
}
