//! What ends credentials, for good and on every node, and what goes on after one has ended by itself.

use std::time::Duration;

use bonded::access::{Scopes, TokenScopes};
use bonded::auth::{Credentials, TokenWish};
use bonded::metadata::model::accounts::{Actor, Changed, UserChange};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{call, done, text};
use super::{Town, user, with};
use crate::app::{expect, header, json as body_of};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";
const SCOPE: &str = "repository:closed/app:pull,push";
const PASSWORD: &str = "correct horse battery";
const OTHER_PASSWORD: &str = "another horse battery";

/// Whatever `writer` may prove who he is by.
struct Proofs {
    /// Made by the password.
    bearer: String,
    refresh: String,
    login: String,
    /// Made by itself.
    token: String,
    /// Made by the token.
    derived: String,
}

impl Proofs {
    async fn gather(town: &Town) -> Self {
        town.set_password("writer", PASSWORD).await;
        let token = town.token("writer", &[]).await;
        let by_password = answer(town, PASSWORD, "&offline_token=true").await;
        let given = json!({"username": "writer", "password": PASSWORD});
        let login = call(&town.app, Method::POST, "/api/v1/auth/login", None, Some(&given));
        let login = body_of(expect(login, StatusCode::OK).await).await;
        let proofs = Self {
            bearer: text(&by_password, "token").to_owned(),
            refresh: text(&by_password, "refresh_token").to_owned(),
            login: text(&login, "token").to_owned(),
            derived: text(&answer(town, &token, "").await, "token").to_owned(),
            token,
        };
        for good in proofs.all() {
            expect(with(town.app.get(MANIFEST), Some(good)), StatusCode::OK).await;
        }
        proofs.refreshes(town, StatusCode::OK).await;
        proofs
    }

    fn all(&self) -> [&str; 4] {
        [&self.bearer, &self.login, &self.token, &self.derived]
    }

    async fn refreshes(&self, town: &Town, status: StatusCode) {
        let form = format!("grant_type=refresh_token&service=x&refresh_token={}&scope={SCOPE}", self.refresh);
        let request = town.app.post("/v2/token").header("content-type", "application/x-www-form-urlencoded");
        expect(request.body(form), status).await;
    }
}

async fn answer(town: &Town, password: &str, more: &str) -> Value {
    let request = town.app.get(&format!("/v2/token?service=bonded.test&scope={SCOPE}{more}"));
    body_of(expect(request.basic_auth("writer", Some(password)), StatusCode::OK).await).await
}

