//! What `/openapi.json` says, against what operations answer.

use std::collections::{BTreeMap, BTreeSet};

use bonded::access::ClientLimits;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::Town;
use super::api::{call, refused, text};
use crate::app::{TestApp, expect, header, json as body_of};

const PASSWORD: &str = "seven wet umbrellas";

/// What is in the path, in the order of its parameters, by a caller who means it.
const NAMES: [(&str, &str); 6] = [
    ("/robots/{name}", "/robots/ci"),
    ("/publishers/{name}", "/publishers/ci"),
    ("/teams/{name}", "/teams/guests"),
    ("{path}", "closed"),
    ("{member}", "stranger"),
    ("{user}", "reader"),
];

/// An operation of the description.
struct Operation {
    method: Method,
    path: String,
    /// Statuses that it may answer.
    statuses: BTreeSet<u16>,
    is_public: bool,
    has_body: bool,
}

async fn described(app: &TestApp) -> Vec<Operation> {
    let document = body_of(expect(app.get("/openapi.json"), StatusCode::OK).await).await;
    assert_eq!(document["security"], json!([{"bearer": []}, {"basic": []}]));
    let refusal = &document["components"]["schemas"]["Refusal"];
    assert_eq!(refusal["required"], json!(["code", "error"]));
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            let answers = operation["responses"].as_object().expect("responses");
            for (status, answer) in answers.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &answer["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Refusal", "{method} {path} {status}");
            }
            operations.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                statuses: answers.keys().map(|status| status.parse().expect("a status")).collect(),
                is_public: operation["security"] == json!([]),
                has_body: operation["requestBody"].is_object(),
            });
        }
    }
    operations
}

