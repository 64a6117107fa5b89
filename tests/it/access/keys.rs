//! The keys that sign tokens, where there are several nodes and several secrets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bonded::metadata::model::accounts::SigningKeyRecord;
use reqwest::StatusCode;
use serde_json::json;

use super::{Town, with};
use crate::app::{TestApp, expect};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";

async fn bearer(town: &Town) -> String {
    let reader = town.token("reader", &[]).await;
    let answer = town.exchange(Some(&reader), &["repository:closed/app:pull"]).await;
    answer["token"].as_str().expect("a token").to_owned()
}

/// The names of the keys that an app shows.
async fn kids(app: &TestApp) -> Vec<String> {
    let keys = app.auth.jwks().await.expect("keys");
    let keys = keys["keys"].as_array().expect("a list").clone();
    keys.iter().map(|key| key["kid"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_key_of_another_secret_is_left_out() {
    let town = Town::build().await;
    let (accounts, now) = (town.app.auth.accounts(), town.app.auth.now());
    let ends_at = now.after(Duration::from_hours(24));
    let foreign = SigningKeyRecord {
        kid: "0123456789abcdef".to_owned(),
        sealed: vec![7; 200],
        created_at: now.after(Duration::from_secs(1)),
        ends_at,
    };
    accounts.key_add(&foreign).await.expect("a key");
    let good = bearer(&town).await;
    expect(with(town.app.get(MANIFEST), Some(&good)), StatusCode::OK).await;
    assert_eq!(kids(&town.app).await.len(), 1);

    for kid in ["0123456789abcdef", "fedcba9876543210"] {
        let head = URL_SAFE_NO_PAD.encode(json!({"typ": "JWT", "alg": "ES256", "kid": kid}).to_string());
        let (_, rest) = good.split_once('.').expect("a token has parts");
        town.app.clock.advance(Duration::from_secs(2));
        expect(with(town.app.get(MANIFEST), Some(&format!("{head}.{rest}"))), StatusCode::UNAUTHORIZED).await;
    }
    expect(with(town.app.get(MANIFEST), Some(&good)), StatusCode::OK).await;
}

#[tokio::test]
async fn without_a_secret_no_signed_token_is_right() {
    let town = Town::build().await;
    let good = bearer(&town).await;
    let town = Town::found(TestApp::builder().without_secret().start().await).await;
    expect(with(town.app.get(MANIFEST), Some(&good)), StatusCode::UNAUTHORIZED).await;
    let api = town.token("reader", &[]).await;
    expect(with(town.app.get(MANIFEST), Some(&api)), StatusCode::OK).await;
    assert_eq!(kids(&town.app).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_node_shows_the_keys_of_all() {
    let mut nodes = TestApp::builder().start_shared(2).await;
    let other = nodes.pop().expect("a second node");
    let town = Town::found(nodes.pop().expect("a first node")).await;
    assert!(kids(&other).await.is_empty());
    bearer(&town).await;
    town.app.clock.advance(Duration::from_secs(2));
    let shown = kids(&other).await;
    assert_eq!((shown.len(), &shown), (1, &kids(&town.app).await));
}