#[tokio::test]
async fn what_came_of_a_password_ends_with_it() {
    let town = Town::build().await;
    let (proofs, root) = (Proofs::gather(&town).await, town.token("root", &[]).await);
    let change = json!({"new": OTHER_PASSWORD});
    done(&town.app, (Method::PUT, "/api/v1/users/writer/password"), &root, Some(&change)).await;
    for ended in [&proofs.bearer, &proofs.login] {
        let refusal = expect(with(town.app.get(MANIFEST), Some(ended)), StatusCode::UNAUTHORIZED).await;
        assert!(header(&refusal, "www-authenticate").contains(r#"error="invalid_token""#));
    }
    proofs.refreshes(&town, StatusCode::UNAUTHORIZED).await;
    // An API token is a secret of its own.
    for stays in [&proofs.token, &proofs.derived] {
        expect(with(town.app.get(MANIFEST), Some(stays)), StatusCode::OK).await;
    }
    let again = answer(&town, OTHER_PASSWORD, "").await;
    expect(with(town.app.get(MANIFEST), again["token"].as_str()), StatusCode::OK).await;
}

/// Another process does it; this node looks every second.
#[tokio::test]
async fn the_other_nodes_follow_within_a_second() {
    let town = Town::build().await;
    for change in [UserChange::Password(None), UserChange::Disabled(true)] {
        let proofs = Proofs::gather(&town).await;
        let (accounts, by) = (town.app.auth.accounts(), Actor::command_line());
        let changed = accounts.user_change(&user("writer"), &change, town.app.auth.now(), &by).await;
        assert_eq!(changed.expect("an answer"), Changed::Done);
        town.app.auth.refresh().await.expect("the new state");
        expect(with(town.app.get(MANIFEST), Some(&proofs.bearer)), StatusCode::UNAUTHORIZED).await;
    }
}

/// Whoever has shown the old password a moment ago gets nothing by it that would outlast it.
#[tokio::test]
async fn a_password_that_changes_meanwhile_is_good_for_nothing() {
    let town = Town::build().await;
    town.set_password("writer", PASSWORD).await;
    let auth = &town.app.auth;
    let shown = Credentials::Basic { user: "writer".to_owned(), password: PASSWORD.into() };
    let identity = auth.identify(&shown, &Actor::command_line).await.expect("the writer");
    town.set_password("writer", OTHER_PASSWORD).await;
    let late = auth.issue(&identity, &Scopes::parse([SCOPE])).await.expect("a token");
    expect(with(town.app.get(MANIFEST), Some(&late.token)), StatusCode::UNAUTHORIZED).await;
    let principal = identity.principal().expect("an account");
    let refresh = auth.add_login(principal, Duration::from_hours(1), &Actor::command_line()).await;
    assert!(refresh.expect("an answer").is_none());
}

#[tokio::test]
async fn nothing_comes_back_with_an_account_that_is_enabled_again() {
    let town = Town::build().await;
    let (proofs, root) = (Proofs::gather(&town).await, town.token("root", &[]).await);
    let begun = with(town.app.post("/v2/closed/app/blobs/uploads/"), Some(&proofs.bearer));
    let session = header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned();
    for disabled in [true, false] {
        let change = json!({"disabled": disabled});
        done(&town.app, (Method::PATCH, "/api/v1/users/writer"), &root, Some(&change)).await;
        for ended in proofs.all() {
            expect(with(town.app.get(MANIFEST), Some(ended)), StatusCode::UNAUTHORIZED).await;
            let patch = with(town.app.patch(&session), Some(ended)).body("some bytes");
            expect(patch, StatusCode::UNAUTHORIZED).await;
        }
        proofs.refreshes(&town, StatusCode::UNAUTHORIZED).await;
    }
    let listed = done(&town.app, (Method::GET, "/api/v1/tokens?user=writer"), &root, None).await;
    assert_eq!(listed["tokens"], json!([]));
    // The password is not one of them, and what it makes now holds; enabling what is enabled ends nothing.
    let again = answer(&town, PASSWORD, "").await;
    done(&town.app, (Method::PATCH, "/api/v1/users/writer"), &root, Some(&json!({"disabled": false}))).await;
    expect(with(town.app.get(MANIFEST), again["token"].as_str()), StatusCode::OK).await;
    let patch = with(town.app.patch(&session), again["token"].as_str()).body("some bytes");
    expect(patch, StatusCode::ACCEPTED).await;
}

/// An API token, as one of the token service does: a layer may take longer to come than it lives.
#[tokio::test]
async fn an_api_token_that_has_ended_by_itself_still_ends_what_its_owner_began() {
    let town = Town::build().await;
    let app = &town.app;
    let scopes = TokenScopes::parse(&["closed/**:pull,push"]).expect("scopes");
    let wish = TokenWish { name: String::new(), scopes, life: Some(Duration::from_mins(1)) };
    let made = app.auth.add_token(&user("writer"), wish, None, &Actor::command_line()).await;
    let (id, token) = made.expect("a token");
    let token = token.expose();
    let begin = async |token: &str| {
        let begun = with(app.post("/v2/closed/app/blobs/uploads/"), Some(token));
        header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned()
    };
    let (finished, cancelled, revoked) = (begin(token).await, begin(token).await, begin(token).await);
    let others = begin(&town.token("manager", &[]).await).await;
    app.clock.advance(Duration::from_mins(2));

    let patch = |location: &str| with(app.patch(location), Some(token)).body("some bytes");
    expect(patch(&finished), StatusCode::ACCEPTED).await;
    let put = app.put(&format!("{finished}?digest={}", crate::fixtures::sha256(b"some bytes")));
    expect(put.basic_auth("anybody", Some(token)), StatusCode::CREATED).await;
    expect(with(app.delete(&cancelled), Some(token)), StatusCode::NO_CONTENT).await;
    expect(patch(&others), StatusCode::NOT_FOUND).await;
    for request in [app.get(&revoked), app.get(MANIFEST), app.post("/v2/closed/app/blobs/uploads/")] {
        expect(with(request, Some(token)), StatusCode::UNAUTHORIZED).await;
    }
    // What a client keeps in place of a password is good for nothing but new tokens, in time or not.
    let refresh = { Proofs::gather(&town).await.refresh };
    expect(with(app.patch(&revoked), Some(&refresh)).body("some bytes"), StatusCode::UNAUTHORIZED).await;

    let ended = app.auth.end_token(None, &id, &Actor::command_line()).await;
    assert!(ended.expect("an answer"));
    expect(patch(&revoked), StatusCode::UNAUTHORIZED).await;
}
