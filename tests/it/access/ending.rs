//! What ends credentials, for good and on every node, and what goes on after one has ended by itself.

use std::time::Duration;

use bonded::access::{Scopes, TokenScopes};
use bonded::auth::{Credentials, TokenWish};
use bonded::clock::Clock as _;
use bonded::metadata::model::accounts::{Actor, Changed, UserChange};
use bonded::metadata::model::audit::AuditFilter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{call, done, refused, text};
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

/// Who makes tokens for others, by what, and what ends them.
#[tokio::test]
async fn what_was_made_for_others_ends_with_what_made_it() {
    let town = Town::build().await;
    let app = &town.app;
    let (root, by) = (town.token("root", &[]).await, Actor::command_line());
    done(app, (Method::POST, "/api/v1/namespaces/closed/robots"), &root, Some(&json!({"name": "ci"}))).await;
    let robots = "/api/v1/namespaces/closed/robots/ci/tokens";
    town.set_password("root", PASSWORD).await;
    let given = json!({"username": "root", "password": PASSWORD});
    let login = call(app, Method::POST, "/api/v1/auth/login", None, Some(&given));
    let login = body_of(expect(login, StatusCode::OK).await).await;
    let made = async |maker: &str, path: &str| {
        let new = if path == robots { json!({}) } else { json!({"user": "writer", "expires_in": 1_000_000}) };
        let made = done(app, (Method::POST, path), maker, Some(&new)).await;
        (text(&made, "id").to_owned(), text(&made, "token").to_owned())
    };
    let pulls = async |token: &str, status: StatusCode| {
        expect(with(app.get(MANIFEST), Some(token)), status).await;
    };
    let ours = made(&root, "/api/v1/tokens").await;
    let listed = done(app, (Method::GET, "/api/v1/tokens?user=writer"), &root, None).await;
    assert_eq!((text(&listed["tokens"][0], "id"), text(&listed["tokens"][0], "made_by")), (ours.0.as_str(), "root"));
    let parent = text(&listed["tokens"][0], "made_with").to_owned();
    let (robot, by_login) = (made(&root, robots).await, made(text(&login, "token"), "/api/v1/tokens").await);
    let robot_by_login = made(text(&login, "token"), robots).await;
    for (_, token) in [&ours, &robot, &by_login, &robot_by_login] {
        pulls(token, StatusCode::OK).await;
    }
    // The end of a token ends what it made, of robots too; nothing else does so.
    done(app, (Method::DELETE, &format!("/api/v1/tokens/{parent}")), text(&login, "token"), None).await;
    pulls(&ours.1, StatusCode::UNAUTHORIZED).await;
    pulls(&robot.1, StatusCode::UNAUTHORIZED).await;
    let filter =
        AuditFilter { kind: Some("token.add".to_owned()), actor: Some("root".to_owned()), ..AuditFilter::default() };
    let made_by_root = app.auth.audit().list(&filter, None, 1000).await.expect("a page").events;
    assert_eq!(made_by_root.len(), 4);
    assert_eq!(made_by_root.iter().filter(|event| event.detail()["made_with"] == parent.as_str()).count(), 2);
    // Nor does another password.
    town.set_password("root", OTHER_PASSWORD).await;
    pulls(&by_login.1, StatusCode::OK).await;
    pulls(&robot_by_login.1, StatusCode::OK).await;
    // Whoever may not act for others any more does so by nothing that he made. A robot acts for its namespace.
    app.auth.add_user(&user("boss"), None, None, true, &by).await.expect("an account");
    app.auth.change_user(&user("root"), &UserChange::Admin(false), &by).await.expect("a change");
    pulls(&by_login.1, StatusCode::UNAUTHORIZED).await;
    app.auth.change_user(&user("root"), &UserChange::Disabled(true), &by).await.expect("a change");
    pulls(&robot_by_login.1, StatusCode::OK).await;
}

/// Another process has ended him; this node looks every second.
#[tokio::test]
async fn whoever_may_not_any_more_makes_nothing_for_others() {
    let town = Town::build().await;
    let (app, by) = (&town.app, Actor::command_line());
    let boss = app.auth.add_user(&user("boss"), None, None, true, &by).await;
    boss.expect("an account");
    for change in [UserChange::Admin(false), UserChange::Disabled(true)] {
        let root = town.token("root", &[]).await;
        done(app, (Method::GET, "/api/v1/users"), &root, None).await;
        let changed = app.auth.accounts().user_change(&user("root"), &change, app.auth.now(), &by).await;
        assert_eq!(changed.expect("an answer"), Changed::Done);
        let made = call(app, Method::POST, "/api/v1/tokens", Some(&root), Some(&json!({"user": "writer"})));
        refused(made, StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
        app.auth.change_user(&user("root"), &UserChange::Admin(true), &by).await.expect("a change");
        app.auth.change_user(&user("root"), &UserChange::Disabled(false), &by).await.expect("a change");
    }
}

#[tokio::test]
async fn a_token_lives_no_longer_than_the_one_that_made_it() {
    let town = Town::build().await;
    let app = &town.app;
    let wish = TokenWish { name: String::new(), scopes: TokenScopes::default(), life: Some(Duration::from_mins(10)) };
    let made = app.auth.add_token(&user("manager"), wish, None, &Actor::command_line()).await;
    let manager = made.expect("a token").1;
    let robots = "/api/v1/namespaces/closed/robots";
    done(app, (Method::POST, robots), manager.expose(), Some(&json!({"name": "ci"}))).await;
    let asked = json!({"expires_in": 3600});
    for path in ["/api/v1/tokens", &format!("{robots}/ci/tokens")] {
        let made = done(app, (Method::POST, path), manager.expose(), Some(&asked)).await;
        let listed = done(app, (Method::GET, path), manager.expose(), None).await;
        let tokens = listed["tokens"].as_array().expect("tokens");
        let found = tokens.iter().find(|token| token["id"] == made["id"]).expect("it is listed");
        assert_eq!(found["expires_at"], json!(app.clock.now().as_micros() / 1_000_000 + 600), "{path}");
    }
}
