//! What comes of a credential can do no more than it, and does not outlast it.

use std::time::Duration;

use bonded::access::TokenScopes;
use bonded::auth::TokenWish;
use bonded::metadata::model::accounts::Actor;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, user, with};
use crate::app::{expect, json as body_of};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";
const SCOPE: &str = "repository:closed/app:pull";
const PASSWORD: &str = "correct horse battery";

/// A token that lives for some seconds.
async fn brief(town: &Town, seconds: u64) -> String {
    let life = Some(Duration::from_secs(seconds));
    let wish = TokenWish { name: String::new(), scopes: TokenScopes::default(), life };
    let made = town.app.auth.add_token(&user("reader"), wish, None, &Actor::command_line()).await;
    made.expect("a token").1.expose().to_owned()
}

async fn bearer(town: &Town, token: &str) -> Value {
    let request = town.app.get(&format!("/v2/token?service=bonded.test&scope={SCOPE}")).bearer_auth(token);
    body_of(expect(request, StatusCode::OK).await).await
}

fn text(answer: &Value) -> String {
    answer["token"].as_str().expect("a token").to_owned()
}

async fn log_in(town: &Town) -> String {
    town.set_password("reader", PASSWORD).await;
    let given = json!({"username": "reader", "password": PASSWORD});
    text(&body_of(expect(town.app.post("/api/v1/auth/login").json(&given), StatusCode::OK).await).await)
}

