//! What the record of what happened says of requests, who may read it, and what never gets into it.

use std::time::Duration;

use bonded::audit::Audit;
use bonded::auth::Given;
use bonded::metadata::model::accounts::Actor;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Town, user, with};
use crate::app::{TestApp, expect, json as body_of};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";
const MINUTE: Duration = Duration::from_mins(1);

impl Town {
    fn audit(&self) -> &Audit {
        self.app.auth.audit()
    }

    /// Gives an account a password.
    async fn secret(&self, name: &str, password: &str) {
        let given = Given::Plain(SecretString::from(password));
        self.app.auth.set_password(&user(name), given, &Actor::command_line()).await.expect("a password");
    }

    /// Events of a kind, the newest first, as somebody sees them who may.
    async fn events(&self, root: &str, query: &str) -> Vec<Value> {
        let answer = expect(self.app.get(&format!("/api/v1/audit?{query}")).bearer_auth(root), StatusCode::OK).await;
        body_of(answer).await["events"].as_array().expect("events").clone()
    }
}

fn numbered(request: RequestBuilder, id: &str) -> RequestBuilder {
    request.header("x-request-id", id)
}

/// Who, from where, by which request, and to what.
fn who(event: &Value) -> [&str; 5] {
    ["kind", "actor", "address", "request_id", "subject"].map(|field| event[field].as_str().unwrap_or("-"))
}

#[tokio::test]
async fn logins_tokens_roles_pushes_and_deletes_say_who_where_and_by_which_request() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    town.secret("owner", "long enough: 4711").await;
    let as_owner =
        |request: RequestBuilder, id: &str| numbered(request.basic_auth("owner", Some("long enough: 4711")), id);
    let app = &town.app;
    let body = json!({"username": "owner", "password": "long enough: 4711"});
    expect(numbered(app.post("/api/v1/auth/login").json(&body), "q1"), StatusCode::OK).await;
    expect(as_owner(app.get("/v2/"), "q2"), StatusCode::OK).await;
    expect(as_owner(app.get("/v2/"), "q3"), StatusCode::OK).await;
    let made =
        expect(as_owner(app.post("/api/v1/tokens").json(&json!({"name": "ci"})), "q4"), StatusCode::CREATED).await;
    let made = body_of(made).await;
    let token = format!("/api/v1/tokens/{}", made["id"].as_str().expect("a number"));
    for id in ["t1", "t2"] {
        let request = app.get("/v2/").bearer_auth(made["token"].as_str().expect("a token"));
        expect(numbered(request, id), StatusCode::OK).await;
    }
    expect(as_owner(app.delete(&token), "q5"), StatusCode::NO_CONTENT).await;
    let member = "/api/v1/namespaces/closed/members/stranger";
    let given = app.put(member).json(&json!({"role": "read"}));
    assert!(as_owner(given, "q6").send().await.expect("an answer").status().is_success());
    let image = ImageBuilder::new().layer(b"layer").annotation("note", "another");
    for blob in image.blobs() {
        let path = format!("/v2/closed/app/blobs/uploads/?digest={}", sha256(&blob));
        expect(as_owner(app.post(&path).body(blob), "q7"), StatusCode::CREATED).await;
    }
    let put = app.put(MANIFEST).header("content-type", IMAGE_MANIFEST).body(image.manifest());
    expect(as_owner(put, "q8"), StatusCode::CREATED).await;
    expect(as_owner(app.delete(MANIFEST), "q9"), StatusCode::ACCEPTED).await;

    let mut events = town.events(&root, "actor=owner").await;
    events.reverse();
    let at = app.address.ip().to_string();
    let pushed = format!("closed/app@{}", sha256(&image.manifest()));
    let expected = [
        ["login", "owner", &at, "q1", "owner"],
        ["login", "owner", &at, "q2", "owner"],
        ["token.add", "owner", &at, "q4", "owner"],
        ["token.delete", "owner", &at, "q5", "owner"],
        ["role.grant", "owner", &at, "q6", "closed"],
        ["manifest.push", "owner", &at, "q8", &pushed],
        ["tag.move", "owner", &at, "q8", "closed/app:v1"],
        ["tag.delete", "owner", &at, "q9", "closed/app:v1"],
    ];
    let (logins, rest): (Vec<_>, Vec<_>) = events.iter().map(who).partition(|event| event[0] == "login");
    assert_eq!([&logins[..2], &rest[..]].concat(), expected);
    // With each change of a right, passwords are looked at again.
    assert!(logins.iter().all(|login| !["q3", "t2"].contains(&login[3])), "it is remembered");
    assert!(logins.contains(&["login", "owner", &at, "t1", "owner"]), "{logins:?}");
}

