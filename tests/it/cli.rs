//! The binary as an operator meets it: what it prints, and what it ends with.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};

/// Longest wait for anything a process does; far above what it takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The binary without anything of this process's environment that would configure it.
pub(crate) fn bonded(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bonded"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("BONDED_")) {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Output {
    output(bonded(arguments)).await
}

/// With something to read from standard input.
pub(crate) async fn run_reading(arguments: &[&str], input: &str) -> Output {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input.as_bytes()).and_then(|()| file.rewind()).expect("written");
    let mut command = bonded(arguments);
    command.stdin(file);
    output(command).await
}

async fn output(mut command: Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts")
}

/// Insists on exit code 2 and one sentence, and gives the sentence.
#[track_caller]
pub(crate) fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("bonded: "), "{text}");
    text.trim_end().to_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of visible characters")
}

/// A running server and what it printed.
pub(crate) struct Served {
    child: Child,
    folder: TempDir,
    greeting: Vec<String>,
}

impl Served {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder, arguments).await
    }

    pub(crate) async fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let mut command = bonded(&["serve", "--listen", "127.0.0.1:0", "--data", text(&folder.path().join("data"))]);
        command.args(arguments).env("BONDED_LIMITS_DISK_FREE_BYTES_MIN", "0");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let mut greeting: Vec<String> = Vec::new();
        while greeting.iter().filter(|line| line.starts_with("    ")).count() < 3 {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it prints").expect("UTF-8");
            greeting.push(line.expect("it prints three lines before it ends"));
        }
        Self { child, folder, greeting }
    }

    /// Starts another one on the folder of one that has ended.
    pub(crate) async fn again(self, arguments: &[&str]) -> Self {
        Self::start_in(self.folder, arguments).await
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The address in the first line that was printed.
    pub(crate) fn url(&self) -> &str {
        self.greeting[0].strip_prefix("bonded serves ").expect("the address is in the first line")
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().await;
        assert!(sent.expect("a shell").success());
    }

    pub(crate) async fn end(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("it can be waited for").code()
    }

    /// Pushes an image and gives the paths of its blobs.
    pub(crate) async fn push(&self, repo: &str, image: &ImageBuilder) {
        let client = client();
        for blob in image.blobs() {
            let url = format!("{}/v2/{repo}/blobs/uploads/?digest={}", self.url(), sha256(&blob));
            let answer = client.post(url).body(blob).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        let url = format!("{}/v2/{repo}/manifests/v1", self.url());
        let request = client.put(url).header("content-type", IMAGE_MANIFEST).body(image.manifest());
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::CREATED);
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without options")
}

/// Asks again and again until something holds.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it holds in the end");
}