#[tokio::test]
async fn a_token_for_one_repository_is_no_login() {
    let town = Town::build().await;
    let login = log_in(&town).await;
    let narrow = text(&bearer(&town, &login).await);
    for path in ["/api/v1/auth/refresh", "/api/v1/auth/logout"] {
        expect(town.app.post(path).bearer_auth(&narrow), StatusCode::FORBIDDEN).await;
    }
    let renewed = expect(town.app.post("/api/v1/auth/refresh").bearer_auth(&login), StatusCode::OK).await;
    let renewed = text(&body_of(renewed).await);
    expect(town.app.post("/api/v1/auth/refresh").bearer_auth(&login), StatusCode::UNAUTHORIZED).await;
    expect(town.app.post("/api/v1/auth/logout").bearer_auth(&renewed), StatusCode::NO_CONTENT).await;
    expect(town.app.get("/api/v1/users/me").bearer_auth(&renewed), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn of_two_that_renew_one_login_one_has_it() {
    let town = Town::build().await;
    let login = log_in(&town).await;
    let renew = || town.app.post("/api/v1/auth/refresh").bearer_auth(&login).send();
    let (one, other) = tokio::join!(renew(), renew());
    let mut answers = [one.expect("an answer").status(), other.expect("an answer").status()];
    answers.sort_unstable();
    assert_eq!(answers, [StatusCode::OK, StatusCode::UNAUTHORIZED]);
}

#[tokio::test]
async fn a_refresh_token_renews_and_is_good_for_nothing_else() {
    let town = Town::build().await;
    town.set_password("reader", PASSWORD).await;
    let offline = town.app.get(&format!("/v2/token?scope={SCOPE}&offline_token=true"));
    let answer = body_of(expect(offline.basic_auth("reader", Some(PASSWORD)), StatusCode::OK).await).await;
    let refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
    for path in [MANIFEST, "/v2/", "/api/v1/users/me", "/v2/token"] {
        expect(town.app.get(path).bearer_auth(&refresh), StatusCode::UNAUTHORIZED).await;
        expect(town.app.get(path).basic_auth("reader", Some(&refresh)), StatusCode::UNAUTHORIZED).await;
    }
    let renew = |refresh: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", SCOPE)];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        town.app.post("/v2/token").header("content-type", "application/x-www-form-urlencoded").body(form)
    };
    let renewed = text(&body_of(expect(renew(&refresh), StatusCode::OK).await).await);
    expect(town.app.get(MANIFEST).bearer_auth(&renewed), StatusCode::OK).await;
    expect(renew(&renewed), StatusCode::UNAUTHORIZED).await;

    // Its owner sees it among his tokens and ends it.
    let login = log_in(&town).await;
    expect(renew(&refresh), StatusCode::UNAUTHORIZED).await;
    let offline = town.app.get("/v2/token?offline_token=true").basic_auth("reader", Some(PASSWORD));
    let answer = body_of(expect(offline, StatusCode::OK).await).await;
    let refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
    let listed = body_of(expect(town.app.get("/api/v1/tokens").bearer_auth(&login), StatusCode::OK).await).await;
    for token in listed["tokens"].as_array().expect("a list") {
        let id = token["id"].as_str().expect("a number").to_owned();
        if !id.starts_with("login-") {
            let ended = town.app.delete(&format!("/api/v1/tokens/{id}")).bearer_auth(&login);
            expect(ended, StatusCode::NO_CONTENT).await;
        }
    }
    expect(renew(&refresh), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_token_with_scopes_pulls_what_everybody_may() {
    let town = Town::build().await;
    let narrow = town.token("reader", &["closed/**:pull"]).await;
    expect(town.app.get("/v2/open/app/manifests/v1").bearer_auth(&narrow), StatusCode::OK).await;
    let exchanged = town.exchange(Some(&narrow), &["repository:open/app:pull,push"]).await;
    let exchanged = text(&exchanged);
    expect(town.app.get("/v2/open/app/manifests/v1").bearer_auth(&exchanged), StatusCode::OK).await;
    let push = town.app.post("/v2/open/app/blobs/uploads/");
    expect(push.bearer_auth(&exchanged), StatusCode::FORBIDDEN).await;
}

#[tokio::test]
async fn many_that_begin_at_once_with_the_right_password_are_let_in() {
    let town = Town::build().await;
    town.set_password("reader", PASSWORD).await;
    let requests = (0..80).map(|_| town.app.get(MANIFEST).basic_auth("reader", Some(PASSWORD)).send());
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_token_of_the_token_service_ends_with_what_it_was_asked_for_by() {
    let town = Town::build().await;
    let answer = bearer(&town, &brief(&town, 90).await).await;
    assert_eq!(answer["expires_in"], 90);
    let first = text(&answer);
    town.app.clock.advance(Duration::from_mins(1));
    // A token cannot renew itself.
    let second = bearer(&town, &first).await;
    assert_eq!(second["expires_in"], 30);
    town.app.clock.advance(Duration::from_secs(31));
    for token in [first, text(&second)] {
        expect(with(town.app.get(MANIFEST), Some(&token)), StatusCode::UNAUTHORIZED).await;
    }
}

#[tokio::test]
async fn a_token_that_expires_makes_none_that_outlasts_it() {
    let town = Town::build().await;
    let parent = brief(&town, 3_600).await;
    for wish in [json!({}), json!({"expires_in": 86_400})] {
        let made = town.app.post("/api/v1/tokens").bearer_auth(&parent).json(&wish);
        let made = text(&body_of(expect(made, StatusCode::CREATED).await).await);
        expect(with(town.app.get(MANIFEST), Some(&made)), StatusCode::OK).await;
    }
    let listed = body_of(expect(town.app.get("/api/v1/tokens").bearer_auth(&parent), StatusCode::OK).await).await;
    let ends: Vec<&Value> = listed["tokens"].as_array().expect("a list").iter().map(|it| &it["expires_at"]).collect();
    assert!(ends.len() == 3 && ends.iter().all(|end| *end == ends[0]), "{ends:?}");

    // A login is by a password, whose owner may.
    let login = log_in(&town).await;
    let made = expect(town.app.post("/api/v1/tokens").bearer_auth(&login).json(&json!({})), StatusCode::CREATED).await;
    let made = text(&body_of(made).await);
    town.app.clock.advance(Duration::from_hours(24 * 40));
    expect(with(town.app.get(MANIFEST), Some(&made)), StatusCode::OK).await;
}