/// Bodies with which operations succeed.
fn body(operation: &Operation) -> Value {
    let (method, path) = (operation.method.as_str(), operation.path.as_str());
    let path = path.trim_start_matches("/api/v1/").trim_start_matches("namespaces/{path}/");
    match (method, path) {
        ("POST", "auth/register") => json!({"username": "newcomer", "password": PASSWORD}),
        ("POST", "auth/login") => json!({"username": "root", "password": PASSWORD}),
        ("POST", "auth/verify" | "auth/oidc/exchange") => json!({"token": "some"}),
        ("POST", "users") => json!({"name": "doomed"}),
        ("PATCH", "users/{name}") => json!({"admin": false}),
        ("PUT", "users/{name}/password") => json!({"new": PASSWORD}),
        ("POST", "users/{name}/certificates") => json!({"name": "cn:reader"}),
        ("POST", "teams") => json!({"name": "guests"}),
        ("POST", "namespaces") => json!({"path": "doomed", "owner": "owner"}),
        ("PATCH", "namespaces/{path}") => json!({"public": false}),
        ("PUT", "members/{member}") => json!({"role": "read"}),
        ("PUT", "quota") => json!({"bytes": null, "repositories": 100}),
        ("POST", "robots") => json!({"name": "ci"}),
        ("POST", "publishers") => json!({
            "name": "ci", "issuer": "https://gitlab.example.com", "claims": {"sub": "ci"},
            "jwks": {"keys": [{"kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]},
        }),
        ("POST", "webhooks") => json!({"url": "http://127.0.0.1:9/"}),
        ("PATCH", "webhooks/{id}") => json!({"active": true}),
        ("PUT", "repositories/{name}") => json!({"visibility": "private"}),
        _ => json!({}),
    }
}

/// Callers who may end nothing that is there for others; they come first.
const STRANGERS: usize = 4;

/// Somebody who walks along all operations.
struct Walker {
    town: Town,
    /// Numbers that lists gave, by the path of the list.
    made: BTreeMap<String, String>,
    /// Successes, by operation.
    done: BTreeSet<String>,
}

impl Walker {
    /// The path of an operation with parameters that lead somewhere.
    fn path(&self, operation: &Operation) -> String {
        let ended = match (operation.method.as_str(), operation.path.as_str()) {
            ("DELETE", "/api/v1/users/{name}" | "/api/v1/namespaces/{path}") => Some("doomed"),
            _ => None,
        };
        let mut path = operation.path.clone();
        if let Some(ended) = ended {
            path = path.replace("{name}", ended).replace("{path}", ended);
        }
        if let Some(list) = path.split_once("/{id}").map(|(list, _)| list.to_owned()) {
            path = path.replace("{id}", self.made.get(&list).map_or("none", String::as_str));
        }
        for (name, value) in NAMES {
            path = path.replace(name, value);
        }
        let name = if path.contains("/repositories/") { "closed/app" } else { "reader" };
        path = path.replace("{name}", name);
        match path.rsplit_once('/') {
            Some((_, "certificates")) if operation.method == Method::DELETE => path + "?name=cn:reader",
            Some((_, "downloads")) => path + "?repository=closed/app",
            _ => path,
        }
    }

    /// Sends a request, and insists on an answer that the description has; gives its status and body.
    async fn send(&self, operation: &Operation, request: RequestBuilder) -> (u16, Value) {
        let answer = request.header("x-request-id", "the-request").send().await.expect("an answer");
        let what = format!("{} {} answers {}", operation.method, answer.url(), answer.status());
        let status = answer.status().as_u16();
        for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
            assert_eq!(header(&answer, name), value, "{what}");
        }
        if status >= 400 {
            assert_eq!(header(&answer, "content-type"), "application/json", "{what}");
        }
        if status == 401 {
            header(&answer, "www-authenticate");
        }
        let text = answer.text().await.expect("a body");
        assert!(operation.statuses.contains(&status), "{what}, which is not described: {text}");
        let body: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        if status >= 400 {
            assert!(body["code"].is_string() && body["error"].is_string(), "{what}: {body}");
            assert_eq!(body["requestId"], "the-request", "{what}: {body}");
        }
        (status, body)
    }

    /// As somebody who means it.
    async fn succeed(&mut self, operation: &Operation, token: &str) {
        let body = body(operation);
        let body = operation.has_body.then_some(&body);
        let request = call(&self.town.app, operation.method.clone(), &self.path(operation), Some(token), body);
        let (status, answer) = self.send(operation, request).await;
        if status < 300 {
            self.done.insert(format!("{} {}", operation.method, operation.path));
            if let Some(id) = answer["id"].as_str() {
                self.made.insert(operation.path.clone(), id.to_owned());
            }
            if let Some(delivery) = answer["delivery"].as_i64() {
                self.made.insert("/api/v1/namespaces/{path}/deliveries".to_owned(), delivery.to_string());
            }
        }
    }

    /// As nobody, as somebody with credentials that are none, and as each of these callers.
    async fn intrude(&self, operation: &Operation, callers: &[String]) {
        let (app, path) = (&self.town.app, self.path(operation));
        let (method, whole) = (|| operation.method.clone(), body(operation));
        let nobody = call(app, method(), &path, None, Some(&whole));
        let (status, _) = self.send(operation, nobody).await;
        assert!(operation.is_public || status == 401, "{} {path} without credentials: {status}", operation.method);
        for header in ["Bearer wrong", "Basic wrong", "Negotiate x", "bonded_wrong"] {
            let request = app.request(method(), &path).header("authorization", header);
            let (status, _) = self.send(operation, request.body(whole.to_string())).await;
            assert!(operation.is_public || status == 401, "{} {path} with {header}: {status}", operation.method);
        }
        for caller in callers {
            self.send(operation, call(app, method(), &path, Some(caller), Some(&whole))).await;
        }
    }

    /// As somebody who may, but does not know how.
    async fn fail(&self, operation: &Operation, root: &str) {
        let (app, path) = (&self.town.app, self.path(operation));
        let (method, whole) = (|| operation.method.clone(), body(operation));
        for bad in ["", "{", "[]", "{\"more\":1}", "\u{0}", &"a".repeat(70_000)] {
            let request = app.request(method(), &path).bearer_auth(root).body(bad.to_owned());
            if operation.has_body {
                self.send(operation, request).await;
            }
        }
        for odd in ["none", "%ff", "%00", "A%20b", "-1", "9223372036854775808"] {
            let parts = ["{path}", "{name}", "{id}", "{user}", "{member}"];
            let path = parts.iter().fold(operation.path.clone(), |path, part| path.replace(part, odd));
            if path != operation.path {
                self.send(operation, call(app, method(), &path, Some(root), Some(&whole))).await;
            }
        }
        let bare = path.split('?').next().unwrap_or_default();
        for query in ["n=many", "n=-1", "last=%ff", "last=%00", "dead=maybe", "since=x", "expect=x", "purge=x", ""] {
            if operation.method == Method::GET || operation.method == Method::DELETE {
                self.send(operation, call(app, method(), &format!("{bare}?{query}"), Some(root), None)).await;
            }
        }
    }
}

/// Every operation, by everybody, with every mistake: an answer that is not described fails the test.
#[tokio::test]
async fn no_operation_answers_what_it_does_not_say() {
    let unlimited = |limits: &mut ClientLimits| limits.rates.api_anonymous = "none".parse().expect("rates");
    let town = Town::found(TestApp::builder().registration_open().clients(unlimited).start().await).await;
    town.set_password("root", PASSWORD).await;
    let mut operations = described(&town.app).await;
    let public: Vec<&str> = operations.iter().filter(|one| one.is_public).map(|one| one.path.as_str()).collect();
    let expected = ["login", "oidc/exchange", "register", "verify"];
    assert_eq!(public, expected.map(|name| format!("/api/v1/auth/{name}")));
    let root = town.token("root", &[]).await;
    let derived = town.exchange(Some(&root), &["repository:closed/app:pull"]).await;
    let mut callers = vec![town.token("root", &["**:pull"]).await, text(&derived, "token").to_owned()];
    for name in ["stranger", "reader", "manager", "owner"] {
        callers.push(town.token(name, &[]).await);
    }
    let mut walker = Walker { town, made: BTreeMap::new(), done: BTreeSet::new() };
    // What is made is made first, and what is in something else ends before it.
    operations.sort_by_key(|one| (one.method == Method::DELETE, one.path.clone()));
    let first = operations.iter().position(|one| one.method == Method::DELETE).expect("some");
    operations[first..].reverse();
    for _ in 0..2 {
        for operation in operations.iter().filter(|one| one.method != Method::DELETE) {
            walker.succeed(operation, &root).await;
        }
    }
    for operation in operations.iter().filter(|one| one.method != Method::DELETE) {
        walker.intrude(operation, &callers).await;
        walker.fail(operation, &root).await;
    }
    for operation in &operations[first..] {
        walker.intrude(operation, &callers[..STRANGERS]).await;
        walker.succeed(operation, &root).await;
        walker.intrude(operation, &callers).await;
        walker.fail(operation, &root).await;
    }
    // Somebody who is logged in does these, and a job elsewhere.
    let else_where = ["/api/v1/auth/refresh", "/api/v1/auth/logout", "/api/v1/auth/oidc/exchange"];
    for operation in operations.iter().filter(|one| !else_where.contains(&one.path.as_str())) {
        let name = format!("{} {}", operation.method, operation.path);
        assert!(walker.done.contains(&name), "{name} never succeeded: is its body right?");
    }
}

/// While there are no accounts, too.
#[tokio::test]
async fn an_open_registry_answers_what_it_says() {
    let unlimited = |limits: &mut ClientLimits| limits.rates.api_anonymous = "none".parse().expect("rates");
    let town = Town { app: TestApp::builder().clients(unlimited).start().await };
    let operations = described(&town.app).await;
    let walker = Walker { town, made: BTreeMap::new(), done: BTreeSet::new() };
    for operation in &operations {
        let whole = body(operation);
        let request = call(&walker.town.app, operation.method.clone(), &walker.path(operation), None, Some(&whole));
        walker.send(operation, request).await;
    }
}

/// Whatever is wrong with a request.
#[tokio::test]
async fn a_request_that_leads_nowhere_is_told_so_in_the_same_shape() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    for path in ["/api/v1/nothing", "/api/v1/", "/api/v1", "/api/v1//", "/api/v1/users/", "/api/v1/users/a/b/c"] {
        refused(town.app.get(path), StatusCode::NOT_FOUND, "NOT_FOUND").await;
    }
    let unnamed = call(&town.app, Method::DELETE, "/api/v1/users/reader/certificates", Some(&root), None);
    refused(unnamed, StatusCode::BAD_REQUEST, "INVALID").await;
    let patch = call(&town.app, Method::PATCH, "/api/v1/users/reader/certificates", Some(&root), None);
    refused(patch, StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED").await;
}
