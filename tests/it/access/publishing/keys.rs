//! Where the keys of an issuer come from, and how often.

use std::time::Duration;

use bonded::access::Role;
use bonded::auth::PublisherWish;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::publishers::{NewPublisher, PublisherAdded};
use jsonwebtoken::Algorithm;
use reqwest::StatusCode;
use serde_json::json;

use super::super::issuer::{FakeIssuer, TestKey};
use super::{Yard, claims, name, path};
use crate::app::{expect, header};
use crate::cli::until;

#[tokio::test]
async fn keys_are_asked_for_once_and_again_when_they_change() {
    let yard = Yard::build().await;
    let next = TestKey::new("two", Algorithm::ES256);
    for n in 0..3 {
        yard.exchange(&yard.token(n)).await;
    }
    assert_eq!(yard.issuer.asked(), 1);
    // One that signs at once is asked for at once.
    yard.issuer.publishes(&[&yard.key, &next]);
    yard.exchange(&next.sign(&yard.claims(10))).await;
    yard.exchange(&yard.token(11)).await;
    assert_eq!(yard.issuer.asked(), 2);
    // A key that is withdrawn verifies for ten minutes at most.
    yard.issuer.publishes(&[&next]);
    yard.exchange(&yard.token(12)).await;
    yard.town.app.clock.advance(Duration::from_mins(10));
    yard.refused(&yard.token(13), "signature").await;
    yard.exchange(&next.sign(&yard.claims(14))).await;
    assert_eq!(yard.issuer.asked(), 3);
}

/// Whatever clients send, an issuer is asked five times a minute for what may be there, and not for what cannot be.
#[tokio::test]
async fn a_key_that_is_not_there_is_not_asked_for_all_the_time() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    let unknown = TestKey::new("unknown", Algorithm::ES256);
    for asked in 2..=6 {
        yard.refused(&unknown.sign(&yard.claims(2)), "signature").await;
        assert_eq!(yard.issuer.asked(), asked);
    }
    // It may have been published since, which nobody can tell now.
    for _ in 0..3 {
        let request = yard.town.app.post("/api/v1/auth/oidc/exchange");
        let request = request.body(json!({"token": unknown.sign(&yard.claims(2))}).to_string());
        let answer = expect(request, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(header(&answer, "retry-after"), "10");
    }
    yard.exchange(&yard.token(3)).await;
    // What was signed long before the last look was signed by no key of the issuer.
    let mut old = yard.claims(4);
    (old["iat"], old["nbf"]) = (json!(yard.seconds() - 61), json!(yard.seconds() - 61));
    yard.refused(&unknown.sign(&old), "signature").await;
    assert_eq!(yard.issuer.asked(), 6);

    yard.town.app.clock.advance(Duration::from_mins(1));
    yard.issuer.publishes(&[&yard.key, &unknown]);
    yard.exchange(&unknown.sign(&yard.claims(5))).await;
    assert_eq!(yard.issuer.asked(), 7);
}

/// The clock of an issuer may be behind.
#[tokio::test]
async fn a_new_key_is_asked_for_although_its_token_looks_older() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    let (next, mut claims) = (TestKey::new("two", Algorithm::ES256), yard.claims(2));
    yard.issuer.publishes(&[&yard.key, &next]);
    claims["iat"] = json!(yard.seconds() - 59);
    yard.town.app.clock.advance(Duration::from_secs(1));
    yard.exchange(&next.sign(&claims)).await;
    assert_eq!(yard.issuer.asked(), 2);
}

#[tokio::test]
async fn of_many_at_once_one_asks() {
    let yard = Yard::build().await;
    let tokens: Vec<String> = (0..8).map(|n| yard.token(n)).collect();
    let all = futures_util::future::join_all(tokens.iter().map(|token| yard.status(token))).await;
    assert!(all.iter().all(|status| *status == StatusCode::OK), "{all:?}");
    assert_eq!(yard.issuer.asked(), 1);
}

/// Whoever begins a look may go away in the middle of it.
#[tokio::test]
async fn a_client_that_goes_away_keeps_no_new_key_out() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    let next = TestKey::new("two", Algorithm::ES256);
    yard.issuer.publishes(&[&yard.key, &next]);
    yard.issuer.answers(false);
    let (token, by) = (next.sign(&yard.claims(2)).into(), Actor::command_line());
    tokio::select! {
        _ = yard.town.app.auth.exchange(&token, None, &by) => panic!("it waits for the issuer"),
        () = until(async || yard.issuer.asked() == 2) => {}
    }
    yard.issuer.answers(true);
    yard.exchange(&next.sign(&yard.claims(3))).await;
    assert_eq!(yard.issuer.asked(), 2, "what the first one asked for is kept");
}

