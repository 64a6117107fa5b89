//! How the first account comes, with the binary: by a command before or beside the server, or by a file at its start.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

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
    let shown = stdout(&run(&["user", "show", "reader", "-o", "json", "--data", text(&served.data())]).await);
    assert!(shown.contains(r#""kind":"user""#) && !shown.contains("argon2"), "{shown}");
    let nobody = failure(&run(&["user", "show", "nobody", "--data", text(&served.data())]).await);
    assert!(nobody.contains("there is no account `nobody`"), "{nobody}");
}

#[tokio::test]
async fn robots_are_listed_and_disabled() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    assert!(add(&data, "root", &["--admin"]).await.status.success());
    let run = async |arguments: &[&str]| run(&[arguments, &["--data", text(&data)]].concat()).await;
    assert!(run(&["ns", "create", "team", "--owner", "root"]).await.status.success());
    assert!(run(&["robot", "add", "team", "ci"]).await.status.success());
    assert_eq!(stdout(&run(&["robot", "ls", "team"]).await), "team+ci\twrite\n");
    assert!(run(&["robot", "disable", "team+ci"]).await.status.success());
    assert_eq!(stdout(&run(&["robot", "ls", "team"]).await), "team+ci\twrite\tdisabled\n");
    assert!(run(&["robot", "enable", "team+ci"]).await.status.success());
    let listed = stdout(&run(&["robot", "ls", "team", "-o", "json"]).await);
    assert_eq!(listed, "{\"disabled\":false,\"name\":\"team+ci\",\"role\":\"write\"}\n");
    let nowhere = failure(&run(&["robot", "ls", "nowhere"]).await);
    assert!(nowhere.contains("there is no namespace `nowhere`"), "{nowhere}");
    for verb in ["promote", "passwd"] {
        let more = if verb == "passwd" { &["--password-stdin"][..] } else { &[] };
        let refused = run(&[&["user", verb, "team+ci"], more].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "a robot has neither");
    }
    assert_eq!(run(&["robot", "disable", "root"]).await.status.code(), Some(2), "it is no robot");
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

#[tokio::test]
async fn a_first_account_that_would_stop_the_server_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, secret) = (folder.path().join("bonded.toml"), folder.path().join("secret"));
    let data = folder.path().join("data");
    let beyond = "listen = \"0.0.0.0:8080\"\n";
    fs::write(&config, beyond).expect("write the file");
    let arguments = ["--admin", "--config", text(&config)];
    for _ in 0..2 {
        let refused = refusal(&add(&data, "root", &arguments).await);
        assert!(refused.contains("auth.secret_file"), "{refused}");
    }
    assert_eq!(stdout(&run(&["user", "ls", "--data", text(&data)]).await), "");
    fs::write(&secret, [b's'; 32]).expect("write the file");
    fs::write(&config, format!("{beyond}[auth]\nsecret_file = {:?}\n", text(&secret))).expect("write the file");
    let added = add(&data, "root", &arguments).await;
    assert!(added.status.success(), "{added:?}");
}

#[tokio::test]
async fn accounts_of_an_open_server_are_made_as_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, file) = (folder.path().join("bonded.toml"), folder.path().join("password"));
    let data = folder.path().join("data");
    fs::write(&file, PASSWORD).expect("write the file");
    let open = format!("insecure_anonymous = true\nadmin_password_file = {:?}\n", text(&file));
    fs::write(&config, open).expect("write the file");
    let bob = failure(&add(&data, "bob", &["--config", text(&config)]).await);
    assert!(bob.contains("--admin"), "{bob}");
    // Beyond loopback there is no secret, and nobody needs one.
    let mut command = bonded(&["serve", "--listen", "0.0.0.0:0", "--data", text(&data), "--config", text(&config)]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut greeting = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
    assert!(greeting.next_line().await.expect("UTF-8").is_some_and(|line| line.starts_with("bonded serves ")));
    let added = add(&data, "bob", &["--config", text(&config)]).await;
    assert!(added.status.success(), "{added:?}");
    let listed = stdout(&run(&["user", "ls", "--data", text(&data)]).await);
    assert!(listed.contains("admin") && listed.contains("bob"), "{listed}");
}

#[tokio::test]
async fn the_keys_are_shown_after_a_restart() {
    let mut served = Served::start(&[]).await;
    assert!(add(&served.data(), "root", &["--admin"]).await.status.success());
    until(async || ping(&served, None).await == StatusCode::UNAUTHORIZED).await;
    let token = client().get(format!("{}/v2/token", served.url())).basic_auth("root", Some(PASSWORD));
    assert_eq!(token.send().await.expect("an answer").status(), StatusCode::OK);
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
    let served = served.again(&[]).await;
    let keys = client().get(format!("{}/.well-known/jwks.json", served.url())).send().await.expect("an answer");
    let keys: Value = serde_json::from_slice(&keys.bytes().await.expect("a body")).expect("JSON");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
}
