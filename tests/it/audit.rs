//! `bonded audit`, as an operator meets it.

use std::path::Path;
use std::process::{Output, Stdio};

use reqwest::StatusCode;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::io::AsyncWriteExt as _;

use crate::cli::{Served, bonded, client, run, stdout, text, until};
use crate::fixtures::ImageBuilder;

/// `bonded audit` with its arguments, on a data folder.
async fn audit(data: &Path, arguments: &[&str]) -> Output {
    run(&[&["audit"], arguments, &["--data", text(data)]].concat()).await
}

/// What it prints, one object a line.
async fn objects(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = audit(data, arguments).await;
    assert!(output.status.success(), "{output:?}");
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// Makes the first account, of which the server hears within a second or so.
async fn add_root(served: &Served) {
    let mut command = bonded(&["user", "add", "root", "--admin", "--password-stdin"]);
    let mut child = command.args(["--data", text(&served.data())]).stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"long enough: 4711\n").await.expect("written");
    assert!(child.wait().await.expect("it ends").success());
    let url = format!("{}/v2/", served.url());
    until(async || client().get(&url).send().await.expect("an answer").status() == StatusCode::UNAUTHORIZED).await;
}

/// What somebody does who owns the database.
async fn meddle(data: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(data.join("bonded.db"));
    options.connect().await.expect("a connection").execute(sql).await.expect(sql);
}

#[tokio::test]
async fn it_is_listed_exported_and_verified_and_what_was_changed_is_found() {
    let mut served = Served::start(&[]).await;
    served.push("team/app", &ImageBuilder::new().layer(b"layer")).await;
    add_root(&served).await;
    let data = served.data();
    until(async || objects(&data, &["verify", "-o", "json"]).await[0]["unsealed"] == 0).await;

    let listed = objects(&data, &["ls", "-o", "json"]).await;
    let kinds: Vec<_> = listed.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["user.add", "manifest.push"], "the newest first");
    assert_eq!(listed[0]["actor"], "command line");
    let push = &listed[1];
    assert!(push["address"].as_str().is_some_and(|address| address.starts_with("127.")), "{push}");
    assert!(push["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{push}");
    for (filter, number) in [
        (&["--kind", "manifest.push"][..], 1),
        (&["--actor", "command line"], 1),
        (&["--subject", "team/"], 1),
        (&["--subject", "other/"], 0),
        (&["--since", "1h"], 2),
        (&["--until", "2026-01-01T00:00:00Z"], 0),
        (&["--limit", "1"], 1),
    ] {
        assert_eq!(objects(&data, &[&["ls", "-o", "json"], filter].concat()).await.len(), number, "{filter:?}");
    }
    assert!(stdout(&audit(&data, &["ls"]).await).contains("\tmanifest.push\t"));
    let mut exported = objects(&data, &["export"]).await;
    exported.reverse();
    assert_eq!(exported, listed, "the oldest first");
    assert_eq!(objects(&data, &["export", "--after", "1"]).await.len(), 1);

    for _ in 0..3 {
        let request = client().get(format!("{}/v2/", served.url())).basic_auth("root", Some("wrong"));
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    }
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
    let refused = objects(&data, &["ls", "-o", "json", "--kind", "login.refused"]).await;
    let counts: Vec<_> = refused.iter().map(|event| event["detail"]["count"].as_u64().expect("a number")).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3, "counts of a minute that is not over are written down: {refused:?}");
    assert!(refused.iter().all(|event| event["sequence"].is_i64() && event["subject"] == "root"), "{refused:?}");

    let verified = audit(&data, &["verify"]).await;
    let kept = stdout(&verified).lines().find_map(|line| line.strip_prefix("last: ").map(str::to_owned));
    let kept = kept.expect("a place in the chain");
    assert_eq!(audit(&data, &["verify", "--expect", &kept]).await.status.code(), Some(0));
    assert_eq!(audit(&data, &["verify", "--expect", "nonsense"]).await.status.code(), Some(2));

    meddle(&data, "DROP TRIGGER audit_events_stay; UPDATE audit_events SET actor = 'ann' WHERE sequence = 2").await;
    let changed = audit(&data, &["verify", "-o", "json"]).await;
    let object: Value = serde_json::from_str(&stdout(&changed)).expect("an object");
    assert_eq!((changed.status.code(), &object["broken"]["sequence"]), (Some(1), &Value::from(2)), "{object}");
    assert!(String::from_utf8_lossy(&changed.stderr).contains("broken at 2"), "{changed:?}");
    meddle(&data, "UPDATE audit_events SET actor = 'command line' WHERE sequence = 2").await;
    assert_eq!(audit(&data, &["verify"]).await.status.code(), Some(0));
    meddle(&data, "DROP TRIGGER audit_events_remain; DELETE FROM audit_events WHERE sequence >= 3").await;
    assert_eq!(audit(&data, &["verify"]).await.status.code(), Some(1), "the end is missed");
}
