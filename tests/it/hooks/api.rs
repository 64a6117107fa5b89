//! Webhooks by way of `/api/v1`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bonded::frontends::api::{Api, routes};
use bonded::http::origin::Origins;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::receiver::Receiver;
use crate::access::Town;

const HOOKS: &str = "/api/v1/namespaces/closed/webhooks";

struct Desk {
    town: Town,
    router: Router,
}

impl Desk {
    async fn open() -> Self {
        let town = Town::build().await;
        let api = Api {
            registry: Arc::clone(&town.app.registry),
            auth: Arc::clone(&town.app.auth),
            hooks: Arc::clone(&town.app.hooks),
            origins: Origins::default(),
            registration_open: false,
            pages: Arc::from([]),
        };
        Self { town, router: routes(api) }
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let mut request = Request::builder().method(method).uri(path).body(body).expect("a request");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

#[tokio::test]
async fn administrators_of_a_namespace_look_after_its_webhooks() {
    let (desk, receiver) = (Desk::open().await, Receiver::start().await);
    let token = desk.town.token("manager", &[]).await;
    let new = json!({"url": receiver.url(), "events": ["push", "delete"]});
    let (status, made) = desk.ask(&token, Method::POST, HOOKS, new).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    assert!(secret.starts_with("whsec_"), "{secret}");
    let (status, listed) = desk.ask(&token, Method::GET, HOOKS, Value::Null).await;
    assert_eq!((status, &listed["webhooks"][0]["events"]), (StatusCode::OK, &json!(["push", "delete"])));
    assert!(listed["webhooks"][0]["url"] == receiver.url() && !listed.to_string().contains(secret));

    let (status, sent) = desk.ask(&token, Method::POST, &format!("{HOOKS}/{id}/test"), Value::Null).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    desk.town.app.hooks.deliver_due().await.expect("a run");
    let received = receiver.take();
    assert!(received.len() == 1 && received[0].is_signed(secret));
    let deliveries = "/api/v1/namespaces/closed/deliveries";
    let (status, listed) = desk.ask(&token, Method::GET, deliveries, Value::Null).await;
    let delivery = &listed["deliveries"][0];
    assert_eq!((status, &delivery["id"], &delivery["state"]), (StatusCode::OK, &sent["delivery"], &json!("delivered")));
    let (_, dead) = desk.ask(&token, Method::GET, &format!("{deliveries}?dead=true&n=5"), Value::Null).await;
    assert_eq!(dead["deliveries"], json!([]));
    let again = format!("{deliveries}/{}/resend", sent["delivery"]);
    assert_eq!(desk.ask(&token, Method::POST, &again, Value::Null).await.0, StatusCode::ACCEPTED);
    desk.town.app.hooks.deliver_due().await.expect("a run");
    assert_eq!(receiver.take().len(), 1);

    let hook = format!("{HOOKS}/{id}");
    assert_eq!(desk.ask(&token, Method::PATCH, &hook, json!({"active": false})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(desk.ask(&token, Method::GET, HOOKS, Value::Null).await.1["webhooks"][0]["active"], json!(false));
    assert_eq!(desk.ask(&token, Method::DELETE, &hook, Value::Null).await.0, StatusCode::NO_CONTENT);
    for (method, path) in [(Method::DELETE, &hook), (Method::POST, &again)] {
        assert_eq!(desk.ask(&token, method, path, Value::Null).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn nobody_else_does_and_what_cannot_be_meant_is_refused() {
    let (desk, receiver) = (Desk::open().await, Receiver::start().await);
    let new = json!({"url": receiver.url()});
    for (name, status) in [("writer", StatusCode::FORBIDDEN), ("stranger", StatusCode::NOT_FOUND)] {
        let token = desk.town.token(name, &[]).await;
        for (method, path) in [
            (Method::POST, HOOKS),
            (Method::GET, HOOKS),
            (Method::GET, "/api/v1/namespaces/closed/deliveries"),
            (Method::POST, "/api/v1/namespaces/closed/deliveries/1/resend"),
        ] {
            let body = if path == HOOKS && method == Method::POST { new.clone() } else { Value::Null };
            assert_eq!(desk.ask(&token, method, path, body).await.0, status, "{name} {path}");
        }
    }
    let token = desk.town.token("owner", &[]).await;
    for (body, code) in [
        (json!({"url": "http://example.com/"}), StatusCode::CREATED),
        (json!({"url": "http://10.0.0.1/"}), StatusCode::BAD_REQUEST),
        (json!({"url": "https://169.254.169.254/latest"}), StatusCode::BAD_REQUEST),
        (json!({"url": "https://a:b@example.com/"}), StatusCode::BAD_REQUEST),
        (json!({"url": receiver.url(), "events": []}), StatusCode::BAD_REQUEST),
        (json!({"url": receiver.url(), "events": ["pull"]}), StatusCode::BAD_REQUEST),
        (json!({"url": receiver.url(), "secret": "short"}), StatusCode::BAD_REQUEST),
        (json!({"url": receiver.url(), "more": 1}), StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = desk.ask(&token, Method::POST, HOOKS, body.clone()).await;
        assert_eq!(status, code, "{body}: {answer}");
    }
    let secret = super::SECRET;
    let (status, made) = desk.ask(&token, Method::POST, HOOKS, json!({"url": receiver.url(), "secret": secret})).await;
    assert!(status == StatusCode::CREATED && made["secret"].is_null(), "whoever gives one knows it: {made}");
}
