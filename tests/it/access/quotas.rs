//! What a namespace may hold.

use std::process::Stdio;
use std::time::Duration;

use bonded::access::NamespacePath;
use bonded::metadata::model::UploadId;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::audit::AuditFilter;
use bonded::metadata::model::limits::{Quota, Usage};
use futures_util::future::join_all;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{Town, with};
use crate::app::{TestApp, expect, header, json as body_of};
use crate::cli::{Served, bonded, run, stdout, text};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, bytes, sha256};

pub(super) const KIB: usize = 1 << 10;

/// A town in whose namespace `closed` a writer pushes, and which may hold so many KiB beyond what it holds, and so many
/// repositories.
pub(super) struct Bounded {
    pub(super) town: Town,
    pub(super) writer: String,
    pub(super) held: u64,
}

pub(super) fn closed() -> NamespacePath {
    "closed".parse().expect("a path")
}

async fn bounded(kib: Option<u64>, repositories: Option<u64>) -> Bounded {
    Bounded::found(TestApp::start().await, kib, repositories).await
}

/// The full sum, as the database has it now.
pub(super) async fn usage(app: &TestApp) -> Usage {
    app.auth.accounts().quota_usage(&closed(), &[]).await.expect("an answer")
}

impl Bounded {
    pub(super) async fn found(app: TestApp, kib: Option<u64>, repositories: Option<u64>) -> Self {
        let town = Town::found(app).await;
        let writer = town.token("writer", &[]).await;
        let bounded = Self { held: usage(&town.app).await.bytes, town, writer };
        bounded.allow(kib, repositories).await;
        bounded
    }

    pub(super) async fn allow(&self, kib: Option<u64>, repositories: Option<u64>) {
        let app = &self.town.app;
        let quota = Quota { bytes: kib.map(|kib| self.held + (kib << 10)), repositories };
        let by = Actor::command_line();
        assert!(app.auth.accounts().quota_set(&closed(), quota, app.auth.now(), &by).await.expect("an answer"));
        app.auth.refresh().await.expect("the new state");
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        with(self.town.app.post(path), Some(&self.writer))
    }

    pub(super) fn patch(&self, location: &str, data: &[u8]) -> RequestBuilder {
        with(self.town.app.patch(location), Some(&self.writer)).body(data.to_vec())
    }

    pub(super) fn put(&self, path: &str, data: &[u8]) -> RequestBuilder {
        with(self.town.app.put(path), Some(&self.writer)).body(data.to_vec())
    }

    pub(super) fn push(&self, repo: &str, data: &[u8]) -> RequestBuilder {
        self.post(&format!("/v2/{repo}/blobs/uploads/?digest={}", sha256(data))).body(data.to_vec())
    }

    pub(super) async fn begin(&self, repo: &str) -> String {
        let begun = expect(self.post(&format!("/v2/{repo}/blobs/uploads/")), StatusCode::ACCEPTED).await;
        header(&begun, "location").to_owned()
    }
}

/// The numbers of a refusal.
pub(super) async fn refused(request: RequestBuilder) -> Value {
    numbers(expect(request, StatusCode::FORBIDDEN).await).await
}

