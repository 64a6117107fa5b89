//! Webhooks from the command line, beside a server that sends.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::SECRET;
use super::receiver::{Received, Receiver};
use crate::cli::{Served, bonded, run, stdout, text};

/// Runs a verb that reads something.
async fn run_with(arguments: &[&str], input: &str) -> Output {
    let mut command = bonded(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

/// What comes next, in its time.
async fn next(receiver: &Receiver) -> Received {
    let coming = async {
        loop {
            if let Some(received) = receiver.take().pop() {
                return received;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), coming).await.expect("a server sends it")
}

/// What a list shows, once something holds of its first object.
async fn first(arguments: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let listed = stdout(&run(arguments).await);
            let first = listed.lines().next().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            if let Some(first) = first.filter(&holds) {
                return first;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asking).await.expect("it holds in the end")
}

#[tokio::test]
async fn webhooks_are_made_tested_and_ended_beside_a_server() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start().await);
    let file = folder.path().join("bonded.toml");
    std::fs::write(&file, "[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\n").expect("a file");
    let served = Served::start(&["--config", text(&file)]).await;
    let data = served.data();
    let data = ["--config", text(&file), "--data", text(&data)];
    let verb = |arguments: &[&str]| arguments.iter().chain(&data).map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let ask = async |arguments: &[&str]| {
        let arguments = verb(arguments);
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let user = ["user", "add", "ann", "--admin", "--password-stdin"];
    let added = run_with(&[&user, &data[..]].concat(), "correct horse battery staple\n").await;
    assert!(added.status.success(), "{added:?}");
    assert!(ask(&["ns", "create", "team", "--owner", "ann"]).await.status.success());

    let url = receiver.url();
    let made = ask(&["webhook", "add", "team", &url, "--event", "push", "--event", "denial"]).await;
    let made = stdout(&made);
    let (id, secret) = made.trim_end().split_once('\n').expect("two lines");
    assert_eq!(stdout(&ask(&["webhook", "ls", "team"]).await), format!("{id}\t{url}\tpush,denial\n"));
    assert!(ask(&["webhook", "test", "team", id]).await.status.success());
    let received = next(&receiver).await;
    assert!(received.kind() == "dev.bonded.webhook.test.v1" && received.is_signed(secret));

    let deliveries = [&["webhook", "deliveries", "team", "-o", "json"], &data[..]].concat();
    let delivery = first(&deliveries, |delivery| delivery["state"] == "delivered").await;
    assert_eq!((&delivery["event"], &delivery["attempts"]), (&received.event()["id"], &1.into()));
    assert_eq!(stdout(&ask(&["webhook", "dead", "team"]).await), "");
    assert!(ask(&["webhook", "resend", "team", &delivery["id"].to_string()]).await.status.success());
    assert_eq!(next(&receiver).await.event()["id"], received.event()["id"]);

    let own = [&["webhook", "add", "team", &url, "--secret-stdin"], &data[..]].concat();
    assert_eq!(stdout(&run_with(&own, &format!("{SECRET}\n")).await).lines().count(), 1, "whoever gives one knows it");
    assert_eq!(run_with(&own, "whsec_c2hvcnQ=\n").await.status.code(), Some(1));
    assert_eq!(ask(&["webhook", "add", "team", "https://10.0.0.1/"]).await.status.code(), Some(1));
    assert_eq!(ask(&["webhook", "add", "team", &url, "--event", "pull"]).await.status.code(), Some(2));
    assert!(ask(&["webhook", "disable", "team", id]).await.status.success());
    assert!(stdout(&ask(&["webhook", "ls", "team"]).await).contains("\tpush,denial\tdisabled\n"));
    assert!(ask(&["webhook", "rm", "team", id]).await.status.success());
    assert_eq!(ask(&["webhook", "rm", "team", id]).await.status.code(), Some(1));
}