/// The same where nothing is known yet.
#[tokio::test]
async fn a_client_that_goes_away_leaves_what_it_asked_for_to_the_others() {
    let yard = Yard::build().await;
    yard.issuer.answers(false);
    let (token, by) = (yard.token(1).into(), Actor::command_line());
    tokio::select! {
        _ = yard.town.app.auth.exchange(&token, None, &by) => panic!("it waits for the issuer"),
        () = until(async || yard.issuer.asked() == 1) => {}
    }
    yard.issuer.answers(true);
    yard.exchange(&yard.token(2)).await;
    assert_eq!(yard.issuer.asked(), 1);
}

#[tokio::test]
async fn a_token_whose_key_is_known_waits_for_no_look() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    yard.issuer.answers(false);
    let unknown = TestKey::new("unknown", Algorithm::ES256).sign(&yard.claims(2));
    let known = async {
        until(async || yard.issuer.asked() == 2).await;
        yard.exchange(&yard.token(3)).await
    };
    tokio::select! {
        _ = yard.status(&unknown) => panic!("it waits for the issuer"),
        _ = known => {}
    }
    // Nor where they are old, and somebody asks for newer ones.
    yard.issuer.answers(true);
    yard.town.app.clock.advance(Duration::from_mins(11));
    yard.exchange(&yard.token(4)).await;
    let asked = yard.issuer.asked();
    yard.town.app.clock.advance(Duration::from_mins(11));
    yard.issuer.answers(false);
    let (first, second) = (yard.token(5), yard.token(6));
    let beside = async {
        until(async || yard.issuer.asked() == asked + 1).await;
        yard.exchange(&second).await
    };
    tokio::select! {
        _ = yard.status(&first) => panic!("it waits for the issuer"),
        _ = beside => {}
    }
}

#[tokio::test]
async fn an_issuer_without_good_keys_is_a_matter_for_later() {
    let yard = Yard::build().await;
    let (url, good) = (yard.issuer.url(), json!({"keys": [yard.key.public()]}).to_string());
    let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    let elsewhere = FakeIssuer::start(&[&yard.key]).await;
    let asked = yard.issuer.asked();
    for (document, keys, status) in [
        (discovery.clone(), format!("{good}{}", " ".repeat(64 << 10)), StatusCode::SERVICE_UNAVAILABLE),
        (discovery.clone(), "{}".to_owned(), StatusCode::SERVICE_UNAVAILABLE),
        (discovery.clone(), r#"{"keys": []}"#.to_owned(), StatusCode::SERVICE_UNAVAILABLE),
        (
            json!({"issuer": format!("{url}/"), "jwks_uri": format!("{url}/keys")}),
            good.clone(),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (json!({"issuer": url}), good.clone(), StatusCode::SERVICE_UNAVAILABLE),
        (json!({"issuer": url, "jwks_uri": format!("{url}/none")}), good.clone(), StatusCode::SERVICE_UNAVAILABLE),
        // Not allowed, whoever says so.
        (
            json!({"issuer": url, "jwks_uri": format!("{}/keys", elsewhere.url())}),
            good.clone(),
            StatusCode::UNAUTHORIZED,
        ),
        (json!({"issuer": url, "jwks_uri": "file:///etc/passwd"}), good.clone(), StatusCode::UNAUTHORIZED),
    ] {
        yard.issuer.discovers(document.clone());
        yard.issuer.publishes_text(keys);
        assert_eq!(yard.status(&yard.token(1)).await, status, "{document}");
        assert_eq!(yard.status(&yard.token(1)).await, StatusCode::SERVICE_UNAVAILABLE, "it is not asked again at once");
        yard.town.app.clock.advance(Duration::from_secs(11));
    }
    assert_eq!((yard.issuer.asked(), elsewhere.asked()), (asked + 8, 0));
    yard.issuer.discovers(discovery);
    yard.issuer.publishes_text(good);
    yard.exchange(&yard.token(1)).await;
}

#[tokio::test]
async fn nobody_is_led_elsewhere() {
    let yard = Yard::build().await;
    yard.issuer.leads_away();
    let (status, body) = yard.answer(&json!({"token": yard.token(1)})).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("UNAVAILABLE")));
}

