//! The signature policies of a server: in force before anything can be read, following their file, and never less than
//! what was sound.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bonded::app::{AppBuilder, AppError, Bound, PolicyFile, Reload};
use bonded::clock::{ManualClock, Timestamp};
use bonded::config::{Loaded, Sources};
use bonded::verify::policy::{Finding, InForce};
use tempfile::TempDir;

use crate::cli::{Served, bonded, client, text, until};
use crate::sources;

const START: Timestamp = Timestamp::from_micros(1_793_491_200_000_000);

/// A document with one policy, which asks for signatures by the key in `cosign.pub`.
fn document(readers: &str) -> String {
    format!(
        "apiVersion: trust/v1\npolicies:\n- name: prod\n  match: {{repositories: [\"prod/*\"]}}\n  mode: enforce\n  \
         unverifiedReaders: {readers}\n  authorities: [{{name: release, key: {{file: cosign.pub}}}}]\n  signature: {{}}\n"
    )
}

fn copy_key(folder: &Path, name: &str) {
    fs::copy(sources::root().join("tests/data/signing/keys").join(name), folder.join("cosign.pub")).expect("a key");
}

/// A folder with a document for a registry without accounts, and the key that it names.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_key(folder.path(), "key-p256.pub");
    write(folder.path(), &document("nobody"));
    folder
}

fn write(folder: &Path, document: &str) {
    fs::write(folder.join("policy.yaml"), document).expect("written");
}

/// A server that has its sockets, on a folder with a document.
struct Server {
    bound: Bound,
    clock: Arc<ManualClock>,
}

impl Server {
    async fn bind(folder: &Path, accounts: bool) -> Result<Self, AppError> {
        let mut environment = vec![
            ("BONDED_LIMITS_DISK_FREE_BYTES_MIN".into(), "0".into()),
            ("BONDED_TRUST_POLICY".into(), folder.join("policy.yaml").into_os_string()),
        ];
        if accounts {
            fs::write(folder.join("password"), "correct horse battery\n").expect("written");
            environment.push(("BONDED_ADMIN_PASSWORD_FILE".into(), folder.join("password").into_os_string()));
        }
        let data = folder.join("data");
        let flags = vec![("--data", "data", text(&data).to_owned()), ("--listen", "listen", "127.0.0.1:0".to_owned())];
        let config = Loaded::read(&Sources { environment, flags, file: None }).expect("a valid configuration").config;
        let clock = Arc::new(ManualClock::new(START));
        let app = AppBuilder::new(config).clock(Arc::<ManualClock>::clone(&clock)).open().await?;
        Ok(Self { bound: app.bind().await?, clock })
    }

    fn policies(&self) -> Arc<InForce> {
        self.bound.policies()
    }

    fn file(&self) -> Arc<PolicyFile> {
        self.bound.policy_file().expect("a file is configured")
    }

    /// Looks twice, since what has changed may still be being written.
    fn settle(&self) -> Reload {
        assert_eq!(self.file().reload_now(), Reload::Settling);
        self.file().reload_now()
    }
}

#[tokio::test]
async fn they_are_in_force_before_anything_is_served() {
    let folder = folder();
    let server = Server::bind(folder.path(), false).await.expect("it starts");
    let status = server.policies().status();
    assert_eq!((status.policies, status.since, &status.failed), (1, Some(START), &None));
    assert_eq!(status.revision, server.policies().current().revision());
    assert!(server.policies().current().get("prod").is_some());
    assert_eq!(server.file().reload_now(), Reload::Unchanged);
}

#[tokio::test]
async fn what_cannot_be_used_is_no_start_and_everything_is_said() {
    let folder = folder();
    let refusal = async || Server::bind(folder.path(), false).await.map(drop).expect_err("refused").to_string();
    write(folder.path(), &document("nobody").replace("enforce", "strict").replace("signature", "signatur"));
    let refused = refusal().await;
    assert!(refused.starts_with(text(&folder.path().join("policy.yaml"))), "{refused}");
    for expected in ["policies[0].mode (line 5): `strict` is none of", "nothing is called `signatur` here"] {
        assert!(refused.contains(expected), "{refused}");
    }
    write(folder.path(), &document("nobody").replace("cosign.pub", "gone.pub"));
    assert!(refusal().await.contains("`gone.pub` cannot be read"), "a file that it names");
    fs::remove_file(folder.path().join("policy.yaml")).expect("it was there");
    assert!(refusal().await.contains("the document cannot be read: "));
}