async fn status_of(url: String) -> StatusCode {
    client().get(url).send().await.expect("an answer").status()
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    let output = run(&["--version"]).await;
    assert!(output.status.success());
    assert!(stdout(&output).starts_with(concat!("bonded ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn the_configuration_is_checked_shown_and_described() {
    let check = run(&["config", "check"]).await;
    assert_eq!((check.status.code(), stdout(&check).as_str()), (Some(0), "ok\n"));
    let mut show = bonded(&["config", "show", "--data", "/srv/x"]);
    // That of whoever asks registries from the same shell stands for no key.
    let show = output_of(show.env("BONDED_LISTEN", "[::1]:5000").env("BONDED_TOKEN", "bonded_pat_x")).await;
    assert!(!show.contains("bonded_pat_x"), "{show}");
    assert!(show.contains("listen = \"[::1]:5000\" # BONDED_LISTEN\n"), "{show}");
    assert!(show.contains("data = \"/srv/x\" # --data\n"), "{show}");
    let schema = stdout(&run(&["config", "schema"]).await);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(schema["additionalProperties"], false);
}

pub(crate) async fn output_of(command: &mut Command) -> String {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    assert!(output.status.success());
    stdout(&output)
}

#[tokio::test]
async fn a_broken_configuration_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bonded.toml");
    fs::write(&file, "lisen = \"x\"\n").expect("write the file");
    for verb in [&["config", "check"][..], &["config", "show"], &["serve"], &["fsck"], &["repo", "ls"]] {
        let output = run(&[verb, &["--config", text(&file)]].concat()).await;
        let sentence = refusal(&output);
        assert!(sentence.contains("bonded.toml:1: `lisen` is not a key; did you mean `listen`?"), "{sentence}");
    }
    let missing = run(&["serve", "--config", text(&folder.path().join("none.toml"))]).await;
    assert!(refusal(&missing).contains("none.toml: the configuration file cannot be read"));
    let mut misspelt = bonded(&["serve"]);
    misspelt.env("BONDED_LISTN", "127.0.0.1:1");
    assert!(refusal(&output(misspelt).await).contains("did you mean BONDED_LISTEN?"));
    let open = run(&["serve", "--listen", "0.0.0.0:0", "--data", text(&folder.path().join("data"))]).await;
    assert!(refusal(&open).contains("`insecure_anonymous = true`"));
}

#[tokio::test]
async fn a_port_in_use_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(&["serve", "--listen", &address, "--data", text(folder.path())]).await;
    let sentence = refusal(&output);
    assert!(sentence.contains(&format!("cannot listen on {address}")) && sentence.contains("--listen"), "{sentence}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file in its place");
    for path in [file.clone(), file.join("below")] {
        let sentence = refusal(&run(&["serve", "--listen", "127.0.0.1:0", "--data", text(&path)]).await);
        assert!(sentence.contains(text(&path)) && sentence.contains("--data"), "{sentence}");
    }
    let data = folder.path().join("data");
    fs::create_dir_all(&data).expect("a folder");
    fs::write(data.join("bonded.db"), "this is no database, but it is long enough to be looked at").expect("a file");
    let sentence = refusal(&run(&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)]).await);
    assert!(sentence.contains("bonded.db: the database cannot be opened"), "{sentence}");
    let absent = refusal(&run(&["fsck", "--data", text(&folder.path().join("never"))]).await);
    assert!(absent.contains("never/bonded.db"), "{absent}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, cert) = (folder.path().join("bonded.toml"), folder.path().join("cert.pem"));
    fs::write(&cert, "no certificate").expect("write a file");
    fs::write(&file, format!("[tls]\ncert = {cert:?}\nkey = {cert:?}\n")).expect("write the file");
    let data = folder.path().join("data");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data), "--config", text(&file)];
    let sentence = refusal(&run(&arguments).await);
    assert!(sentence.contains("cert.pem"), "{sentence}");
}

#[tokio::test]
async fn it_serves_at_the_address_it_prints_and_ends_on_sigterm() {
    let mut served = Served::start(&[]).await;
    assert_eq!(status_of(format!("{}/v2/", served.url())).await, StatusCode::OK);
    assert_eq!(status_of(format!("{}/health/ready", served.url())).await, StatusCode::OK);
    let port = served.url().rsplit(':').next().expect("a port");
    assert_eq!(served.greeting.iter().filter(|line| line.contains(&format!("localhost:{port}/"))).count(), 2);
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
    assert_eq!(fs::read_to_string(served.data().join("lock")).expect("the lock"), "", "left cleanly");
}

#[tokio::test]
async fn https_follows_its_files_on_sighup_and_metrics_have_their_own_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let write_pair = || {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        fs::write(&cert, pair.cert.pem()).expect("write the certificate");
        fs::write(&key, pair.signing_key.serialize_pem()).expect("write the key");
        reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).expect("a certificate")
    };
    let trusting = |certificate: &reqwest::Certificate| {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([certificate.clone()]);
        client.build().expect("a client with a certificate")
    };
    let first = write_pair();
    let file = folder.path().join("bonded.toml");
    let text_of_file = format!("metrics_listen = \"127.0.0.1:0\"\n[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    fs::write(&file, text_of_file).expect("write the file");
    let mut served = Served::start(&["--config", text(&file)]).await;
    let port = served.url().rsplit(':').next().expect("a port");
    let url = format!("https://localhost:{port}/v2/");
    let answer = trusting(&first).get(&url).send().await.expect("an answer over HTTPS");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
    let metrics = trusting(&first).get(format!("https://localhost:{port}/metrics")).send().await.expect("an answer");
    assert_eq!(metrics.status(), StatusCode::NOT_FOUND);

    let second = write_pair();
    served.signal("HUP").await;
    until(async || trusting(&second).get(&url).send().await.is_ok()).await;
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
}

