//! `/api/v1`: who may call it, and what it does.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{Town, with};
use crate::app::{TestApp, expect, header, json as body_of};

const PASSWORD: &str = "seven wet umbrellas";

pub(super) fn call(
    app: &TestApp,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> RequestBuilder {
    let request = with(app.request(method, path), token);
    match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    }
}

/// Does something that has to succeed, and gives the answer's body.
pub(super) async fn done(app: &TestApp, what: (Method, &str), token: &str, body: Option<&Value>) -> Value {
    let answer = call(app, what.0, what.1, Some(token), body).send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{}: {status} {text}", what.1);
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
}

pub(super) async fn refused(request: RequestBuilder, status: StatusCode, code: &str) {
    let answer = expect(request.header("x-request-id", "the-request"), status).await;
    assert_eq!(header(&answer, "content-type"), "application/json");
    let body = body_of(answer).await;
    assert_eq!((&body["code"], &body["requestId"]), (&json!(code), &json!("the-request")), "{body}");
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{body}");
}

async fn log_in(app: &TestApp, name: &str, password: &str) -> Value {
    let body = json!({"username": name, "password": password});
    let answer = expect(call(app, Method::POST, "/api/v1/auth/login", None, Some(&body)), StatusCode::OK).await;
    body_of(answer).await
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

/// Every route with the least that gets in: what nobody, a stranger and a member may not do, he is told.
#[tokio::test]
async fn who_may_call() {
    let town = Town::build().await;
    let (stranger, reader) = (town.token("stranger", &[]).await, town.token("reader", &[]).await);
    let (manager, scoped) = (town.token("manager", &[]).await, town.token("root", &["**:*"]).await);
    let body = json!({});
    let role = json!({"role": "read"});
    let admin_only = [
        (Method::GET, "/api/v1/users", None),
        (Method::POST, "/api/v1/users", Some(json!({"name": "new"}))),
        (Method::GET, "/api/v1/users/owner", None),
        (Method::PATCH, "/api/v1/users/owner", Some(body.clone())),
        (Method::DELETE, "/api/v1/users/owner", None),
        (Method::PUT, "/api/v1/users/owner/password", Some(json!({"new": PASSWORD}))),
        (Method::GET, "/api/v1/tokens?user=owner", None),
        (Method::GET, "/api/v1/teams", None),
        (Method::POST, "/api/v1/teams", Some(json!({"name": "t"}))),
        (Method::GET, "/api/v1/teams/t", None),
        (Method::DELETE, "/api/v1/teams/t", None),
        (Method::PUT, "/api/v1/teams/t/members/reader", None),
        (Method::DELETE, "/api/v1/teams/t/members/reader", None),
        (Method::GET, "/api/v1/namespaces", None),
        (Method::POST, "/api/v1/namespaces", Some(json!({"path": "p", "owner": "reader"}))),
    ];
    for (method, path, body) in &admin_only {
        let call = |token| call(&town.app, method.clone(), path, token, body.as_ref());
        refused(call(None), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
        for token in [&stranger, &reader, &manager, &scoped] {
            refused(call(Some(token)), StatusCode::FORBIDDEN, "DENIED").await;
        }
    }
    let in_namespace = [
        (Method::PATCH, "/api/v1/namespaces/closed", Some(json!({"public": true}))),
        (Method::DELETE, "/api/v1/namespaces/closed", None),
        (Method::PUT, "/api/v1/namespaces/closed/members/stranger", Some(role)),
        (Method::DELETE, "/api/v1/namespaces/closed/members/writer", None),
        (Method::POST, "/api/v1/namespaces/closed/robots", Some(json!({"name": "ci"}))),
        (Method::DELETE, "/api/v1/repositories/closed/app", None),
        (Method::PUT, "/api/v1/repositories/closed/app", Some(json!({"visibility": "public"}))),
    ];
    for (method, path, body) in &in_namespace {
        let call = |path: &str, token| call(&town.app, method.clone(), path, token, body.as_ref());
        refused(call(path, None), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
        refused(call(path, Some(&reader)), StatusCode::FORBIDDEN, "DENIED").await;
        // To a stranger it is as one that is not there.
        for path in [path.to_string(), path.replace("closed", "nowhere")] {
            refused(call(&path, Some(&stranger)), StatusCode::NOT_FOUND, "NOT_FOUND").await;
        }
    }
    expect(with(town.app.get("/api/v1/namespaces/closed"), Some(&reader)), StatusCode::OK).await;
    refused(with(town.app.get("/api/v1/namespaces/closed"), Some(&stranger)), StatusCode::NOT_FOUND, "NOT_FOUND").await;
    for owners in ["owner", "manager"] {
        let path = format!("/api/v1/namespaces/closed/members/{owners}");
        let body = json!({"role": "owner"});
        refused(call(&town.app, Method::PUT, &path, Some(&manager), Some(&body)), StatusCode::FORBIDDEN, "DENIED")
            .await;
    }
    refused(town.app.get("/api/v1/nothing"), StatusCode::NOT_FOUND, "NOT_FOUND").await;
}

#[tokio::test]
async fn accounts_are_made_changed_and_ended() {
    let town = Town::build().await;
    let (app, root) = (&town.app, town.token("root", &[]).await);
    let new = json!({"name": "cat", "email": "cat@example.com", "password": PASSWORD});
    let made = done(app, (Method::POST, "/api/v1/users"), &root, Some(&new)).await;
    assert_eq!((text(&made, "name"), &made["admin"]), ("cat", &json!(false)));
    assert!(!made.to_string().contains("argon2") && !made.to_string().contains(PASSWORD), "{made}");
    let again = call(app, Method::POST, "/api/v1/users", Some(&root), Some(&new));
    refused(again, StatusCode::CONFLICT, "CONFLICT").await;
    for (name, password) in [("cat2", "password"), ("cat3", "short"), ("cat4", "cat4cat4"), ("Bad Name", PASSWORD)] {
        let body = json!({"name": name, "password": password});
        refused(call(app, Method::POST, "/api/v1/users", Some(&root), Some(&body)), StatusCode::BAD_REQUEST, "INVALID")
            .await;
    }
    let login = log_in(app, "cat", PASSWORD).await;
    let cat = text(&login, "token");
    assert_eq!(text(&done(app, (Method::GET, "/api/v1/users/me"), cat, None).await, "name"), "cat");
    let page = done(app, (Method::GET, "/api/v1/users?n=2"), &root, None).await;
    assert_eq!((page["users"].as_array().expect("users").len(), text(&page, "next")), (2, "manager"));

    let change = json!({"disabled": true});
    done(app, (Method::PATCH, "/api/v1/users/cat"), &root, Some(&change)).await;
    refused(with(app.get("/api/v1/users/me"), Some(cat)), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    done(app, (Method::PATCH, "/api/v1/users/cat"), &root, Some(&json!({"disabled": false}))).await;
    refused(with(app.get("/api/v1/users/me"), Some(cat)), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    let login = log_in(app, "cat", PASSWORD).await;
    let cat = text(&login, "token");
    let wrong = json!({"old": "wrong", "new": "eight dry umbrellas"});
    let put = |body: &Value| call(app, Method::PUT, "/api/v1/users/cat/password", Some(cat), Some(body));
    refused(put(&wrong), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    expect(put(&json!({"old": PASSWORD, "new": "eight dry umbrellas"})), StatusCode::NO_CONTENT).await;
    refused(with(app.get("/api/v1/users/me"), Some(cat)), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    log_in(app, "cat", "eight dry umbrellas").await;
    done(app, (Method::DELETE, "/api/v1/users/cat"), &root, None).await;
    refused(with(app.get("/api/v1/users/cat"), Some(&root)), StatusCode::NOT_FOUND, "NOT_FOUND").await;
    let last = call(app, Method::DELETE, "/api/v1/users/root", Some(&root), None);
    refused(last, StatusCode::CONFLICT, "CONFLICT").await;
}

/// Rows S2-27 to S2-39: register, login, verify, refresh, logout; a token of 30 days that can be revoked.
#[tokio::test]
async fn logins_live_for_thirty_days_and_can_be_ended() {
    let town = Town::found(TestApp::builder().registration_open().start().await).await;
    let app = &town.app;
    let new = json!({"username": "cat", "password": PASSWORD, "email": "cat@example.com"});
    let register = || call(app, Method::POST, "/api/v1/auth/register", None, Some(&new));
    let made = body_of(expect(register(), StatusCode::CREATED).await).await;
    assert_eq!((text(&made, "name"), &made["admin"]), ("cat", &json!(false)));
    refused(register(), StatusCode::CONFLICT, "CONFLICT").await;
    for (name, password) in [("cat", "wrong"), ("nobody", PASSWORD)] {
        let body = json!({"username": name, "password": password});
        let login = call(app, Method::POST, "/api/v1/auth/login", None, Some(&body));
        refused(login, StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    }
    let verified = async |token: &str| {
        let body = json!({"token": token});
        let answer = expect(call(app, Method::POST, "/api/v1/auth/verify", None, Some(&body)), StatusCode::OK).await;
        body_of(answer).await["valid"] == json!(true)
    };
    let first = log_in(app, "cat", PASSWORD).await;
    let first = text(&first, "token");
    assert!(verified(first).await && !verified("rubbish").await);
    let second = done(app, (Method::POST, "/api/v1/auth/refresh"), first, None).await;
    let second = text(&second, "token");
    assert!(verified(second).await && !verified(first).await, "the old one ends with the new one");
    done(app, (Method::POST, "/api/v1/auth/logout"), second, None).await;
    assert!(!verified(second).await);
    refused(
        call(app, Method::POST, "/api/v1/auth/logout", Some(second), None),
        StatusCode::UNAUTHORIZED,
        "AUTHENTICATION",
    )
    .await;
    let third = log_in(app, "cat", PASSWORD).await;
    app.clock.advance(Duration::from_hours(24 * 30) - Duration::from_secs(1));
    assert!(verified(text(&third, "token")).await);
    app.clock.advance(Duration::from_secs(2));
    assert!(!verified(text(&third, "token")).await);
}

#[tokio::test]
async fn registration_is_closed_unless_it_is_open() {
    let town = Town::build().await;
    let body = json!({"username": "cat", "password": PASSWORD});
    let register = |app: &TestApp| call(app, Method::POST, "/api/v1/auth/register", None, Some(&body));
    refused(register(&town.app), StatusCode::FORBIDDEN, "DENIED").await;
    // Where there are no accounts, whoever comes first does not own the registry.
    let open = TestApp::builder().registration_open().start().await;
    refused(register(&open), StatusCode::FORBIDDEN, "DENIED").await;
    expect(open.get("/v2/"), StatusCode::OK).await;
}

#[tokio::test]
async fn tokens_are_shown_once_and_limited_to_what_they_say() {
    let town = Town::build().await;
    let (app, writer) = (&town.app, town.token("writer", &[]).await);
    let new = json!({"name": "ci", "scopes": ["closed/**:pull"], "expires_in": 3600});
    let made = done(app, (Method::POST, "/api/v1/tokens"), &writer, Some(&new)).await;
    let (id, token) = (text(&made, "id"), text(&made, "token"));
    assert!(token.starts_with("bonded_"));
    let listed = done(app, (Method::GET, "/api/v1/tokens"), &writer, None).await;
    let found = listed["tokens"].as_array().expect("tokens").iter().find(|token| token["id"] == id).expect("the token");
    assert_eq!((&found["scopes"], &found["name"]), (&json!(["closed/**:pull"]), &json!("ci")));
    assert!(!listed.to_string().contains(token), "it is shown only once");
    expect(with(app.get("/v2/closed/app/manifests/v1"), Some(token)), StatusCode::OK).await;
    expect(with(app.post("/v2/closed/app/blobs/uploads/"), Some(token)), StatusCode::UNAUTHORIZED).await;
    refused(call(app, Method::POST, "/api/v1/tokens", Some(token), Some(&json!({}))), StatusCode::FORBIDDEN, "DENIED")
        .await;
    let others = town.token("reader", &[]).await;
    let path = format!("/api/v1/tokens/{id}");
    refused(call(app, Method::DELETE, &path, Some(&others), None), StatusCode::NOT_FOUND, "NOT_FOUND").await;
    done(app, (Method::DELETE, &path), &writer, None).await;
    expect(with(app.get("/v2/closed/app/manifests/v1"), Some(token)), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn namespaces_teams_and_robots_give_roles() {
    let town = Town::build().await;
    let (app, root, stranger) = (&town.app, town.token("root", &[]).await, town.token("stranger", &[]).await);
    let get = || with(app.get("/v2/closed/app/manifests/v1"), Some(&stranger));
    expect(get(), StatusCode::NOT_FOUND).await;
    done(app, (Method::POST, "/api/v1/teams"), &root, Some(&json!({"name": "guests"}))).await;
    done(app, (Method::PUT, "/api/v1/teams/guests/members/stranger"), &root, None).await;
    let owner = town.token("owner", &[]).await;
    let grant = "/api/v1/namespaces/closed/members/team:guests";
    done(app, (Method::PUT, grant), &owner, Some(&json!({"role": "read"}))).await;
    expect(get(), StatusCode::OK).await;
    done(app, (Method::DELETE, "/api/v1/teams/guests/members/stranger"), &root, None).await;
    expect(get(), StatusCode::NOT_FOUND).await;
    done(app, (Method::PUT, "/api/v1/repositories/closed/app"), &owner, Some(&json!({"visibility": "public"}))).await;
    expect(get(), StatusCode::OK).await;
    done(app, (Method::PUT, "/api/v1/repositories/closed/app"), &owner, Some(&json!({"visibility": "namespace"})))
        .await;
    expect(get(), StatusCode::NOT_FOUND).await;
    let last = call(app, Method::DELETE, "/api/v1/namespaces/closed/members/owner", Some(&owner), None);
    refused(last, StatusCode::CONFLICT, "CONFLICT").await;

    let robot =
        done(app, (Method::POST, "/api/v1/namespaces/closed/robots"), &owner, Some(&json!({"name": "ci"}))).await;
    assert_eq!(text(&robot, "name"), "closed+ci");
    let token = json!({"user": "closed+ci", "scopes": ["closed/**:pull,push"]});
    let token = done(app, (Method::POST, "/api/v1/tokens"), &root, Some(&token)).await;
    let upload = with(app.post("/v2/closed/app/blobs/uploads/"), Some(text(&token, "token")));
    expect(upload, StatusCode::ACCEPTED).await;

    let nested = json!({"path": "closed/inner", "owner": "stranger"});
    done(app, (Method::POST, "/api/v1/namespaces"), &root, Some(&nested)).await;
    let shown = done(app, (Method::GET, "/api/v1/namespaces/closed%2Finner"), &stranger, None).await;
    assert_eq!(shown["members"], json!([{"member": "stranger", "role": "owner"}]));
    done(app, (Method::DELETE, "/api/v1/namespaces/closed%2Finner"), &stranger, None).await;
}

/// What the description lists is there, and nothing is there that it does not list.
#[tokio::test]
async fn the_description_is_of_what_is_there() {
    let town = Town::build().await;
    let described = body_of(expect(town.app.get("/openapi.json"), StatusCode::OK).await).await;
    let paths = described["paths"].as_object().expect("paths");
    let methods: BTreeSet<&str> =
        paths.values().flat_map(|path| path.as_object().expect("methods").keys()).map(String::as_str).collect();
    assert!(methods.is_superset(&BTreeSet::from(["get", "post", "put", "patch", "delete"])));
    for (path, described) in paths {
        let real = path.replace("{path}", "nowhere").replace("{id}", "none").replace(['{', '}'], "");
        for name in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            let answer = call(&town.app, method, &real, None, Some(&json!({}))).send().await.expect("an answer");
            let is_described = described.get(name.to_lowercase()).is_some();
            assert_eq!(
                answer.status() != StatusCode::METHOD_NOT_ALLOWED,
                is_described,
                "{name} {path}: {}",
                answer.status()
            );
        }
    }
}

/// Bodies that are too long, no JSON, or say more than is known.
#[tokio::test]
async fn bad_bodies_are_told_apart_from_bad_callers() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    let long = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    for path in ["/api/v1/users?n=many", "/api/v1/users/%ff"] {
        refused(with(town.app.get(path), Some(&root)), StatusCode::BAD_REQUEST, "INVALID").await;
    }
    let answer = expect(town.app.patch("/api/v1/users"), StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(header(&answer, "allow"), "GET,HEAD,POST");
    refused(town.app.patch("/api/v1/users"), StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED").await;
    let post = |body: &str| with(town.app.post("/api/v1/users"), Some(&root)).body(body.to_owned());
    for body in ["", "{", "[]", "{\"name\":1}", "{\"name\":\"a\",\"more\":1}"] {
        refused(post(body), StatusCode::BAD_REQUEST, "INVALID").await;
    }
    refused(post(&long), StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE").await;
}