async fn numbers(answer: Response) -> Value {
    let body = body_of(answer).await;
    let error = &body["errors"][0];
    assert_eq!(error["code"], "DENIED");
    let (detail, message) = (&error["detail"], error["message"].as_str().expect("a message"));
    for number in ["used", "limit", "asked"] {
        assert!(message.contains(&detail[number].to_string()), "{message}");
    }
    detail.clone()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_numbers() {
    let place = bounded(Some(100), None).await;
    let (used, limit) = (place.held, place.held + (100 << 10));
    let detail = refused(place.push("closed/app", &bytes(101 * KIB, 1))).await;
    let expected = json!({"namespace": "closed", "unit": "bytes", "used": used, "limit": limit, "asked": 101 << 10});
    assert_eq!(detail, expected);
    expect(place.push("closed/app", &bytes(60 * KIB, 1)), StatusCode::CREATED).await;
    let detail = refused(place.push("closed/other", &bytes(41 * KIB, 2))).await;
    assert_eq!(detail["used"], used + (60 << 10));
    // What is there already takes no room, and elsewhere nothing is bounded.
    expect(place.push("closed/app", &bytes(60 * KIB, 1)), StatusCode::CREATED).await;
    expect(place.push("closed/app", &bytes(40 * KIB, 2)), StatusCode::CREATED).await;
    expect(place.push("open/app", &bytes(200 * KIB, 3)), StatusCode::CREATED).await;
    // Now it is full, and no session begins.
    let detail = refused(place.post("/v2/closed/app/blobs/uploads/")).await;
    assert_eq!((&detail["used"], &detail["limit"]), (&json!(limit), &json!(limit)));
    let audit = place.town.app.auth.audit();
    audit.flush(true).await.expect("written");
    let filter = AuditFilter { kind: Some("refused".to_owned()), ..AuditFilter::default() };
    let events = audit.list(&filter, None, 10).await.expect("a page").events;
    let counted: Vec<_> =
        events.iter().map(|event| (event.detail()["action"].clone(), event.detail()["count"].clone())).collect();
    assert_eq!(counted, [(json!("push"), json!(3))]);
    let pull = place.town.app.get("/v2/closed/app/manifests/v1");
    expect(with(pull, Some(&place.writer)), StatusCode::OK).await;
}

#[tokio::test]
async fn a_put_with_the_whole_blob_is_refused_before_it_is_read() {
    let place = bounded(Some(100), None).await;
    let (small, large) = (bytes(50 * KIB, 1), bytes(101 * KIB, 2));
    let location = place.begin("closed/app").await;
    let detail = refused(place.put(&format!("{location}?digest={}", sha256(&large)), &large)).await;
    assert_eq!(detail["asked"], 101 << 10);
    // The session is unharmed.
    expect(place.put(&format!("{location}?digest={}", sha256(&small)), &small), StatusCode::CREATED).await;
    let location = place.begin("closed/app").await;
    refused(place.patch(&location, &bytes(51 * KIB, 3))).await;
    expect(place.patch(&location, &bytes(50 * KIB, 3)), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn uploads_in_flight_go_on() {
    let place = bounded(Some(100), None).await;
    let data = bytes(90 * KIB, 1);
    let location = place.begin("closed/app").await;
    expect(place.patch(&location, &data[..30 * KIB]), StatusCode::ACCEPTED).await;
    let idle = place.begin("closed/app").await;
    // What it has received counts already.
    refused(place.push("closed/app", &bytes(71 * KIB, 2))).await;
    expect(place.push("closed/app", &bytes(70 * KIB, 2)), StatusCode::CREATED).await;
    refused(place.patch(&idle, &bytes(KIB, 3))).await;
    expect(place.patch(&location, &data[30 * KIB..60 * KIB]), StatusCode::ACCEPTED).await;
    expect(place.put(&format!("{location}?digest={}", sha256(&data)), &data[60 * KIB..]), StatusCode::CREATED).await;
    assert_eq!(usage(&place.town.app).await.bytes, place.held + (160 << 10));
}

#[tokio::test]
async fn no_upload_is_larger_than_the_whole_quota() {
    let place = bounded(Some(100), None).await;
    let limit = usize::try_from(place.held).expect("a small number") + 100 * KIB;
    let location = place.begin("closed/app").await;
    expect(place.patch(&location, &bytes(60 * KIB, 1)), StatusCode::ACCEPTED).await;
    let rest = bytes(limit, 1);
    refused(place.patch(&location, &rest)).await;
    refused(place.put(&format!("{location}?digest={}", sha256(&rest)), &rest)).await;
}

#[tokio::test]
async fn a_manifest_needs_room_and_another_tag_of_it_does_not() {
    let place = bounded(Some(100), None).await;
    let image = ImageBuilder::new().layer(&bytes(10 * KIB, 1));
    for blob in image.blobs() {
        expect(place.push("closed/app", &blob), StatusCode::CREATED).await;
    }
    let put = |tag: &str, manifest: Vec<u8>| {
        place.put(&format!("/v2/closed/app/manifests/{tag}"), &manifest).header("content-type", IMAGE_MANIFEST)
    };
    let left = usize::try_from(place.held + (100 << 10) - usage(&place.town.app).await.bytes).expect("a small number");
    let manifest = image.manifest();
    expect(place.push("closed/app", &bytes(left - manifest.len() + 1, 2)), StatusCode::CREATED).await;
    let detail = refused(put("v2", manifest.clone())).await;
    assert_eq!(detail["asked"], manifest.len());
    place.allow(Some(101), None).await;
    expect(put("v2", manifest.clone()), StatusCode::CREATED).await;
    place.allow(Some(0), None).await;
    expect(put("v3", manifest), StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_mount_counts_too() {
    let place = bounded(Some(100), None).await;
    let (small, large) = (bytes(60 * KIB, 1), bytes(101 * KIB, 2));
    for data in [&small, &large] {
        expect(place.push("open/app", data), StatusCode::CREATED).await;
    }
    let mount =
        |to: &str, data: &[u8]| place.post(&format!("/v2/{to}/blobs/uploads/?mount={}&from=open/app", sha256(data)));
    // A mount is never refused: the upload that the client is told to make will be.
    expect(mount("closed/app", &large), StatusCode::ACCEPTED).await;
    assert_eq!(refused(place.push("closed/app", &large)).await["asked"], 101 << 10);
    expect(mount("closed/app", &small), StatusCode::CREATED).await;
    expect(mount("closed/app", &small), StatusCode::CREATED).await;
    // Each repository counts by itself.
    expect(mount("closed/other", &small), StatusCode::ACCEPTED).await;
    assert_eq!(refused(place.push("closed/other", &small)).await["used"], place.held + (60 << 10));
    expect(mount("closed/other", &bytes(5, 9)), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn repositories_are_counted() {
    let place = bounded(None, Some(2)).await;
    expect(place.push("closed/other", b"one"), StatusCode::CREATED).await;
    let expected = json!({"namespace": "closed", "unit": "repositories", "used": 2, "limit": 2, "asked": 1});
    assert_eq!(refused(place.post("/v2/closed/third/blobs/uploads/")).await, expected);
    assert_eq!(refused(place.push("closed/third", b"one")).await, expected);
    expect(place.push("closed/app", b"two"), StatusCode::CREATED).await;
    expect(place.push("open/third", b"one"), StatusCode::CREATED).await;
    assert_eq!(usage(&place.town.app).await.repositories, 2);
}

#[tokio::test]
async fn what_comes_into_a_new_repository_at_once_is_one_repository() {
    let place = bounded(None, Some(2)).await;
    let layers: Vec<Vec<u8>> = (0..6).map(|n| bytes(5 * KIB, n)).collect();
    let pushes = layers.iter().map(async |layer| {
        let location = place.begin("closed/new").await;
        expect(place.patch(&location, layer), StatusCode::ACCEPTED).await;
        expect(place.put(&format!("{location}?digest={}", sha256(layer)), b""), StatusCode::CREATED).await;
    });
    join_all(pushes).await;
    refused(place.post("/v2/closed/third/blobs/uploads/")).await;
    assert_eq!(usage(&place.town.app).await.repositories, 2);
}

#[tokio::test]
async fn what_is_known_to_come_is_no_part_of_the_sum() {
    let place = bounded(Some(100), None).await;
    let location = place.begin("closed/app").await;
    expect(place.patch(&location, &bytes(30 * KIB, 1)), StatusCode::ACCEPTED).await;
    let id = location.rsplit('/').next().and_then(UploadId::parse).expect("an identifier");
    let accounts = place.town.app.auth.accounts();
    for (without, expected) in [(vec![], 30 << 10), (vec![id], 0)] {
        let usage = accounts.quota_usage(&closed(), &without).await.expect("usage");
        assert_eq!(usage.bytes - place.held, expected);
    }
}

#[tokio::test]
async fn what_was_deleted_is_given_back() {
    let place = bounded(Some(100), None).await;
    let (root, data) = (place.town.token("root", &[]).await, bytes(100 * KIB, 1));
    expect(place.push("closed/app", &data), StatusCode::CREATED).await;
    refused(place.push("closed/app", b"more")).await;
    let delete = place.town.app.delete(&format!("/v2/closed/app/blobs/{}", sha256(&data)));
    expect(with(delete, Some(&root)), StatusCode::ACCEPTED).await;
    place.town.app.clock.advance(Duration::from_secs(2));
    expect(place.push("closed/app", &data), StatusCode::CREATED).await;
    // A blob of an image goes when it is collected.
    refused(place.push("closed/app", b"more")).await;
    let app = &place.town.app;
    expect(with(app.delete("/api/v1/repositories/closed/app"), Some(&root)), StatusCode::ACCEPTED).await;
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(usage(app).await, Usage::default());
    expect(place.push("closed/app", &data), StatusCode::CREATED).await;
}

#[tokio::test]
async fn of_two_pushes_at_once_only_as_much_comes_in_as_fits() {
    let place = bounded(Some(100), None).await;
    for round in 0..4 {
        place.allow(Some(100 * (round + 1)), None).await;
        place.town.app.clock.advance(Duration::from_secs(2));
        let pushes = (0..4_u32).map(|n| {
            let round = u32::try_from(round).expect("a small number");
            place.push("closed/app", &bytes(60 * KIB, 10 * round + n)).send()
        });
        let statuses: Vec<StatusCode> =
            join_all(pushes).await.into_iter().map(|answer| answer.expect("an answer").status()).collect();
        assert!(statuses.iter().all(|status| matches!(status.as_u16(), 201 | 403)), "{statuses:?}");
        assert!(usage(&place.town.app).await.bytes <= place.held + (100 << 10) * (round + 1), "{statuses:?}");
        assert!(statuses.contains(&StatusCode::CREATED), "{statuses:?}");
    }
}

#[tokio::test]
async fn a_longer_namespace_holds_for_itself() {
    let place = bounded(Some(100), None).await;
    let (app, by) = (&place.town.app, Actor::command_line());
    let path = "closed/inner".parse().expect("a path");
    let new = bonded::metadata::model::accounts::NamespaceRecord { path, public: false, created_at: app.auth.now() };
    app.auth.accounts().namespace_add(&new, &super::user("writer"), &by).await.expect("a namespace");
    app.auth.refresh().await.expect("the new state");
    expect(place.push("closed/inner/app", &bytes(200 * KIB, 1)), StatusCode::CREATED).await;
    expect(place.push("closed/inner", &bytes(200 * KIB, 1)), StatusCode::CREATED).await;
    expect(place.push("closed/innermost", &bytes(50 * KIB, 1)), StatusCode::CREATED).await;
    assert_eq!(usage(app).await.bytes, place.held + (50 << 10));
}

#[tokio::test]
async fn the_interface_shows_and_sets_quotas() {
    let place = bounded(None, None).await;
    let app = &place.town.app;
    let path = "/api/v1/namespaces/closed/quota";
    let (root, owner) = (place.town.token("root", &[]).await, place.town.token("owner", &[]).await);
    let set = |token: &str, quota: Value| with(app.put(path), Some(token)).body(quota.to_string());
    let quota = json!({"bytes": 5, "repositories": null});
    expect(set(&root, quota.clone()), StatusCode::NO_CONTENT).await;
    expect(set(&owner, quota.clone()), StatusCode::FORBIDDEN).await;
    expect(app.put(path).body(quota.to_string()), StatusCode::UNAUTHORIZED).await;
    for wrong in [json!({"bytes": -1}), json!({"bytes": u64::MAX}), json!({"megabytes": 1}), json!([])] {
        expect(set(&root, wrong), StatusCode::BAD_REQUEST).await;
    }
    let reader = place.town.token("reader", &[]).await;
    let shown = body_of(expect(with(app.get(path), Some(&reader)), StatusCode::OK).await).await;
    let expected = json!({"bytes": 5, "repositories": null, "bytes_used": place.held, "repositories_used": 1});
    assert_eq!(shown, expected);
    let stranger = place.town.token("stranger", &[]).await;
    expect(with(app.get(path), Some(&stranger)), StatusCode::NOT_FOUND).await;
    refused(place.push("closed/app", b"more")).await;
}

#[tokio::test]
async fn the_command_line_shows_and_sets_quotas_beside_a_server() {
    let served = Served::start(&[]).await;
    served.push("team/app", &ImageBuilder::new().layer(b"layer")).await;
    let data = served.data();
    let command = async |words: &str| {
        let words: Vec<&str> = words.split(' ').chain(["--data", text(&data)]).collect();
        run(&words).await
    };
    let mut add = bonded(&["user", "add", "ann", "--admin", "--password-stdin", "--data", text(&data)]);
    let mut adding = add.stdin(Stdio::piped()).spawn().expect("it starts");
    adding.stdin.take().expect("a pipe").write_all(b"correct horse battery").await.expect("written");
    assert!(adding.wait().await.expect("it ends").success());
    assert!(command("ns create team --owner ann").await.status.success());
    let shown = async |words: &str| {
        let output = command(words).await;
        assert!(output.status.success(), "{output:?}");
        let lines = stdout(&output);
        let limits = lines.lines().map(|line| line.rsplit_once(" of ").expect("a limit").1.to_owned());
        (lines.contains("repositories\t1 of "), limits.collect::<Vec<_>>())
    };
    assert_eq!(shown("ns quota team").await, (true, vec!["none".to_owned(), "none".to_owned()]));
    let both = vec![(10_u64 << 30).to_string(), "3".to_owned()];
    assert_eq!(shown("ns quota team --bytes 10GiB --repositories 3").await, (true, both.clone()));
    assert_eq!(shown("ns quota team").await, (true, both));
    assert_eq!(shown("ns quota team --bytes none").await.1, ["none", "3"]);
    assert_eq!(command("ns quota nobody --bytes 1").await.status.code(), Some(1));
    assert_eq!(command("ns quota team --bytes much").await.status.code(), Some(2));
}
