//! Challenges, the token service, and what becomes of tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bonded::metadata::model::accounts::{Actor, UserChange};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, user, with};
use crate::app::{error_code, expect, header, json as body_of};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";

fn token(answer: &Value) -> String {
    answer["token"].as_str().expect("a token").to_owned()
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).expect("a part");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn without_credentials_there_is_a_challenge() {
    let town = Town::build().await;
    for (request, scope) in [
        (town.app.get("/v2/"), ""),
        (town.app.head("/v2/"), ""),
        (town.app.get("/v2/_catalog"), r#",scope="registry:catalog:*""#),
        (town.app.get("/v2/open/app/manifests/v1"), r#",scope="repository:open/app:pull""#),
        (town.app.head(MANIFEST), r#",scope="repository:closed/app:pull""#),
        (town.app.post("/v2/closed/app/blobs/uploads/"), r#",scope="repository:closed/app:pull,push""#),
        (town.app.delete(MANIFEST), r#",scope="repository:closed/app:delete""#),
        (town.app.get("/v2/Bad//name"), ""),
        (town.app.get("/v2/").basic_auth("", Some("")), ""),
    ] {
        let answer = expect(request, StatusCode::UNAUTHORIZED).await;
        let realm = format!(r#"Bearer realm="http://{}/v2/token",service="bonded.test"{scope}"#, town.app.address);
        assert_eq!(header(&answer, "www-authenticate"), realm);
    }
}

#[tokio::test]
async fn a_token_grants_what_its_owner_may_of_what_was_asked_for() {
    let town = Town::build().await;
    let writer = town.token("writer", &[]).await;
    let asked =
        ["repository:closed/app:pull,push,delete repository:closed/new:push", "repository:loose:pull", "*", "x:y:z"];
    let answer = town.exchange(Some(&writer), &asked).await;
    assert_eq!(answer["token"], answer["access_token"]);
    assert!(answer["expires_in"].as_u64().expect("a number") >= 300 && answer["refresh_token"].is_null());
    let granted = json!([
        {"type": "repository", "name": "closed/app", "actions": ["pull", "push"]},
        {"type": "repository", "name": "closed/new", "actions": ["push"]},
    ]);
    let (head, claims) = (part(&token(&answer), 0), part(&token(&answer), 1));
    assert_eq!(
        (&claims["access"], &claims["sub"], &claims["aud"]),
        (&granted, &json!("writer"), &json!("bonded.test"))
    );
    let jwks = town.app.auth.jwks().await.expect("keys");
    assert_eq!((&head["alg"], &head["kid"]), (&json!("ES256"), &jwks["keys"][0]["kid"]));
    assert!(jwks["keys"][0].get("d").is_none(), "only the public half");

    let bearer = token(&answer);
    expect(with(town.app.get(MANIFEST), Some(&bearer)), StatusCode::OK).await;
    expect(with(town.app.head("/v2/closed/new/manifests/v1"), Some(&bearer)), StatusCode::UNAUTHORIZED).await;
    // A scope less than the right is answered with a challenge that says what is missing.
    let answer = expect(with(town.app.get("/v2/open/app/manifests/v1"), Some(&bearer)), StatusCode::UNAUTHORIZED).await;
    assert!(
        header(&answer, "www-authenticate").ends_with(r#"scope="repository:open/app:pull",error="insufficient_scope""#)
    );
}

#[tokio::test]
async fn who_may_create_a_repository_may_look_before_it_is_there() {
    let town = Town::build().await;
    let writer = town.token("writer", &[]).await;
    let bearer = token(&town.exchange(Some(&writer), &["repository:closed/new:pull,push"]).await);
    expect(with(town.app.head("/v2/closed/new/manifests/v1"), Some(&bearer)), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_mount_goes_by_what_the_account_may_and_never_fails() {
    let town = Town::build().await;
    let digest = crate::fixtures::sha256(b"layer");
    let mount = |from: &str| town.app.post(&format!("/v2/closed/other/blobs/uploads/?mount={digest}&from={from}"));
    for (name, from, status) in [
        ("writer", "open/app", StatusCode::CREATED),
        ("writer", "closed/app", StatusCode::CREATED),
        ("writer", "loose", StatusCode::ACCEPTED),
        ("writer", "nowhere", StatusCode::ACCEPTED),
        ("root", "loose", StatusCode::CREATED),
    ] {
        let credential = town.token(name, &[]).await;
        let bearer = token(&town.exchange(Some(&credential), &["repository:closed/other:pull,push"]).await);
        expect(with(mount(from), Some(&bearer)), status).await;
    }
}

/// Also through a token of the token service that was made from it.
#[tokio::test]
async fn a_mount_reads_no_more_than_the_scopes_of_an_api_token() {
    let town = Town::build().await;
    let digest = crate::fixtures::sha256(b"layer");
    let scoped = town.token("writer", &["closed/**:pull,push"]).await;
    let blind = town.token("writer", &["closed/**:push"]).await;
    for (credential, from, status) in [
        (&scoped, "open/app", StatusCode::ACCEPTED),
        (&scoped, "closed/app", StatusCode::CREATED),
        (&blind, "closed/app", StatusCode::ACCEPTED),
    ] {
        let bearer = token(&town.exchange(Some(credential), &["repository:closed/other:pull,push"]).await);
        for credential in [credential, &bearer] {
            let mount = town.app.post(&format!("/v2/closed/other/blobs/uploads/?mount={digest}&from={from}"));
            expect(with(mount, Some(credential)), status).await;
        }
    }
}

#[tokio::test]
async fn tokens_end_with_what_they_came_from() {
    let town = Town::build().await;
    let scope = ["repository:closed/app:pull"];
    let reader = town.token("reader", &[]).await;
    let bearer = token(&town.exchange(Some(&reader), &scope).await);
    expect(with(town.app.get(MANIFEST), Some(&bearer)), StatusCode::OK).await;
    let by = Actor::command_line();
    town.app.auth.change_user(&user("reader"), &UserChange::Disabled(true), &by).await.expect("disabled");
    for credential in [&reader, &bearer] {
        let answer = expect(with(town.app.get(MANIFEST), Some(credential)), StatusCode::UNAUTHORIZED).await;
        assert!(header(&answer, "www-authenticate").contains(r#"error="invalid_token""#));
        assert_eq!(error_code(answer).await, "UNAUTHORIZED");
    }
    town.app.auth.change_user(&user("reader"), &UserChange::Disabled(false), &by).await.expect("enabled");
    let reader = town.token("reader", &[]).await;
    let bearer = token(&town.exchange(Some(&reader), &scope).await);
    expect(with(town.app.get(MANIFEST), Some(&bearer)), StatusCode::OK).await;
    town.app.clock.advance(Duration::from_secs(301));
    expect(with(town.app.get(MANIFEST), Some(&bearer)), StatusCode::UNAUTHORIZED).await;
    expect(with(town.app.get(MANIFEST), Some(&reader)), StatusCode::OK).await;
}

#[tokio::test]
async fn any_change_to_a_token_makes_it_worthless() {
    let town = Town::build().await;
    let reader = town.token("reader", &[]).await;
    let good = token(&town.exchange(Some(&reader), &["repository:closed/app:pull"]).await);
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = |change: &dyn Fn(&mut Value)| {
        let mut head = part(&good, 0);
        change(&mut head);
        format!("{}.{}.{}", encoded(&head), parts[1], parts[2])
    };
    let claims = |name: &str, value: Value| {
        let mut claims = part(&good, 1);
        claims[name] = value;
        format!("{}.{}.{}", parts[0], encoded(&claims), parts[2])
    };
    let mut bad = vec![
        head(&|head| head["alg"] = json!("none")),
        head(&|head| head["alg"] = json!("HS256")),
        head(&|head| head["alg"] = json!("RS256")),
        head(&|head| head["kid"] = json!("../../etc/passwd")),
        head(&|head| head["kid"] = json!("' OR 1=1 --")),
        head(&|head| head["kid"] = Value::Null),
        head(&|head| head["jwk"] = json!({"kty": "oct", "k": "AAAA"})),
        head(&|head| head["jku"] = json!("http://127.0.0.1:1/keys")),
        claims("exp", json!(9_999_999_999_u64)),
        claims("aud", json!("elsewhere")),
        claims("sub", json!("root")),
        claims("access", json!([{"type": "repository", "name": "closed/app", "actions": ["*"]}])),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        ".".to_owned(),
        "..".to_owned(),
        "a".repeat(20_000),
    ];
    for at in (0..good.len()).step_by(7) {
        let mut text = good.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        bad.push(String::from_utf8(text).expect("ASCII"));
    }
    for bad in bad {
        let answer = with(town.app.get(MANIFEST), Some(&bad)).send().await.expect("an answer");
        // The last character of a signature has bits that stand for nothing.
        let same = bad.len() == good.len() && bad[..good.len() - 1] == good[..good.len() - 1];
        assert!(answer.status() == StatusCode::UNAUTHORIZED || same, "{} for {bad}", answer.status());
    }
    expect(with(town.app.get(MANIFEST), Some(&good)), StatusCode::OK).await;
}

#[tokio::test]
async fn the_form_of_oauth_is_answered_too() {
    let town = Town::build().await;
    let reader = town.token("reader", &[]).await;
    let form = |pairs: &[(&str, &str)]| {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        town.app.post("/v2/token").header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let scope = ("scope", "repository:closed/app:pull");
    let password = [("grant_type", "password"), ("username", "reader"), ("password", reader.as_str()), scope];
    let answer = body_of(expect(form(&password), StatusCode::OK).await).await;
    expect(with(town.app.get(MANIFEST), Some(&token(&answer))), StatusCode::OK).await;
    assert!(answer["refresh_token"].is_null());

    // What comes of a token does not outlive it; a password may be stood for.
    let offline = [&password[..], &[("access_type", "offline")]].concat();
    let answer = body_of(expect(form(&offline), StatusCode::OK).await).await;
    assert!(answer["refresh_token"].is_null());
    let correct = "correct horse battery";
    town.set_password("reader", correct).await;
    let password = [("grant_type", "password"), ("username", "reader"), ("password", correct), scope];
    let offline = [&password[..], &[("access_type", "offline")]].concat();
    let answer = body_of(expect(form(&offline), StatusCode::OK).await).await;
    let refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
    let again = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), scope];
    let answer = body_of(expect(form(&again), StatusCode::OK).await).await;
    expect(with(town.app.get(MANIFEST), Some(&token(&answer))), StatusCode::OK).await;

    let wrong = [("grant_type", "password"), ("username", "reader"), ("password", "bonded_wrong"), scope];
    let answer = body_of(expect(form(&wrong), StatusCode::UNAUTHORIZED).await).await;
    assert_eq!((&answer["error"], &answer["errors"][0]["code"]), (&json!("invalid_grant"), &json!("UNAUTHORIZED")));
    let unknown = [("grant_type", "client_credentials")];
    let answer = body_of(expect(form(&unknown), StatusCode::BAD_REQUEST).await).await;
    assert_eq!(answer["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_password_opens_what_its_owner_may() {
    let town = Town::build().await;
    let password = "correct horse battery";
    town.set_password("reader", password).await;
    let get = |name: &str, password: &str| town.app.get(MANIFEST).basic_auth(name, Some(password));
    for _ in 0..2 {
        expect(get("reader", password), StatusCode::OK).await;
        expect(get("Reader", password), StatusCode::OK).await;
        expect(get("reader", "correct horse batterz"), StatusCode::UNAUTHORIZED).await;
        expect(get("stranger", password), StatusCode::UNAUTHORIZED).await;
        expect(get("no such user", password), StatusCode::UNAUTHORIZED).await;
    }
    town.set_password("reader", "another horse battery").await;
    expect(get("reader", password), StatusCode::UNAUTHORIZED).await;
    expect(get("reader", "another horse battery"), StatusCode::OK).await;
}

/// A session belongs to whom began it.
#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let town = Town::build().await;
    let (writer, manager) = (town.token("writer", &[]).await, town.token("manager", &[]).await);
    let begun = with(town.app.post("/v2/closed/app/blobs/uploads/"), Some(&writer));
    let location = header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned();
    let patch = |token: &str| with(town.app.patch(&location), Some(token)).body("some bytes");
    expect(patch(&manager), StatusCode::NOT_FOUND).await;
    expect(patch(&writer), StatusCode::ACCEPTED).await;
    for request in [town.app.get(&location), town.app.delete(&location), town.app.patch(&location).body("more")] {
        expect(with(request, Some(&manager)), StatusCode::NOT_FOUND).await;
    }
    expect(with(town.app.get(&location), Some(&writer)), StatusCode::NO_CONTENT).await;
    expect(with(town.app.delete(&location), Some(&writer)), StatusCode::NO_CONTENT).await;
}

/// A layer may take longer to come than a token lives.
#[tokio::test]
async fn an_expired_token_still_ends_what_its_principal_began() {
    let town = Town::build().await;
    let writer = town.token("writer", &[]).await;
    let scope = ["repository:closed/app:pull,push"];
    let bearer = token(&town.exchange(Some(&writer), &scope).await);
    let begin = async |bearer: &str| {
        let begun = with(town.app.post("/v2/closed/app/blobs/uploads/"), Some(bearer));
        header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned()
    };
    let (finished, cancelled, revoked) = (begin(&bearer).await, begin(&bearer).await, begin(&bearer).await);
    let manager = token(&town.exchange(Some(&town.token("manager", &[]).await), &scope).await);
    let others = begin(&manager).await;
    town.app.clock.advance(Duration::from_mins(10));

    let patch = |location: &str| with(town.app.patch(location), Some(&bearer)).body("some bytes");
    expect(patch(&finished), StatusCode::ACCEPTED).await;
    let digest = crate::fixtures::sha256(b"some bytes");
    let put = with(town.app.put(&format!("{finished}?digest={digest}")), Some(&bearer));
    expect(put, StatusCode::CREATED).await;
    expect(patch(&cancelled), StatusCode::ACCEPTED).await;
    expect(with(town.app.delete(&cancelled), Some(&bearer)), StatusCode::NO_CONTENT).await;

    expect(patch(&others), StatusCode::NOT_FOUND).await;
    for request in [town.app.get(&revoked), town.app.get(MANIFEST), town.app.post("/v2/closed/app/blobs/uploads/")] {
        expect(with(request, Some(&bearer)), StatusCode::UNAUTHORIZED).await;
    }
    let disabled = UserChange::Disabled(true);
    town.app.auth.change_user(&user("writer"), &disabled, &Actor::command_line()).await.expect("disabled");
    expect(patch(&revoked), StatusCode::UNAUTHORIZED).await;
}