#[tokio::test]
async fn without_accounts_a_policy_that_lets_pushers_read_is_no_start() {
    let folder = folder();
    write(folder.path(), &document("pushers"));
    let refused = Server::bind(folder.path(), false).await.map(drop).expect_err("refused").to_string();
    assert!(refused.contains("policy `prod`") && refused.contains("`unverifiedReaders: pushers`"), "{refused}");
    for readers in ["nobody", "[10.0.0.0/8]"] {
        write(folder.path(), &document(readers));
        Server::bind(folder.path(), false).await.expect("it guards something");
    }
    write(folder.path(), &document("pushers").replace("enforce", "warn"));
    Server::bind(folder.path(), false).await.expect("it refuses nothing anyway");
    write(folder.path(), &document("pushers"));
    let server = Server::bind(folder.path(), true).await.expect("not everybody is one who pushes");
    assert!(!server.bound.is_open());
}

#[tokio::test]
async fn they_follow_the_document_and_the_files_that_it_names() {
    let folder = folder();
    let server = Server::bind(folder.path(), false).await.expect("it starts");
    let (file, policies) = (server.file(), server.policies());
    let first = policies.current();

    server.clock.advance(Duration::from_secs(5));
    write(folder.path(), &document("nobody").replace("prod/*", "prod/**").replace("mode: enforce", "mode: warn"));
    assert_eq!(server.settle(), Reload::Replaced);
    let second = policies.current();
    assert_ne!(first.revision(), second.revision());
    assert_eq!(policies.status().since, Some(START.after(Duration::from_secs(5))));
    assert_eq!(policies.status().warnings.len(), 1, "`prod` itself is left out");
    assert_eq!(file.reload_now(), Reload::Unchanged);

    copy_key(folder.path(), "k-p384.pub");
    assert_eq!(server.settle(), Reload::Replaced);
    assert_ne!(second.revision(), policies.current().revision(), "another key");
    assert_eq!(file.reload_now(), Reload::Unchanged);
}

#[tokio::test]
async fn a_change_counts_when_it_has_been_seen_twice() {
    let folder = folder();
    let server = Server::bind(folder.path(), false).await.expect("it starts");
    let (file, policies) = (server.file(), server.policies());
    let first = policies.current().revision().to_owned();
    // What is written so far is sound, and asks for nothing.
    write(folder.path(), "apiVersion: trust/v1\npolicies: []\n");
    assert_eq!(file.reload_now(), Reload::Settling);
    write(folder.path(), &document("nobody").replace("prod/*", "prod/a"));
    assert_eq!(file.reload_now(), Reload::Settling);
    assert_eq!(policies.current().revision(), first);
    assert_eq!(file.reload_now(), Reload::Replaced);
    assert_eq!(policies.status().policies, 1);
    // What was taken back before anybody saw it twice was never there.
    write(folder.path(), "apiVersion: trust/v1\npolicies: []\n");
    assert_eq!(file.reload_now(), Reload::Settling);
    write(folder.path(), &document("nobody").replace("prod/*", "prod/a"));
    assert_eq!(file.reload_now(), Reload::Unchanged);
    write(folder.path(), "apiVersion: trust/v1\npolicies: []\n");
    assert_eq!(file.reload_now(), Reload::Settling);
}