/// Known keys outlive a failure of the issuer for as long as they hold.
#[tokio::test]
async fn a_failure_does_not_take_known_keys_away() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    yard.issuer.leads_away();
    yard.town.app.clock.advance(Duration::from_secs(61));
    let unknown = TestKey::new("two", Algorithm::ES256).sign(&yard.claims(2));
    for _ in 0..2 {
        assert_eq!(yard.status(&unknown).await, StatusCode::SERVICE_UNAVAILABLE, "nobody knows whose it is");
    }
    yard.exchange(&yard.token(3)).await;
    assert_eq!(yard.issuer.asked(), 2);
}

/// An issuer that is away for a while stops nobody whose key is known, and nobody for ever.
#[tokio::test]
async fn keys_hold_for_an_hour_while_the_issuer_is_away() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    yard.issuer.leads_away();
    yard.town.app.clock.advance(Duration::from_mins(11));
    yard.exchange(&yard.token(2)).await;
    yard.exchange(&yard.token(3)).await;
    assert_eq!(yard.issuer.asked(), 2, "not for every token");
    let unknown = TestKey::new("two", Algorithm::ES256).sign(&yard.claims(4));
    assert_eq!(yard.status(&unknown).await, StatusCode::SERVICE_UNAVAILABLE);
    yard.town.app.clock.advance(Duration::from_mins(49));
    assert_eq!(yard.status(&yard.token(5)).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_never_asked() {
    let yard = Yard::without_rules(false).await;
    let by = Actor::command_line();
    let refused = yard.town.app.auth.add_publisher(&path("closed"), yard.wish("ci"), &by).await;
    let why = refused.expect_err("it is not on the list").to_string();
    assert!(why.contains(&yard.issuer.host) && why.contains("auth.oidc_hosts"), "{why}");
    // The rule may be older than the list.
    let PublisherWish { name, issuer, claims, .. } = yard.wish("ci");
    let new = NewPublisher {
        namespace: path("closed"),
        name,
        issuer,
        audience: "bonded.test".parse().expect("an audience"),
        claims,
        role: Role::Write,
        reuse: true,
        jwks: None,
        now: yard.town.app.auth.now(),
    };
    let added = yard.town.app.auth.accounts().publisher_add(&new, &by).await.expect("an answer");
    assert_eq!(added, PublisherAdded::Added);
    yard.refused(&yard.token(1), "signature").await;
    assert_eq!(yard.issuer.asked(), 0);
}

#[tokio::test]
async fn a_rule_may_have_the_keys_itself() {
    let yard = Yard::without_rules(false).await;
    let (own, other) = (TestKey::new("own", Algorithm::RS256), TestKey::new("own", Algorithm::RS256));
    let with = |key: &TestKey, called: &str| PublisherWish {
        jwks: Some(json!({"keys": [key.public()]}).to_string()),
        issuer: "https://kubernetes.default.svc.cluster.local".parse().expect("an issuer"),
        claims: claims(&[("sub", "system:serviceaccount:ci:*")]),
        ..yard.wish(called)
    };
    yard.add("closed", with(&own, "k8s")).await;
    yard.add("open", with(&other, "k8s")).await;
    let mut said = yard.claims(1);
    said["iss"] = json!("https://kubernetes.default.svc.cluster.local");
    said["sub"] = json!("system:serviceaccount:ci:builder");
    for (key, at) in [(&own, "closed"), (&other, "open")] {
        let (status, body) = yard.answer(&json!({"token": key.sign(&said)})).await;
        assert_eq!((status, &body["namespaces"][0]["path"]), (StatusCode::OK, &json!(at)));
        assert_eq!(
            body["namespaces"].as_array().map(Vec::len),
            Some(1),
            "the key of a rule is good for that rule only"
        );
    }
    yard.refused(&yard.key.sign(&said), "signature").await;
    // A token that names no key is that of the only one.
    said["jti"] = json!("unnamed");
    yard.exchange(&own.sign_as(&json!({"alg": "RS256"}), &said)).await;
    assert_eq!(yard.issuer.asked(), 0);
    let ended = yard.town.app.auth.end_publisher(&path("closed"), &name("k8s"), &Actor::command_line()).await;
    assert!(ended.expect("an answer"));
}
