//! Tokens that are taken, and those that are not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bonded::auth::PublisherWish;
use bonded::metadata::model::accounts::{Actor, NamespaceRecord};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::super::issuer::{FakeIssuer, TestKey, message};
use super::super::user;
use super::{Yard, claims, path};

#[tokio::test]
async fn a_token_that_is_not_as_the_rule_says_is_refused() {
    let yard = Yard::build().await;
    let now = yard.seconds();
    for (claim, value, why) in [
        ("repository", json!("acme/app2"), "claims"),
        ("repository", json!("evil/app"), "claims"),
        ("repository", json!("acme/app/"), "claims"),
        ("repository", json!(["acme/app"]), "claims"),
        ("repository", Value::Null, "claims"),
        ("ref", json!("refs/heads/a/b"), "claims"),
        ("ref", json!("refs/tags/v1"), "claims"),
        ("ref", json!("xrefs/heads/main"), "claims"),
        ("workflow", json!("test"), "claims"),
        ("aud", json!("elsewhere"), "audience"),
        ("aud", json!("bonded.tes"), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", json!({"bonded.test": 1}), "audience"),
        ("aud", Value::Null, "audience"),
        ("iss", json!("https://ci.example.com"), "issuer"),
        ("iss", json!(format!("{}/", yard.issuer.url())), "issuer"),
        ("iss", json!("a\u{0}b"), "issuer"),
        ("iss", Value::Null, "issuer"),
        ("exp", json!(now - 60), "expired"),
        ("exp", json!(now + 2 * 86_400), "longer than a day"),
        ("exp", json!("tomorrow"), "until when"),
        ("exp", Value::Null, "until when"),
        ("nbf", json!(now + 61), "not hold yet"),
        ("iat", json!(now + 61), "not hold yet"),
        ("jti", Value::Null, "jti"),
        ("jti", json!(7), "jti"),
        ("jti", json!(""), "jti"),
    ] {
        println!("{claim} {value}");
        yard.refused(&yard.token_with(1, claim, value), why).await;
    }
    // None of them has used up the name of the token.
    yard.exchange(&yard.token(1)).await;
    for (n, claim, value) in [
        (2, "exp", json!(now - 59)),
        (3, "nbf", json!(now + 60)),
        (4, "aud", json!(["other", "bonded.test"])),
        (5, "ref", json!("refs/heads/next")),
        (6, "iat", Value::Null),
    ] {
        yard.exchange(&yard.token_with(n, claim, value)).await;
    }
}

#[tokio::test]
async fn a_token_is_taken_once_unless_the_rule_says_otherwise() {
    let yard = Yard::build().await;
    yard.exchange(&yard.token(1)).await;
    yard.refused(&yard.token(1), "used before").await;
    yard.refused(&yard.token_with(1, "run_id", json!("18")), "used before").await;
    yard.add("open", PublisherWish { reuse: true, ..yard.wish("ci") }).await;
    let both = json!([{"path": "closed", "role": "write"}, {"path": "open", "role": "write"}]);
    let open = json!([{"path": "open", "role": "write"}]);
    for (n, expected) in [(2, &both), (2, &open), (1, &open), (3, &both)] {
        let (status, body) = yard.answer(&json!({"token": yard.token(n)})).await;
        assert_eq!((status, &body["namespaces"]), (StatusCode::OK, expected), "{n}");
    }
    let (_, body) = yard.answer(&json!({"token": yard.token_with(4, "jti", Value::Null)})).await;
    assert_eq!(body["namespaces"], open);
    let (_, body) = yard.answer(&json!({"token": yard.token(5), "namespace": "open"})).await;
    assert_eq!(body["namespaces"], open);
    let (_, body) = yard.answer(&json!({"token": yard.token(5), "namespace": "closed"})).await;
    assert_eq!(body["namespaces"], json!([{"path": "closed", "role": "write"}]));
    let (status, _) = yard.answer(&json!({"token": yard.token(6), "namespace": "none"})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // What is forgotten would not be taken anyway.
    yard.town.app.clock.advance(Duration::from_mins(2));
    yard.town.app.auth.forget_exchanged().await.expect("swept");
    let (status, body) = yard.answer(&json!({"token": yard.token(1), "namespace": "closed"})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    assert!(body["error"].as_str().expect("a text").contains("used before"), "{body}");
}

#[tokio::test]
async fn of_many_that_show_one_token_one_is_let_in() {
    let yard = Yard::build().await;
    let token = yard.token(1);
    let all = futures_util::future::join_all((0..8).map(|_| yard.status(&token))).await;
    assert_eq!(all.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{all:?}");
    assert!(all.iter().all(|status| [StatusCode::OK, StatusCode::UNAUTHORIZED].contains(status)), "{all:?}");
}

#[tokio::test]
async fn every_algorithm_with_public_keys_is_taken() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let yard = Yard::build().await;
    let keys: Vec<TestKey> = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]
        .into_iter()
        .map(|algorithm| TestKey::new(&format!("{algorithm:?}"), algorithm))
        .collect();
    yard.issuer.publishes(&keys.iter().collect::<Vec<_>>());
    for (n, key) in keys.iter().enumerate() {
        yard.exchange(&key.sign(&yard.claims(u32::try_from(n).expect("a few")))).await;
    }
    assert_eq!(yard.issuer.asked(), 1);
}

#[tokio::test]
async fn no_trick_with_a_signature_helps() {
    let yard = Yard::build().await;
    let (rsa, stranger) = (TestKey::new("rsa", Algorithm::RS256), TestKey::new("one", Algorithm::ES256));
    yard.issuer.publishes(&[&yard.key, &rsa]);
    let (claims, good) = (yard.claims(1), yard.token(1));
    // The keys are those of a later moment, so one that is unknown is none.
    yard.town.app.clock.advance(Duration::from_secs(61));
    let elsewhere = FakeIssuer::start(&[&stranger]).await;
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = |header: &Value| format!("{}.", message(header, &claims));
    let shared = |algorithm: Algorithm, secret: &[u8]| {
        let message = message(&json!({"alg": algorithm, "kid": "rsa"}), &claims);
        let key = EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).expect("a signature");
        format!("{message}.{signature}")
    };
    let public = rsa.public();
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().expect("a modulus")).expect("base64");
    let header = |more: Value| {
        let mut header = json!({"alg": "ES256", "kid": "one"});
        for (name, value) in more.as_object().expect("an object") {
            header[name] = value.clone();
        }
        stranger.sign_as(&header, &claims)
    };
    let mut changed = claims.clone();
    changed["run_id"] = json!("18");
    let bad = vec![
        unsigned(&json!({"alg": "none"})),
        unsigned(&json!({"alg": "none", "kid": "one"})),
        unsigned(&json!({"alg": "ES256", "kid": "one"})),
        format!("{}.{}", parts[0], parts[1]),
        shared(Algorithm::HS256, public.to_string().as_bytes()),
        shared(Algorithm::HS256, public["n"].as_str().expect("a modulus").as_bytes()),
        shared(Algorithm::HS512, &modulus),
        shared(Algorithm::HS256, b""),
        stranger.sign(&claims),
        rsa.sign_as(&json!({"alg": "RS256", "kid": "one"}), &claims),
        rsa.sign_as(&json!({"alg": "ES256", "kid": "rsa"}), &claims),
        rsa.sign_as(&json!({"alg": "PS256", "kid": "rsa"}), &claims),
        yard.key.sign_as(&json!({"alg": "RS256", "kid": "rsa"}), &claims),
        yard.key.sign_as(&json!({"alg": "ES384", "kid": "one"}), &claims),
        yard.key.sign_as(&json!({"alg": "ES256", "kid": "two"}), &claims),
        yard.key.sign_as(&json!({"alg": "ES256", "kid": "../../etc/passwd"}), &claims),
        yard.key.sign_as(&json!({"alg": "ES256", "kid": "' OR 1=1 --"}), &claims),
        yard.key.sign_as(&json!({"alg": "ES256", "kid": ["one"]}), &claims),
        yard.key.sign_as(&json!({"alg": "ES256", "kid": "one", "crit": ["exp"]}), &claims),
        header(json!({"jwk": stranger.public()})),
        header(json!({"jku": format!("{}/keys", elsewhere.url())})),
        header(json!({"x5u": elsewhere.url(), "x5c": ["AAAA"]})),
        format!("{}.{}.{}", parts[0], message(&json!({}), &changed).split('.').nth(1).expect("a part"), parts[2]),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        format!("{good}.{}", parts[2]),
        String::new(),
        "..".to_owned(),
        "a".repeat(20_000),
        "[".repeat(5_000),
    ];
    for bad in bad {
        assert_eq!(yard.status(&bad).await, StatusCode::UNAUTHORIZED, "{bad}");
    }
    for at in (0..good.len() - 1).step_by(5) {
        let mut text = good.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(text).expect("ASCII");
        assert_eq!(yard.status(&bad).await, StatusCode::UNAUTHORIZED, "{bad}");
    }
    assert_eq!(elsewhere.asked(), 0);
    yard.exchange(&good).await;
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_without_a_failure() {
    let yard = Yard::build().await;
    for body in
        [json!({}), json!({"token": 1}), json!({"token": "a", "more": 1}), json!({"token": "a", "namespace": "/"})]
    {
        assert_eq!(yard.answer(&body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(yard.answer(&json!({"token": "a".repeat(100_000)})).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_highest_role_counts_where_rules_overlap() {
    let yard = Yard::build().await;
    let wide = PublisherWish {
        role: bonded::access::Role::Read,
        claims: claims(&[("repository_owner", "acme")]),
        ..yard.wish("org")
    };
    yard.add("closed", wide).await;
    let (_, body) = yard.answer(&json!({"token": yard.token(1)})).await;
    assert_eq!(body["namespaces"], json!([{"path": "closed", "role": "write"}]));
    let (_, body) = yard.answer(&json!({"token": yard.token_with(2, "repository", json!("acme/web"))})).await;
    assert_eq!(body["namespaces"], json!([{"path": "closed", "role": "read"}]));
}

/// One job with one token may act in many namespaces, but not in any number, and however many rules somebody makes in his
/// own, those of others count.
#[tokio::test]
async fn nobody_with_many_rules_keeps_a_job_from_its_namespace() {
    let yard = Yard::build().await;
    let junk = Some(json!({"keys": [TestKey::new("junk", Algorithm::ES256).public()]}).to_string());
    for n in 0..20 {
        yard.add("open", yard.wish(&format!("r{n}"))).await;
        yard.add("open", PublisherWish { jwks: junk.clone(), ..yard.wish(&format!("k{n}")) }).await;
    }
    let own = Some(json!({"keys": [yard.key.public()]}).to_string());
    yard.add("closed", PublisherWish { jwks: own, role: bonded::access::Role::Admin, ..yard.wish("own") }).await;
    let (_, body) = yard.answer(&json!({"token": yard.token(1)})).await;
    let both = json!([{"path": "closed", "role": "admin"}, {"path": "open", "role": "write"}]);
    assert_eq!(body["namespaces"], both, "{body}");
    let app = &yard.town.app;
    for n in 0..31 {
        let new = NamespaceRecord { path: path(&format!("n{n}")), public: false, created_at: app.auth.now() };
        let by = Actor::command_line();
        app.auth.accounts().namespace_add(&new, &user("root"), &by).await.expect("an answer");
        yard.add(new.path.as_str(), yard.wish("ci")).await;
    }
    yard.refused(&yard.token(2), "name the namespace").await;
    let (status, _) = yard.answer(&json!({"token": yard.token(2), "namespace": "closed"})).await;
    assert_eq!(status, StatusCode::OK);
}