#[tokio::test]
async fn what_cannot_be_used_leaves_those_before_in_force_and_raises_an_alarm() {
    let folder = folder();
    let server = Server::bind(folder.path(), false).await.expect("it starts");
    let (file, policies) = (server.file(), server.policies());
    let first = policies.current().revision().to_owned();
    let broken = |how: &str, break_it: &dyn Fn(), expected: &str| {
        break_it();
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(server.settle(), Reload::Failed, "{how}");
        assert_eq!(file.reload_now(), Reload::Unchanged, "{how}: it is said once");
        let status = policies.status();
        assert_eq!((&*status.revision, status.since, policies.current().revision()), (&*first, Some(START), &*first));
        let failed = status.failed.expect("an alarm");
        let said: Vec<_> = failed.faults.0.iter().map(Finding::to_string).collect();
        assert!(said.iter().any(|said| said.contains(expected)), "{how}: {said:?}");
    };
    let path = folder.path().join("policy.yaml");
    broken("a fault", &|| write(folder.path(), "apiVersion: trust/v2\npolicies: []\n"), "`trust/v2` is none of");
    broken("another fault", &|| write(folder.path(), "a: ["), "error: line");
    broken(
        "a key that is none",
        &|| {
            write(folder.path(), &document("nobody"));
            fs::write(folder.path().join("cosign.pub"), "no key").expect("written");
        },
        "this key cannot be used",
    );
    broken("no key", &|| fs::remove_file(folder.path().join("cosign.pub")).expect("it was there"), "cannot be read");
    broken("no document", &|| fs::remove_file(&path).expect("it was there"), "the document cannot be read");
    copy_key(folder.path(), "key-p256.pub");
    broken(
        "everybody escapes it",
        &|| write(folder.path(), &document("pushers")),
        "without accounts everybody may push",
    );

    write(folder.path(), &document("nobody"));
    assert_eq!(server.settle(), Reload::Replaced);
    let status = policies.status();
    assert_eq!((status.failed, status.since), (None, Some(START)), "the first ones were in force all the time");
}

/// What the metrics of a server say of its policies.
async fn measured(served: &Served, line: &str) -> bool {
    let answer = client().get(format!("{}/metrics", served.url())).send().await.expect("an answer");
    answer.text().await.expect("a text").lines().any(|found| found == line)
}

#[tokio::test]
async fn a_running_server_looks_by_itself_and_its_metrics_tell() {
    let folder = folder();
    let path = folder.path().to_owned();
    fs::write(path.join("bonded.toml"), format!("[trust]\npolicy = {:?}\n", text(&path.join("policy.yaml"))))
        .expect("written");
    let config = path.join("bonded.toml");
    let mut served = Served::start_in(folder, &["--config", text(&config)]).await;
    assert!(measured(&served, "bonded_policies 1").await && measured(&served, "bonded_policy_document_faulty 0").await);
    write(&path, "nothing of the kind");
    until(async || measured(&served, "bonded_policy_document_faulty 1").await).await;
    assert!(measured(&served, "bonded_policies 1").await, "those before stay in force");
    write(&path, "apiVersion: trust/v1\npolicies: []\n");
    until(async || measured(&served, "bonded_policies 0").await).await;
    assert!(measured(&served, "bonded_policy_document_faulty 0").await);
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why_and_where() {
    let folder = folder();
    write(folder.path(), &document("nobody").replace("enforce", "strict"));
    let data = folder.path().join("data");
    let mut command = bonded(&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)]);
    command.env("BONDED_TRUST_POLICY", folder.path().join("policy.yaml")).stdout(Stdio::null());
    let output = command.output().await.expect("it starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("policy.yaml: the signature policies cannot be used:\nerror: policies[0].mode (line 5)"),
        "{said}"
    );
}

/// What holds is what was read, whatever lies there now.
#[tokio::test]
async fn the_document_in_force_is_told_as_it_was_read() {
    let folder = folder();
    let path = folder.path().to_owned();
    let first = format!("# of the release team\n{}", document("nobody"));
    write(&path, &first);
    fs::write(path.join("bonded.toml"), format!("[trust]\npolicy = {:?}\n", text(&path.join("policy.yaml"))))
        .expect("written");
    let config = path.join("bonded.toml");
    let mut served = Served::start_in(folder, &["--config", text(&config)]).await;
    let url = format!("{}/v2/_trust/policy/document", served.url());
    let told = async || {
        let answer = client().get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        crate::app::json(answer).await
    };
    let held = told().await;
    assert_eq!((held["source"].as_str(), held["document"].as_str()), (Some("file"), Some(&*first)), "{held}");

    write(&path, "nothing of the kind");
    until(async || !told().await["failed"].is_null()).await;
    let still = told().await;
    assert_eq!((&still["document"], &still["revision"]), (&held["document"], &held["revision"]), "{still}");

    let second = "apiVersion: trust/v1\npolicies: [] # none of them\n";
    write(&path, second);
    until(async || told().await["document"] == second).await;
    assert!(told().await["failed"].is_null());
    served.signal("TERM").await;
    assert_eq!(served.end().await, Some(0));
}