#[tokio::test]
async fn refusals_are_one_event_a_minute_with_their_number() {
    let town = Town::found(TestApp::builder().clients(|limits| limits.logins.per_account = 100).start().await).await;
    let root = town.token("root", &[]).await;
    let reader = town.token("reader", &[]).await;
    let narrow = town.token("writer", &["other/**:pull"]).await;
    town.secret("owner", "long enough: 4711").await;
    for number in 0..20 {
        let id = format!("r{number}");
        let wrong = town.app.get("/v2/").basic_auth("owner", Some(format!("wrong {number}")));
        expect(numbered(wrong, &id), StatusCode::UNAUTHORIZED).await;
        expect(town.app.post("/v2/closed/app/blobs/uploads/").bearer_auth(&reader), StatusCode::FORBIDDEN).await;
        expect(town.app.get("/api/v1/users").bearer_auth(&reader), StatusCode::FORBIDDEN).await;
    }
    expect(town.app.get(MANIFEST).bearer_auth(&narrow), StatusCode::UNAUTHORIZED).await;
    expect(town.app.delete(MANIFEST), StatusCode::UNAUTHORIZED).await;
    expect(town.app.get("/api/v1/users"), StatusCode::UNAUTHORIZED).await;
    expect(town.app.get("/v2/").basic_auth("p4ssw0rd", Some("typed into the wrong field")), StatusCode::UNAUTHORIZED)
        .await;
    // What any client does before it knows that it has to say who it is.
    expect(town.app.get(MANIFEST), StatusCode::UNAUTHORIZED).await;
    expect(town.app.get("/v2/"), StatusCode::UNAUTHORIZED).await;

    town.audit().flush(false).await.expect("flushed");
    let none: Vec<Value> = Vec::new();
    assert_eq!(town.events(&root, "kind=refused").await, none, "the minute is not over");
    town.app.clock.advance(MINUTE);
    town.audit().flush(false).await.expect("flushed");
    town.audit().flush(false).await.expect("flushed again");

    let at = town.app.address.ip().to_string();
    let mut found: Vec<Value> = Vec::new();
    for kind in ["refused", "login.refused"] {
        for event in town.events(&root, &format!("kind={kind}")).await {
            assert_eq!(event["address"], json!(at));
            let detail = &event["detail"];
            assert_eq!(detail["minute"], json!("2026-11-01T00:00:00Z"));
            found.push(json!([event["actor"], event["subject"], detail["action"], detail["count"]]));
        }
    }
    found.sort_by_key(Value::to_string);
    let mut expected = vec![
        json!(["reader", "reader", "push", 20]),
        json!(["reader", "reader", "GET /api/v1/users", 20]),
        json!(["writer", "writer", "pull", 1]),
        json!([null, at, "delete", 1]),
        json!([null, at, "GET /api/v1/users", 1]),
        json!([null, "owner", "login", 20]),
        json!([null, "-", "login", 1]),
    ];
    expected.sort_by_key(Value::to_string);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn only_those_who_may_do_everything_read_it_and_page_by_page() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    let narrow = town.token("root", &["**:*"]).await;
    for path in ["/api/v1/audit", "/api/v1/audit/verify"] {
        expect(town.app.get(path), StatusCode::UNAUTHORIZED).await;
        for name in ["owner", "manager", "stranger"] {
            let token = town.token(name, &[]).await;
            expect(town.app.get(path).bearer_auth(token), StatusCode::FORBIDDEN).await;
        }
        expect(town.app.get(path).bearer_auth(&narrow), StatusCode::FORBIDDEN).await;
        expect(town.app.get(path).bearer_auth(&root), StatusCode::OK).await;
    }
    let all = town.events(&root, "n=1000").await;
    let (mut paged, mut last): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let after = last.map_or_else(String::new, |last| format!("&last={last}"));
        let page = expect(town.app.get(&format!("/api/v1/audit?n=4{after}")).bearer_auth(&root), StatusCode::OK).await;
        let page = body_of(page).await;
        let events = page["events"].as_array().expect("events");
        assert!(events.len() <= 4);
        paged.extend(events.iter().cloned());
        match page["next"].as_str() {
            Some(next) => last = Some(next.to_owned()),
            None => break,
        }
    }
    assert!(all.len() > 10);
    assert_eq!(paged, all);
    let grants = town.events(&root, "kind=role.grant&subject=closed&since=2026-10-31T00:00:00Z").await;
    assert_eq!(grants.len(), 3);
    assert_eq!(town.events(&root, "until=2026-10-31T00:00:00Z").await.len(), 0);
    for wrong in ["since=yesterday", "last=x", "kind=%00", "n=-1"] {
        expect(town.app.get(&format!("/api/v1/audit?{wrong}")).bearer_auth(&root), StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn the_chain_is_verified_over_http() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    let verify = async |query: &str, status| {
        let request = town.app.get(&format!("/api/v1/audit/verify{query}")).bearer_auth(&root);
        body_of(expect(request, status).await).await
    };
    let before = verify("", StatusCode::OK).await;
    let waiting = before["unsealed"].as_u64().expect("a number");
    assert!((before["ok"].as_bool(), before["sealed"].as_i64(), waiting > 10) == (Some(true), Some(0), true));
    while town.audit().seal().await.expect("sealed") {}
    let after = verify("", StatusCode::OK).await;
    assert_eq!((&after["ok"], &after["sealed"], &after["unsealed"]), (&json!(true), &json!(waiting), &json!(0)));
    let last = after["last"].as_str().expect("a place");
    assert_eq!(verify(&format!("?expect={last}"), StatusCode::OK).await["ok"], json!(true));
    let another = format!("?expect={waiting}:{}", "0".repeat(64));
    let broken = verify(&another, StatusCode::OK).await;
    assert_eq!((&broken["ok"], &broken["broken"]["sequence"]), (&json!(false), &json!(waiting)));
    verify("?expect=nonsense", StatusCode::BAD_REQUEST).await;
    let sealed = &town.events(&root, "n=1").await[0];
    assert_eq!(last, format!("{}:{}", sealed["sequence"], sealed["hash"].as_str().expect("a hash")));
}

/// Everything that somebody may send as a secret, sent wherever it is taken, and where it is not.
#[tokio::test]
async fn no_secret_gets_into_it() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    town.secret("owner", "hush-owner-1").await;
    let app = &town.app;
    let as_root = |method: Method, path: &str, body: Value| app.request(method, path).bearer_auth(&root).json(&body);
    let mut secrets = vec![root.clone()];
    let new = json!({"name": "newcomer", "password": "hush-new-2"});
    expect(as_root(Method::POST, "/api/v1/users", new), StatusCode::CREATED).await;
    let set = json!({"new": "hush-set-3"});
    expect(as_root(Method::PUT, "/api/v1/users/newcomer/password", set), StatusCode::NO_CONTENT).await;
    let own = app.put("/api/v1/users/owner/password").basic_auth("owner", Some("hush-owner-1"));
    let change = json!({"old": "hush-owner-1", "new": "hush-owner-4"});
    expect(own.json(&change), StatusCode::NO_CONTENT).await;
    let wrong = app.put("/api/v1/users/owner/password").basic_auth("owner", Some("hush-owner-4"));
    let answer = wrong.json(&json!({"old": "hush-wrong-5", "new": "hush-owner-6"})).send().await.expect("an answer");
    assert!(answer.status().is_client_error());
    for path in ["/api/v1/auth/login", "/api/v1/auth/register"] {
        for name in ["owner", "hush-name-7"] {
            let body = json!({"username": name, "password": "hush-login-8", "email": "a@b.example"});
            assert!(app.post(path).json(&body).send().await.expect("an answer").status().is_client_error());
        }
    }
    let login = json!({"username": "owner", "password": "hush-owner-4"});
    let login = body_of(expect(app.post("/api/v1/auth/login").json(&login), StatusCode::OK).await).await;
    let mut login = login["token"].as_str().expect("a token").to_owned();
    expect(app.post("/api/v1/auth/verify").json(&json!({"token": login})), StatusCode::OK).await;
    expect(app.post("/api/v1/auth/verify").json(&json!({"token": "hush-verify-9"})), StatusCode::OK).await;
    secrets.push(login.clone());
    let renewed = expect(app.post("/api/v1/auth/refresh").bearer_auth(&login), StatusCode::OK).await;
    login = body_of(renewed).await["token"].as_str().expect("a token").to_owned();
    secrets.push(login.clone());
    expect(app.post("/api/v1/auth/logout").bearer_auth(&login), StatusCode::NO_CONTENT).await;
    let made = expect(as_root(Method::POST, "/api/v1/tokens", json!({"name": "ci"})), StatusCode::CREATED).await;
    secrets.push(body_of(made).await["token"].as_str().expect("a token").to_owned());
    let offline = app.get("/v2/token?offline_token=true&scope=repository:closed/app:pull,push&account=hush-account-10");
    let offline = expect(offline.basic_auth("owner", Some("hush-owner-4")), StatusCode::OK).await;
    let offline = body_of(offline).await;
    for field in ["token", "refresh_token"] {
        secrets.push(offline[field].as_str().expect("a token").to_owned());
    }
    for form in [
        "grant_type=password&username=owner&password=hush-owner-4&access_type=offline&client_id=hush-client-11",
        "grant_type=password&username=owner&password=hush-form-12",
        "grant_type=refresh_token&refresh_token=hush-refresh-13",
        "grant_type=hush-grant-14",
    ] {
        let form = app.post("/v2/token").header("content-type", "application/x-www-form-urlencoded").body(form);
        form.send().await.expect("an answer");
    }
    everywhere_with_wrong_secrets(app).await;
    push(app, &secrets[4]).await;

    town.audit().flush(true).await.expect("flushed");
    while town.audit().seal().await.expect("sealed") {}
    let events = town.audit().chain(0).await.expect("a chain");
    let kinds = ["login", "login.refused", "token.add", "user.password", "manifest.push", "refused"];
    for kind in kinds {
        assert!(events.iter().any(|event| event.kind == kind), "no {kind}");
    }
    for event in &events {
        let text = format!("{event:?} {}", event.to_json());
        assert!(!text.contains("hush"), "{text}");
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{text}");
        assert!(!text.contains("bonded_") && !text.contains("eyJ") && !text.contains("$argon2"), "{text}");
    }
}