#[tokio::test]
async fn a_second_server_on_the_folder_is_refused() {
    let mut served = Served::start(&[]).await;
    let sentence = refusal(&run(&["serve", "--listen", "127.0.0.1:0", "--data", text(&served.data())]).await);
    let process = served.child.id().expect("it runs").to_string();
    assert!(sentence.contains(text(&served.data())) && sentence.contains(&process), "{sentence}");
    served.signal("INT").await;
    assert_eq!(served.end().await, Some(0));
}

#[tokio::test]
async fn a_push_under_way_is_finished_while_readiness_is_gone() {
    let mut served = Served::start(&[]).await;
    let blob = b"the last blob".to_vec();
    let address = served.url().strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("it listens");
    let head = format!(
        "POST /v2/late/blobs/uploads/?digest={} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
        sha256(&blob),
        blob.len()
    );
    stream.write_all(&[head.as_bytes(), &blob[..5]].concat()).await.expect("it reads");
    // The first bytes must have reached the server before the signal does.
    until(async || metrics(&served).await.contains("bonded_http_requests_in_flight 2")).await;
    served.signal("TERM").await;
    let ready = format!("{}/health/ready", served.url());
    until(async || status_of(ready.clone()).await == StatusCode::SERVICE_UNAVAILABLE).await;
    stream.write_all(&blob[5..]).await.expect("it still reads");
    let answer = BufReader::new(stream).lines().next_line().await.expect("an answer").expect("a status line");
    assert_eq!(answer, "HTTP/1.1 201 Created");
    assert_eq!(served.end().await, Some(0));
}

async fn metrics(served: &Served) -> String {
    let answer = client().get(format!("{}/metrics", served.url())).send().await.expect("an answer");
    answer.text().await.expect("a body")
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut served = Served::start(&[]).await;
    let address = served.url().strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("it listens");
    let head = format!("POST /v2/late/blobs/uploads/?digest={} HTTP/1.1\r\nHost: {address}\r\n", sha256(b"never"));
    let head = format!("{head}Content-Length: 5\r\n\r\nne");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    until(async || metrics(&served).await.contains("bonded_http_requests_in_flight 2")).await;
    served.signal("TERM").await;
    let ready = format!("{}/health/ready", served.url());
    until(async || status_of(ready.clone()).await == StatusCode::SERVICE_UNAVAILABLE).await;
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(1));
}

#[tokio::test]
async fn verbs_work_beside_a_running_server() {
    let served = Served::start(&[]).await;
    let image = ImageBuilder::new().layer(&vec![7; 100_000]);
    served.push("team/app", &image).await;
    served.push("team/other", &ImageBuilder::new().layer(b"small")).await;
    let data = served.data();
    let data = ["--data", text(&data)];

    let listed = run(&[&["repo", "ls"], &data[..]].concat()).await;
    assert_eq!(stdout(&listed), "team/app\nteam/other\n");
    let checked = run(&[&["fsck", "--rehash"], &data[..]].concat()).await;
    assert_eq!((checked.status.code(), stdout(&checked).as_str()), (Some(0), ""));

    let removed = run(&[&["repo", "rm", "team/app"], &data[..]].concat()).await;
    assert!(removed.status.success(), "{removed:?}");
    assert!(stdout(&removed).starts_with("removed team/app: "), "{removed:?}");
    assert_eq!(status_of(format!("{}/v2/team/app/manifests/v1", served.url())).await, StatusCode::NOT_FOUND);
    let again = run(&[&["repo", "rm", "team/app"], &data[..]].concat()).await;
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(run(&[&["repo", "rm", "Not A Name"], &data[..]].concat()).await.status.code(), Some(2));
}

