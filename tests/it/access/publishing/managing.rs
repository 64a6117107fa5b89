//! Rules made and ended: over HTTP, at the command line, and what is written down of them.

use bonded::metadata::dump::Cell;
use futures_util::TryStreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::with;
use super::Yard;
use crate::app::{expect, json as body_of};
use crate::cli::{Served, run, run_reading, stdout, text};

/// One that is strong enough.
const PASSWORD: &str = "correct horse battery staple 17";

const RULES: &str = "/api/v1/namespaces/closed/publishers";

fn rule(yard: &Yard) -> Value {
    json!({
        "name": "github", "issuer": yard.issuer.url(), "audience": "bonded.test", "role": "read", "reuse": true,
        "claims": {"repository": "acme/*", "ref": "refs/tags/*"},
    })
}

#[tokio::test]
async fn administrators_of_a_namespace_make_its_rules() {
    let yard = Yard::without_rules(true).await;
    let send = async |who: &str, method: Method, path: &str, body: Option<&Value>, status: StatusCode| {
        let token = yard.town.token(who, &[]).await;
        let request = with(yard.town.app.request(method, path), Some(&token));
        let request = body.map_or(request.try_clone().expect("a request"), |body| request.body(body.to_string()));
        expect(request, status).await
    };
    let new = rule(&yard);
    let one = format!("{RULES}/github");
    for (who, status) in
        [("stranger", StatusCode::NOT_FOUND), ("reader", StatusCode::FORBIDDEN), ("writer", StatusCode::FORBIDDEN)]
    {
        send(who, Method::POST, RULES, Some(&new), status).await;
        send(who, Method::GET, RULES, None, status).await;
        send(who, Method::DELETE, &one, None, status).await;
    }
    expect(yard.town.app.get(RULES), StatusCode::UNAUTHORIZED).await;
    let made = body_of(send("manager", Method::POST, RULES, Some(&new), StatusCode::CREATED).await).await;
    let mut shown = new.clone();
    (shown["has_jwks"], shown["created_at"]) = (json!(false), json!(yard.seconds()));
    assert_eq!(made, shown);
    send("owner", Method::POST, RULES, Some(&new), StatusCode::CONFLICT).await;
    let listed = body_of(send("root", Method::GET, RULES, None, StatusCode::OK).await).await;
    assert_eq!(listed, json!({"publishers": [shown]}));
    send("root", Method::POST, "/api/v1/namespaces/none/publishers", Some(&new), StatusCode::NOT_FOUND).await;
    send("owner", Method::DELETE, &one, None, StatusCode::NO_CONTENT).await;
    send("owner", Method::DELETE, &one, None, StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn rules_that_say_too_little_or_too_much_are_refused() {
    let yard = Yard::without_rules(true).await;
    let token = yard.town.token("owner", &[]).await;
    let mut private = yard.key.public();
    private["d"] = json!("AAAA");
    for (name, value, why) in [
        ("role", json!("owner"), "owners are accounts"),
        ("role", json!("king"), "not a role"),
        ("claims", json!({}), "a claim that tells"),
        ("claims", json!({"repository": "**"}), "a claim that tells"),
        ("claims", json!({"aud": "x"}), "`aud`"),
        ("claims", json!({"ref": "["}), "glob"),
        ("issuer", json!("https://evil.example.com"), "auth.oidc_hosts"),
        ("issuer", json!("http://evil.example.com"), "https://"),
        ("issuer", json!("a b"), "issuer"),
        ("name", json!("a/b"), "name"),
        ("jwks", json!({"keys": [private]}), "private"),
        ("jwks", json!({"keys": []}), "no public key"),
        ("jwks", json!(["keys"]), "not a JWK set"),
        ("jwks", json!({"keys": [yard.key.public()], "more": "a".repeat(20_000)}), "bytes"),
        ("more", json!(1), "more"),
    ] {
        let mut new = rule(&yard);
        new[name] = value;
        let request = with(yard.town.app.post(RULES), Some(&token)).body(new.to_string());
        let refusal = body_of(expect(request, StatusCode::BAD_REQUEST).await).await;
        assert!(refusal["error"].as_str().expect("a text").contains(why), "{refusal}, not {why}");
    }
}

/// Whoever has an account there can have a token for this registry.
#[tokio::test]
async fn a_rule_for_an_issuer_of_everybody_says_whose_job_it_takes() {
    let yard = Yard::without_rules(true).await;
    let token = yard.town.token("owner", &[]).await;
    let keys = json!({"keys": [yard.key.public()]});
    for (issuer, claim, pattern, status) in [
        ("https://token.actions.githubusercontent.com", "ref", "refs/heads/main", StatusCode::BAD_REQUEST),
        ("https://token.actions.githubusercontent.com", "repository", "*/app", StatusCode::BAD_REQUEST),
        ("https://token.actions.githubusercontent.com", "repository", "acme/*", StatusCode::CREATED),
        ("https://gitlab.com", "environment", "production", StatusCode::BAD_REQUEST),
        ("https://gitlab.com", "project_path", "acme/app", StatusCode::CREATED),
        ("https://gitlab.example.com", "environment", "production", StatusCode::CREATED),
    ] {
        let called = format!("r{}", pattern.len() + issuer.len());
        let new = json!({"name": called, "issuer": issuer, "claims": {claim: pattern}, "jwks": keys});
        expect(with(yard.town.app.post(RULES), Some(&token)).body(new.to_string()), status).await;
    }
}

#[tokio::test]
async fn what_happened_is_written_down_without_any_secret() {
    let yard = Yard::build().await;
    let foreign = yard.token(1);
    let token = yard.exchange(&foreign).await;
    let stores = yard.town.app.place.open().await;
    let batches: Vec<_> = stores.metadata.dump().try_collect().await.expect("rows");
    let mut events = Vec::new();
    for batch in batches.iter().filter(|batch| batch.table.name == "audit_events") {
        for row in &batch.rows {
            let texts = row.iter().map(|cell| if let Cell::Text(text) = cell { text.as_str() } else { "" });
            events.push(texts.collect::<Vec<_>>().join(" "));
        }
    }
    let of = |kind: &str| events.iter().find(|event| event.contains(kind)).expect("an event");
    assert!(of("publisher.add").contains("command line") && of("publisher.add").contains("acme/app"));
    let exchanged = of("publisher.exchange");
    for part in ["publisher:closed/ci", "127.0.0.1", r#""repository":"acme/app""#, r#""role":"write""#] {
        assert!(exchanged.contains(part), "{exchanged} has no {part}");
    }
    let secret = |text: &str| text.rsplit('.').next().map(str::to_owned).expect("a signature");
    assert!(events.iter().all(|event| !event.contains(&secret(&foreign)) && !event.contains(&secret(&token))));
}

#[tokio::test]
async fn the_command_line_does_the_same() {
    let served = Served::start(&[]).await;
    let data = served.data();
    let data = ["--data", text(&data)];
    let verb = async |arguments: &[&str]| run(&[arguments, &data[..]].concat()).await;
    let add = [&["user", "add", "ann", "--admin", "--password-stdin"], &data[..]].concat();
    for done in [run_reading(&add, PASSWORD).await, verb(&["ns", "create", "team", "--owner", "ann"]).await] {
        assert!(done.status.success(), "{done:?}");
    }
    let key = super::TestKey::new("one", jsonwebtoken::Algorithm::ES256);
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), json!({"keys": [key.public()]}).to_string()).expect("written");
    let add = ["publisher", "add", "team", "k8s", "--issuer", "https://k8s.local", "--claim", "sub=ci/*"];
    let refused = verb(&add).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("auth.oidc_hosts"), "{refused:?}");
    let added = verb(&[&add[..], &["--jwks", text(keys.path()), "--reuse"]].concat()).await;
    assert_eq!(stdout(&added), "added k8s of team\n", "{added:?}");
    let listed = verb(&["publisher", "ls", "team"]).await;
    assert_eq!(stdout(&listed), "k8s\twrite\thttps://k8s.local\tbonded\tsub=ci/*\treuse\n");
    assert_eq!(stdout(&verb(&["publisher", "rm", "team", "k8s"]).await), "removed k8s of team\n");
    assert_eq!(verb(&["publisher", "rm", "team", "k8s"]).await.status.code(), Some(1));
    let open = verb(&["publisher", "add", "team", "all", "--issuer", "https://k8s.local", "--claim", "sub=**"]).await;
    assert_eq!(open.status.code(), Some(2), "{open:?}");
}
