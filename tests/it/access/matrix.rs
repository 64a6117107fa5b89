//! Every identity, every action, every kind of repository, as one table.

use std::fmt::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Town, with};
use crate::app::{TestApp, expect};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};

/// What is done, with its method and path.
fn actions(repo: &str) -> Vec<(&'static str, Method, String)> {
    let layer = sha256(b"layer");
    vec![
        ("manifest", Method::GET, format!("/v2/{repo}/manifests/v1")),
        ("look", Method::HEAD, format!("/v2/{repo}/manifests/v1")),
        ("blob", Method::GET, format!("/v2/{repo}/blobs/{layer}")),
        ("tags", Method::GET, format!("/v2/{repo}/tags/list")),
        ("referrers", Method::GET, format!("/v2/{repo}/referrers/{layer}")),
        ("upload", Method::POST, format!("/v2/{repo}/blobs/uploads/")),
        ("push", Method::PUT, format!("/v2/{repo}/manifests/v2")),
        ("untag", Method::DELETE, format!("/v2/{repo}/manifests/v2")),
    ]
}

async fn status(app: &TestApp, token: Option<&str>, action: &(&str, Method, String)) -> StatusCode {
    let (name, method, path) = action;
    let request = with(app.request(method.clone(), path), token);
    let request = if *name == "push" {
        let image = ImageBuilder::new().layer(b"layer");
        request.header("content-type", IMAGE_MANIFEST).body(image.manifest())
    } else {
        request
    };
    request.send().await.expect("the server answers").status()
}

#[tokio::test]
async fn every_identity_may_do_what_it_may_and_nothing_else() {
    let town = Town::build().await;
    let anonymous = town.exchange(None, &["repository:open/app:pull", "repository:closed/app:pull"]).await;
    let mut identities = vec![
        ("nobody".to_owned(), None),
        ("anonymous".to_owned(), Some(anonymous["token"].as_str().expect("a token").to_owned())),
        ("rubbish".to_owned(), Some("bonded_nothing".to_owned())),
    ];
    for name in ["stranger", "reader", "writer", "manager", "owner", "root"] {
        identities.push((name.to_owned(), Some(town.token(name, &[]).await)));
    }
    identities.push(("owner, pull".to_owned(), Some(town.token("owner", &["**:pull"]).await)));
    identities.push(("root, open/*".to_owned(), Some(town.token("root", &["open/*:*"]).await)));
    let mut table = String::new();
    for repo in ["open/app", "closed/app", "closed/none", "loose", "none"] {
        let names = actions(repo).into_iter().map(|(name, ..)| name);
        write!(table, "{repo:<14} ").expect("a text");
        for name in names {
            write!(table, "{name:>9}").expect("a text");
        }
        table.push('\n');
        for (identity, token) in &identities {
            let mut line = String::new();
            for action in actions(repo) {
                write!(line, "{:>9}", status(&town.app, token.as_deref(), &action).await.as_u16()).expect("a text");
            }
            writeln!(table, "  {identity:<12} {line}").expect("a text");
        }
    }
    insta::assert_snapshot!(table);
}

/// To a stranger the two are the same, byte for byte and call for call.
#[tokio::test]
async fn a_private_repository_is_one_that_is_not_there() {
    let town = Town::build().await;
    let stranger = town.token("stranger", &[]).await;
    let scopes = ["repository:closed/app:pull,push", "repository:closed/new:pull,push"];
    let granted = town.exchange(Some(&stranger), &scopes).await;
    let exchanged = granted["token"].as_str().expect("a token").to_owned();
    for token in [None, Some(stranger.as_str()), Some(exchanged.as_str())] {
        for (there, missing) in actions("closed/app").into_iter().zip(actions("closed/new")) {
            let (one, other) = (seen(&town.app, token, &there).await, seen(&town.app, token, &missing).await);
            assert_eq!(one.shown.replace("closed/app", "closed/new"), other.shown, "{}", there.0);
            assert_eq!((one.statements, one.storage), (other.statements, 0), "{}", there.0);
        }
    }
    let catalog = with(town.app.get("/v2/_catalog"), Some(&stranger)).send().await.expect("an answer");
    assert_eq!(catalog.text().await.expect("a body"), r#"{"repositories":["open/app"]}"#);
}

/// The same in a namespace where everybody may pull from what is not there.
#[tokio::test]
async fn a_hidden_repository_of_a_public_namespace_is_one_that_is_not_there() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    let hide = town.app.put("/api/v1/repositories/open/app").json(&json!({"visibility": "private"}));
    expect(with(hide, Some(&root)), StatusCode::NO_CONTENT).await;
    let stranger = town.token("stranger", &[]).await;
    let narrow = town.token("stranger", &["closed/**:pull"]).await;
    let mut tokens = vec![None, Some(stranger.clone()), Some(narrow.clone())];
    let both = &["repository:open/app:pull,push", "repository:open/new:pull,push"][..];
    for credentials in [None, Some(stranger.as_str()), Some(narrow.as_str())] {
        for scopes in [both, &[]] {
            let granted = town.exchange(credentials, scopes).await;
            tokens.push(Some(granted["token"].as_str().expect("a token").to_owned()));
        }
    }
    for token in &tokens {
        for (there, missing) in actions("open/app").into_iter().zip(actions("open/new")) {
            let one = seen(&town.app, token.as_deref(), &there).await;
            let other = seen(&town.app, token.as_deref(), &missing).await;
            assert_eq!(one.shown.replace("open/app", "open/new"), other.shown, "{}", there.0);
            assert_eq!((one.statements, one.storage), (other.statements, 0), "{}", there.0);
        }
    }
    let reader = town.token("reader", &[]).await;
    expect(with(town.app.get("/v2/open/app/manifests/v1"), Some(&reader)), StatusCode::OK).await;
}

struct Seen {
    shown: String,
    statements: u64,
    storage: u64,
}

/// Everything that somebody can tell of an answer, and what it cost.
async fn seen(app: &TestApp, token: Option<&str>, (_, method, path): &(&str, Method, String)) -> Seen {
    let calls = || {
        let storage: u64 = bonded::storage::layers::Operation::ALL
            .into_iter()
            .map(|operation| app.storage_faults.calls(operation))
            .sum();
        (app.metadata_faults.calls().into_values().sum::<u64>(), storage)
    };
    // Asked once before, so that what is remembered is remembered for both.
    with(app.request(method.clone(), path), token).send().await.expect("an answer");
    let before = calls();
    let answer = with(app.request(method.clone(), path), token).send().await.expect("an answer");
    let after = calls();
    let mut headers: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date" && *name != "x-request-id")
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("visible")))
        .collect();
    headers.sort();
    let status = answer.status();
    let body = answer.text().await.expect("a body");
    Seen {
        shown: format!("{status}\n{}\n{body}", headers.join("\n")),
        statements: after.0 - before.0,
        storage: after.1 - before.1,
    }
}
