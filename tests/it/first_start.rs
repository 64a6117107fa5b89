//! How the first account comes, with the binary: by a command before or beside the server, or by a file at its start.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;

use crate::cli::{Served, bonded, client, refusal, run, stdout, text, until};

const PASSWORD: &str = "correct horse battery";

/// Runs a command that reads a password.
async fn typed(arguments: &[&str], password: &str) -> Output {
    let mut command = bonded(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(format!("{password}\n").as_bytes()).await.expect("it reads");
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

async fn add(data: &Path, name: &str, more: &[&str]) -> Output {
    typed(&[&["user", "add", name, "--password-stdin", "--data", text(data)], more].concat(), PASSWORD).await
}

/// What a command said that could not do its work.
#[track_caller]
fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    text
}

async fn ping(served: &Served, credentials: Option<(&str, &str)>) -> StatusCode {
    let request = client().get(format!("{}/v2/", served.url()));
    let request = match credentials {
        Some((name, password)) => request.basic_auth(name, Some(password)),
        None => request,
    };
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn an_account_made_before_the_first_start_closes_it_from_the_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let reader = failure(&add(&data, "reader", &[]).await);
    assert!(reader.contains("--admin"), "{reader}");
    assert!(add(&data, "root", &["--admin"]).await.status.success());
    let served = Served::start_in(folder, &[]).await;
    assert_eq!(ping(&served, None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ping(&served, Some(("", ""))).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ping(&served, Some(("root", "wrong"))).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ping(&served, Some(("root", PASSWORD))).await, StatusCode::OK);
}

#[tokio::test]
async fn an_account_made_beside_a_server_closes_it() {
    let served = Served::start(&[]).await;
    assert_eq!(ping(&served, None).await, StatusCode::OK);
    assert!(add(&served.data(), "root", &["--admin"]).await.status.success());
    until(async || ping(&served, None).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(ping(&served, Some(("root", PASSWORD))).await, StatusCode::OK);

    for verb in ["rm", "disable", "demote"] {
        let last = failure(&run(&["user", verb, "root", "--data", text(&served.data())]).await);
        assert!(last.contains("last account"), "{last}");
    }
    assert!(add(&served.data(), "reader", &[]).await.status.success());
    assert!(run(&["user", "disable", "reader", "--data", text(&served.data())]).await.status.success());
    until(async || ping(&served, Some(("reader", PASSWORD))).await == StatusCode::UNAUTHORIZED).await;
    let listed = stdout(&run(&["user", "ls", "--data", text(&served.data())]).await);
    assert!(listed.contains("root") && listed.contains("reader") && !listed.contains("argon2"), "{listed}");
}

#[tokio::test]
async fn a_file_gives_the_first_account_at_the_first_start_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, other) = (folder.path().join("password"), folder.path().join("other"));
    fs::write(&file, format!("{PASSWORD}\n")).expect("write the file");
    fs::write(&other, "another horse battery\n").expect("write the file");
    let named = |file: &Path| format!("admin_password_file = {:?}\n", text(file));
    let config = folder.path().join("bonded.toml");
    fs::write(&config, named(&file)).expect("write the file");
    let arguments = ["--config".to_owned(), text(&config).to_owned()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let data = folder.path().to_owned();
    let mut served = Served::start_in(folder, &arguments).await;
    assert_eq!(ping(&served, None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ping(&served, Some(("admin", PASSWORD))).await, StatusCode::OK);
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));

    fs::write(data.join("bonded.toml"), named(&other)).expect("write the file");
    let served = served.again(&arguments).await;
    assert_eq!(ping(&served, Some(("admin", PASSWORD))).await, StatusCode::OK);
    assert_eq!(ping(&served, Some(("admin", "another horse battery"))).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_file_without_a_password_that_will_do_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    let data = folder.path().join("data");
    let start = async || {
        let mut command = bonded(&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)]);
        command.env("BONDED_ADMIN_PASSWORD_FILE", &file);
        refusal(&command.output().await.expect("it starts"))
    };
    let missing = start().await;
    assert!(missing.contains(text(&file)), "{missing}");
    fs::write(&file, "short\n").expect("write the file");
    let weak = start().await;
    assert!(weak.contains(text(&file)) && !weak.contains("short\n"), "{weak}");
}

#[tokio::test]
async fn beyond_loopback_accounts_need_the_one_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, secret) = (folder.path().join("data"), folder.path().join("secret"));
    assert!(add(&data, "root", &["--admin"]).await.status.success());
    let beyond = ["serve", "--listen", "0.0.0.0:0", "--data", text(&data)];
    let unnamed = refusal(&run(&beyond).await);
    assert!(unnamed.contains("auth.secret_file"), "{unnamed}");
    fs::write(&secret, "too short").expect("write the file");
    let mut command = bonded(&beyond);
    command.env("BONDED_AUTH_SECRET_FILE", &secret);
    let short = refusal(&command.output().await.expect("it starts"));
    assert!(short.contains(text(&secret)) && short.contains("32"), "{short}");
}

#[tokio::test]
async fn an_open_server_needs_no_secret_and_asks_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(add(&folder.path().join("data"), "root", &["--admin"]).await.status.success());
    let config = folder.path().join("bonded.toml");
    fs::write(&config, "insecure_anonymous = true\n").expect("write the file");
    let config = text(&config).to_owned();
    let served = Served::start_in(folder, &["--config", &config]).await;
    assert_eq!(ping(&served, None).await, StatusCode::OK);
}
