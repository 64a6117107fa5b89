//! Who downloaded what.

use std::time::Duration;

use bonded::registry::{ClientDetail, DownloadOptions};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, with};
use crate::app::{TestApp, expect, json as body_of};
use crate::cli::{Served, client, run, stdout, text};
use crate::fixtures::ImageBuilder;

const PATH: &str = "/api/v1/downloads?repository=closed/app";

async fn town(clients: ClientDetail) -> Town {
    let downloads = DownloadOptions { clients, keep: Duration::from_hours(48) };
    let builder = TestApp::builder().behind_a_proxy().options(|options| options.downloads = downloads);
    Town::found(builder.start().await).await
}

/// Pulls as somebody, from somewhere.
async fn pull(town: &Town, repo: &str, token: Option<&str>, from: &str) -> String {
    let get = town.app.get(&format!("/v2/{repo}/manifests/v1")).header("x-forwarded-for", from);
    let answer = expect(with(get, token), StatusCode::OK).await;
    answer.headers()["docker-content-digest"].to_str().expect("a digest").to_owned()
}

/// What those who administer the namespace see, when it is written down.
async fn shown(town: &Town, path: &str) -> Value {
    town.app.registry.flush_downloads(true).await.expect("written");
    let manager = town.token("manager", &[]).await;
    body_of(expect(with(town.app.get(path), Some(&manager)), StatusCode::OK).await).await
}

#[tokio::test]
async fn a_pull_is_counted_with_its_account_and_address_by_the_hour() {
    let town = town(ClientDetail::Address).await;
    let reader = town.token("reader", &[]).await;
    for _ in 0..3 {
        pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    }
    let digest = pull(&town, "closed/app", Some(&reader), "2001:db8::7").await;
    let anonymous = town.exchange(None, &["repository:open/app:pull"]).await;
    pull(&town, "open/app", anonymous["token"].as_str(), "192.0.2.8").await;
    town.app.clock.advance(Duration::from_hours(1));
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    let one = |hour: &str, address: &str, pulls: u64| json!({"hour": hour, "digest": digest, "actor": "reader", "address": address, "pulls": pulls});
    let (first, second) = ("2026-11-01T00:00:00Z", "2026-11-01T01:00:00Z");
    let mut listed = shown(&town, PATH).await;
    let order = |row: &Value| (row["hour"].to_string(), row["address"].to_string());
    listed["downloads"].as_array_mut().expect("a list").sort_by_key(order);
    let expected = [one(first, "192.0.2.7", 3), one(first, "2001:db8::7", 1), one(second, "192.0.2.7", 1)];
    assert_eq!(listed, json!({"downloads": expected, "next": null}));
    let open = shown(&town, "/api/v1/downloads?repository=open/app").await;
    assert_eq!((&open["downloads"][0]["actor"], &open["downloads"][0]["address"]), (&Value::Null, &json!("192.0.2.8")));
}

#[tokio::test]
async fn only_what_sends_the_manifest_is_a_download() {
    let town = town(ClientDetail::Address).await;
    let reader = town.token("reader", &[]).await;
    let stranger = town.token("stranger", &[]).await;
    let digest = pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    let path = "/v2/closed/app/manifests/v1";
    expect(with(town.app.head(path), Some(&reader)), StatusCode::OK).await;
    let known = town.app.get(path).header("if-none-match", format!("\"{digest}\""));
    expect(with(known, Some(&reader)), StatusCode::NOT_MODIFIED).await;
    let rest = town.app.get(path).header("range", "bytes=1-");
    expect(with(rest, Some(&reader)), StatusCode::PARTIAL_CONTENT).await;
    expect(with(town.app.get(path), Some(&stranger)), StatusCode::NOT_FOUND).await;
    expect(with(town.app.get("/v2/closed/app/manifests/none"), Some(&reader)), StatusCode::NOT_FOUND).await;
    assert_eq!(shown(&town, PATH).await["downloads"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown(&town, PATH).await["downloads"][0]["pulls"], 1);
    let all = town.app.get(path).header("range", "bytes=0-").header("x-forwarded-for", "192.0.2.7");
    expect(with(all, Some(&reader)), StatusCode::PARTIAL_CONTENT).await;
    assert_eq!(shown(&town, PATH).await["downloads"][0]["pulls"], 2);
}

#[tokio::test]
async fn nothing_is_written_down_unless_the_operator_says_so() {
    let town = Town::build().await;
    let reader = town.token("reader", &[]).await;
    expect(with(town.app.get("/v2/closed/app/manifests/v1"), Some(&reader)), StatusCode::OK).await;
    assert_eq!(shown(&town, PATH).await, json!({"downloads": [], "next": null}));
    assert_eq!(town.app.metadata_faults.calls().get("download_add"), None);
}

#[tokio::test]
async fn networks_can_be_written_down_in_the_place_of_addresses() {
    let town = town(ClientDetail::Network).await;
    let reader = town.token("reader", &[]).await;
    for from in ["192.0.2.7", "192.0.2.8", "2001:db8:1:2::3", "2001:db8:1:4::5"] {
        pull(&town, "closed/app", Some(&reader), from).await;
    }
    let listed = shown(&town, PATH).await;
    let mut counted: Vec<(String, u64)> = listed["downloads"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["address"].as_str().expect("an address").to_owned(), row["pulls"].as_u64().expect("a number")))
        .collect();
    counted.sort();
    assert_eq!(counted, [("192.0.2.0".to_owned(), 2), ("2001:db8:1::".to_owned(), 2)]);
}