async fn everywhere_with_wrong_secrets(app: &TestApp) {
    let paths = [
        "/v2/",
        "/v2/_catalog",
        "/v2/token",
        MANIFEST,
        "/v2/closed/app/tags/list",
        "/v2/closed/app/blobs/uploads/",
        "/api/v1/users",
        "/api/v1/tokens",
        "/api/v1/namespaces",
        "/api/v1/audit",
    ];
    for path in paths {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            for request in [
                app.request(method.clone(), path).basic_auth("owner", Some("hush-basic-15")),
                app.request(method.clone(), path).basic_auth("hush-user-16", Some("bonded_hush_17")),
                app.request(method.clone(), path).bearer_auth("hush-bearer-18"),
                app.request(method.clone(), path).header("authorization", "hush-bare-19"),
            ] {
                let status = request.send().await.expect("an answer").status();
                assert!(status.is_client_error(), "{method} {path}: {status}");
            }
        }
    }
}

async fn push(app: &TestApp, token: &str) {
    let image = ImageBuilder::new().layer(b"layer").annotation("note", "pushed by a token");
    for blob in image.blobs() {
        let path = format!("/v2/closed/app/blobs/uploads/?digest={}", sha256(&blob));
        expect(with(app.post(&path).body(blob), Some(token)), StatusCode::CREATED).await;
    }
    let put = app.put(MANIFEST).header("content-type", IMAGE_MANIFEST).body(image.manifest());
    expect(with(put, Some(token)), StatusCode::CREATED).await;
    expect(app.delete(MANIFEST), StatusCode::UNAUTHORIZED).await;
}