#[tokio::test]
async fn usage_is_printed_for_people_and_programs() {
    let served = Served::start(&[]).await;
    let shared = vec![1; 100_000];
    served.push("team/app", &ImageBuilder::new().layer(&shared).layer(&vec![2; 1 << 20])).await;
    served.push("team/other", &ImageBuilder::new().layer(&shared)).await;
    served.push("else", &ImageBuilder::new()).await;
    let data = served.data();
    let data = ["--data", text(&data)];
    let people = stdout(&run(&[&["du"], &data[..]].concat()).await);
    let lines: Vec<Vec<&str>> = people.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["TOTAL", "SHARED", "OWN", "REPOSITORY"]);
    assert_eq!(lines[1], ["2", "B", "2", "B", "0", "B", "else"]);
    assert_eq!(lines[2], ["1.09", "MiB", "97.6", "KiB", "1.00", "MiB", "team/app"]);
    assert_eq!(lines[3], ["97.6", "KiB", "97.6", "KiB", "0", "B", "team/other"]);
    assert_eq!(lines[4].join(" "), "1.09 MiB 3 repositories, 3 blobs, each counted once");
    let programs = run(&[&["du", "*/other", "-o", "json"], &data[..]].concat()).await;
    let lines = json_lines(&programs);
    let other = json!({"repository": "team/other", "manifests": 1, "blobs": 2, "bytes": 100_002,
        "shared_bytes": 100_002, "own_bytes": 0});
    assert_eq!(lines, [other, json!({"total": {"repositories": 1, "blobs": 2, "bytes": 100_002}})]);
    assert_eq!(run(&[&["du", "a["], &data[..]].concat()).await.status.code(), Some(2));
}

fn json_lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{output:?}");
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn collection_is_previewed_and_hurried_beside_a_server() {
    let served = Served::start(&[]).await;
    served.push("team/app", &ImageBuilder::new().layer(&vec![1; 100_000])).await;
    let data = served.data();
    let gc = async |arguments: &[&str]| {
        let mut command = bonded(&[&["gc", "--data", text(&data)], arguments].concat());
        command.env("BONDED_RETENTION_UNTAGGED", "0s");
        output(command).await
    };
    let preview = gc(&["--dry-run"]).await;
    assert_eq!((preview.status.code(), stdout(&preview).as_str()), (Some(0), "nothing would go\n"));
    assert_eq!(json_lines(&gc(&["--dry-run", "-o", "json"]).await), [json!({"total": {}})]);
    let done = json_lines(&gc(&["--now", "-o", "json"]).await);
    assert_eq!((&done[0]["blobs"], &done[0]["waiting_objects"]), (&json!(0), &json!(0)));
    let done = stdout(&gc(&["--now"]).await);
    assert_eq!(done.lines().count(), 5, "{done}");
    assert!(done.starts_with("0 sessions expired\n"), "{done}");
    assert_eq!(status_of(format!("{}/v2/team/app/manifests/v1", served.url())).await, StatusCode::OK);
    for wrong in [&[][..], &["--now", "--dry-run"]] {
        assert_eq!(gc(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn fsck_prints_one_line_for_each_finding() {
    let mut served = Served::start(&[]).await;
    served.push("team/app", &ImageBuilder::new().layer(&vec![9; 100_000])).await;
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
    let data = served.data();
    fs::remove_file(large_file(&data.join("blobs"))).expect("it can be removed");
    let checked = run(&["fsck", "--data", text(&data)]).await;
    let findings = stdout(&checked);
    assert_eq!((checked.status.code(), findings.lines().count()), (Some(1), 1), "{findings}");
    assert!(findings.starts_with("I1: blob sha256:"), "{findings}");
}

/// The one file above 64 KiB below a folder.
fn large_file(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.metadata().expect("its kind");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.len() > 64 << 10 {
                return entry.path();
            }
        }
    }
    panic!("there is no large file");
}

#[tokio::test]
async fn after_an_unclean_stop_without_strict_durability_lost_bytes_are_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bonded.toml");
    fs::write(&file, "durability = \"relaxed\"\n").expect("write the file");
    let mut served = Served::start_in(folder, &["--config", text(&file)]).await;
    let layer = vec![3; 100_000];
    served.push("team/app", &ImageBuilder::new().layer(&layer)).await;
    served.child.kill().await.expect("it can be killed");
    // What a power cut does to pages that were not written back.
    let lost = large_file(&served.data().join("blobs"));
    fs::write(lost, vec![0; layer.len()]).expect("it can be overwritten");
    let served = Served::start_in(served.folder, &["--config", text(&file)]).await;
    let blob = format!("{}/v2/team/app/blobs/{}", served.url(), sha256(&layer));
    assert_eq!(status_of(blob).await, StatusCode::SERVICE_UNAVAILABLE);
}