#[tokio::test]
async fn they_are_written_down_once_a_minute_and_kept_when_that_fails() {
    use bonded::faults::Moment;
    use bonded::metadata::layers::Fault;
    let town = town(ClientDetail::Address).await;
    let reader = town.token("reader", &[]).await;
    let (app, adds) = (&town.app, || town.app.metadata_faults.calls().get("download_add").copied().unwrap_or(0));
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    app.registry.flush_downloads(false).await.expect("the first time");
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    app.registry.flush_downloads(false).await.expect("not yet");
    assert_eq!(adds(), 1);
    app.clock.advance(Duration::from_mins(1));
    app.metadata_faults.fail("download_add", 1, Moment::Before, Fault::Unavailable);
    assert!(app.registry.flush_downloads(false).await.is_err());
    assert_eq!(shown(&town, PATH).await["downloads"][0]["pulls"], 2, "nothing is lost");
}

/// A database that takes some of it never must not keep the rest waiting for ever.
#[tokio::test]
async fn what_the_database_does_not_take_at_all_is_forgotten() {
    use bonded::faults::Moment;
    use bonded::metadata::layers::Fault;
    let town = town(ClientDetail::Address).await;
    let (app, reader) = (&town.app, town.token("reader", &[]).await);
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    app.metadata_faults.fail("download_add", 1, Moment::Before, Fault::Driver);
    app.registry.flush_downloads(true).await.expect("the rest is done");
    assert_eq!(shown(&town, PATH).await["downloads"], json!([]), "nobody tries it again");
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    assert_eq!(shown(&town, PATH).await["downloads"][0]["pulls"], 1);
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_is_forgotten() {
    let town = town(ClientDetail::Address).await;
    let reader = town.token("reader", &[]).await;
    pull(&town, "closed/app", Some(&reader), "192.0.2.7").await;
    town.app.clock.advance(Duration::from_hours(47));
    pull(&town, "closed/app", Some(&reader), "192.0.2.8").await;
    assert_eq!(shown(&town, PATH).await["downloads"].as_array().map(Vec::len), Some(2));
    town.app.clock.advance(Duration::from_hours(2) + Duration::from_mins(1));
    assert_eq!(shown(&town, PATH).await["downloads"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn only_administrators_of_the_namespace_see_who_downloaded() {
    let town = town(ClientDetail::Address).await;
    for (name, status) in [
        ("root", StatusCode::OK),
        ("owner", StatusCode::OK),
        ("manager", StatusCode::OK),
        ("writer", StatusCode::FORBIDDEN),
        ("reader", StatusCode::FORBIDDEN),
        ("stranger", StatusCode::NOT_FOUND),
    ] {
        let token = town.token(name, &[]).await;
        expect(with(town.app.get(PATH), Some(&token)), status).await;
    }
    expect(town.app.get(PATH), StatusCode::UNAUTHORIZED).await;
    let limited = town.token("manager", &["closed/**:pull"]).await;
    expect(with(town.app.get(PATH), Some(&limited)), StatusCode::FORBIDDEN).await;
    let stranger = town.token("stranger", &[]).await;
    // A public repository says no more than that.
    let open = "/api/v1/downloads?repository=open/app";
    expect(with(town.app.get(open), Some(&stranger)), StatusCode::FORBIDDEN).await;
    let root = town.token("root", &[]).await;
    for wrong in ["/api/v1/downloads", "/api/v1/downloads?repository=A", "/api/v1/downloads?repository=a&last=x"] {
        expect(with(town.app.get(wrong), Some(&root)), StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn a_list_of_downloads_goes_on_where_it_ended() {
    let town = town(ClientDetail::Address).await;
    let reader = town.token("reader", &[]).await;
    for last in 1..=5 {
        pull(&town, "closed/app", Some(&reader), &format!("192.0.2.{last}")).await;
    }
    let (mut seen, mut path) = (Vec::new(), format!("{PATH}&n=2"));
    loop {
        let page = shown(&town, &path).await;
        let rows = page["downloads"].as_array().expect("a list");
        assert!(rows.len() <= 2);
        seen.extend(rows.iter().map(|row| row["address"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{PATH}&n=2&last={next}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn the_command_line_shows_downloads_that_a_server_wrote_down_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bonded.toml");
    std::fs::write(&file, "[downloads]\nclients = \"address\"\n").expect("a file");
    let mut served = Served::start(&["--config", text(&file)]).await;
    served.push("team/app", &ImageBuilder::new().layer(b"layer")).await;
    let url = format!("{}/v2/team/app/manifests/v1", served.url());
    for _ in 0..2 {
        assert_eq!(client().get(&url).send().await.expect("an answer").status(), StatusCode::OK);
    }
    let data = served.data();
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
    let shown = run(&["repo", "downloads", "team/app", "--data", text(&data)]).await;
    assert!(shown.status.success(), "{shown:?}");
    let lines = stdout(&shown);
    // An hour may have ended between the two.
    let fields: Vec<Vec<&str>> = lines.lines().map(|line| line.split('\t').collect()).collect();
    let pulls: u64 = fields.iter().map(|fields| fields[1].parse::<u64>().expect("a number")).sum();
    assert!(pulls >= 2, "{lines}");
    assert!(fields.iter().all(|fields| fields.len() == 5 && fields[3] == "-" && fields[4] == "127.0.0.1"), "{lines}");
    assert_eq!(stdout(&run(&["repo", "downloads", "team/other", "--data", text(&data)]).await), "");
}
