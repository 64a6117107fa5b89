//! How many requests and logins somebody may send.

use std::sync::Arc;
use std::time::Duration;

use bonded::access::{ClientLimits, LoginLimits, UserName};
use bonded::auth::{AdminError, AuthError, Given};
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::audit::AuditFilter;
use futures_util::future::join_all;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::json;

use super::{Town, user, with};
use crate::app::{TestApp, TestAppBuilder, error_code, expect, header, json as body_of, maybe_header};

const RIGHT: &str = "correct horse battery";
const MANIFEST: &str = "/v2/closed/app/manifests/v1";
const OPEN: &str = "/v2/open/app/manifests/v1";

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn somebody_at(address: &str) -> Actor {
    Actor { address: Some(address.parse().expect("an address")), ..Actor::default() }
}

async fn set_password(app: &TestApp, name: &str) {
    let given = Given::Plain(secret(RIGHT));
    app.auth.set_password(&user(name), given, &Actor::command_line()).await.expect("a password");
}

/// A town behind a proxy, in which `reader` and `writer` have passwords.
async fn town(change: impl FnOnce(&mut ClientLimits)) -> Town {
    found(TestApp::builder().clients(change).behind_a_proxy()).await
}

async fn found(builder: TestAppBuilder) -> Town {
    let town = Town::found(builder.start().await).await;
    for name in ["reader", "writer"] {
        set_password(&town.app, name).await;
    }
    // What was sent until now has run out.
    town.app.clock.advance(Duration::from_hours(1));
    town
}

fn from(request: RequestBuilder, address: &str) -> RequestBuilder {
    request.header("x-forwarded-for", address)
}

impl Town {
    fn log_in(&self, name: &str, password: &str, address: &str) -> RequestBuilder {
        from(self.app.get(MANIFEST).basic_auth(name, Some(password)), address)
    }

    fn log_in_for_long(&self, name: &str, password: &str, address: &str) -> RequestBuilder {
        let body = json!({"username": name, "password": password}).to_string();
        from(self.app.post("/api/v1/auth/login").body(body), address)
    }
}

/// A handful of failures instead of many, since each is hashed.
fn few(limits: &mut ClientLimits) {
    limits.logins = LoginLimits { per_account: 2, per_address: 5, per_account_everywhere: 4, ..LoginLimits::default() };
}

#[tokio::test]
async fn failed_logins_are_refused_until_their_time_is_over() {
    let town = town(few).await;
    for name in ["reader", "nobody"] {
        let address = if name == "reader" { "192.0.2.1" } else { "192.0.2.2" };
        for _ in 0..2 {
            expect(town.log_in(name, "wrong horse battery", address), StatusCode::UNAUTHORIZED).await;
        }
        for password in ["wrong horse battery", RIGHT] {
            let answer = expect(town.log_in(name, password, address), StatusCode::TOO_MANY_REQUESTS).await;
            assert_eq!(header(&answer, "retry-after"), "60");
            assert_eq!(error_code(answer).await, "TOOMANYREQUESTS");
        }
        let answer = expect(town.log_in_for_long(name, RIGHT, address), StatusCode::TOO_MANY_REQUESTS).await;
        assert_eq!(header(&answer, "retry-after"), "900");
        assert_eq!(body_of(answer).await["code"], "TOO_MANY");
    }
    let form = "grant_type=password&username=reader&password=x";
    let answer = expect(from(town.app.post("/v2/token").body(form), "192.0.2.1"), StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(header(&answer, "retry-after"), "60");
    let audit = town.app.auth.audit();
    audit.flush(true).await.expect("written");
    let filter = AuditFilter { kind: Some("login.refused".to_owned()), ..AuditFilter::default() };
    let refused = audit.list(&filter, None, 10).await.expect("a page").events;
    assert_eq!(refused.iter().filter_map(|event| event.detail()["count"].as_u64()).sum::<u64>(), 11);
    // From elsewhere, and by another account from there, it goes on.
    expect(town.log_in("reader", RIGHT, "192.0.2.9"), StatusCode::OK).await;
    expect(town.log_in("writer", RIGHT, "192.0.2.1"), StatusCode::OK).await;
    town.app.clock.advance(Duration::from_mins(15));
    expect(town.log_in("reader", RIGHT, "192.0.2.1"), StatusCode::OK).await;
}

#[tokio::test]
async fn a_password_that_was_right_is_not_counted() {
    let town = town(few).await;
    for _ in 0..4 {
        expect(town.log_in("reader", "wrong horse battery", "192.0.2.1"), StatusCode::UNAUTHORIZED).await;
        expect(town.log_in("reader", RIGHT, "192.0.2.1"), StatusCode::OK).await;
        // Beyond what is remembered.
        town.app.clock.advance(Duration::from_mins(6));
    }
}

#[tokio::test]
async fn many_right_logins_at_once_are_no_failures() {
    let town = town(few).await;
    let logins = (0..20).map(|_| town.log_in("reader", RIGHT, "192.0.2.1").send());
    for answer in join_all(logins).await {
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn one_who_is_known_somewhere_is_not_shut_out_there() {
    let town = town(few).await;
    expect(town.log_in("reader", RIGHT, "192.0.2.1"), StatusCode::OK).await;
    town.app.clock.advance(Duration::from_mins(20));
    for attacker in ["198.51.100.1", "198.51.100.2"] {
        for _ in 0..2 {
            expect(town.log_in("reader", "wrong horse battery", attacker), StatusCode::UNAUTHORIZED).await;
        }
    }
    expect(town.log_in("reader", RIGHT, "198.51.100.3"), StatusCode::TOO_MANY_REQUESTS).await;
    expect(town.log_in("reader", RIGHT, "192.0.2.1"), StatusCode::OK).await;
}

#[tokio::test]
async fn wrong_tokens_shut_nobody_out() {
    let town = town(few).await;
    let (good, other) = (town.token("reader", &[]).await, town.token("writer", &[]).await);
    let wrong = format!("{}x", &good[..good.len() - 1]);
    for _ in 0..10 {
        expect(from(with(town.app.get(MANIFEST), Some(&wrong)), "192.0.2.1"), StatusCode::UNAUTHORIZED).await;
    }
    for token in [&good, &other] {
        expect(from(with(town.app.get(MANIFEST), Some(token)), "192.0.2.1"), StatusCode::OK).await;
    }
}

/// Each takes a processor and 19 MiB, whoever asks for it.
#[tokio::test]
async fn passwords_that_are_set_wait_with_those_that_are_checked() {
    let town = Town::build().await;
    let by = Actor::command_line();
    let names: Vec<UserName> = (0..60).map(|n| user(&format!("new{n}"))).collect();
    let add = |name| town.app.auth.add_user(name, None, Some(Given::Plain(secret(RIGHT))), false, &by);
    let made = join_all(names.iter().map(add)).await;
    let busy = made.iter().filter(|made| matches!(made, Err(AdminError::Busy))).count();
    assert!(busy > 0 && made.iter().filter(|made| made.is_ok()).count() == made.len() - busy, "{made:?}");
    set_password(&town.app, "reader").await;
}

/// Two nodes, many logins at once, each with another password: as many are hashed as may fail, not one more.
#[tokio::test]
async fn failures_are_counted_exactly_over_nodes() {
    let nodes = TestApp::builder().start_shared(2).await;
    let by = Actor::command_line();
    nodes[0].auth.add_user(&user("ann"), None, Some(Given::Plain(secret(RIGHT))), true, &by).await.expect("an account");
    for node in &nodes {
        node.auth.refresh().await.expect("the new state");
    }
    let logins = (0..50).map(|n| {
        let (auth, password) = (Arc::clone(&nodes[n % 2].auth), secret(&format!("wrong horse {n}")));
        async move { auth.check_password("ann", &password, &somebody_at("192.0.2.1")).await }
    });
    let (mut wrong, mut refused) = (0, 0);
    for answer in join_all(logins).await {
        match answer {
            Err(AuthError::Wrong) => wrong += 1,
            Err(AuthError::TooManyFailures { wait }) if wait == Duration::from_mins(15) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((wrong, refused), (10, 40));
    for node in &nodes {
        let there = node.auth.check_password("ann", &secret(RIGHT), &somebody_at("192.0.2.1")).await;
        assert!(matches!(there, Err(AuthError::TooManyFailures { .. })), "{there:?}");
        node.auth.check_password("ann", &secret(RIGHT), &somebody_at("192.0.2.2")).await.expect("from elsewhere");
    }
}

#[tokio::test]
async fn requests_without_an_account_are_limited_by_address() {
    let town = town(|limits| limits.rates.v2_anonymous = "20/m".parse().expect("a rate")).await;
    let get = |address: &str| from(town.app.get(OPEN), address);
    for remaining in (0..20).rev() {
        let answer = expect(get("192.0.2.1"), StatusCode::UNAUTHORIZED).await;
        assert_eq!(header(&answer, "ratelimit-limit"), "20;w=60");
        assert_eq!(header(&answer, "ratelimit-remaining"), format!("{remaining};w=60"));
    }
    let answer = expect(get("192.0.2.1"), StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(header(&answer, "retry-after"), "3");
    assert_eq!(error_code(answer).await, "TOOMANYREQUESTS");
    for path in ["/v2/", "/v2/token"] {
        expect(from(town.app.get(path), "192.0.2.1"), StatusCode::TOO_MANY_REQUESTS).await;
    }
    expect(from(town.app.get("/v2/token"), "192.0.2.2"), StatusCode::OK).await;
    for host in 1..=20 {
        expect(get(&format!("2001:db8::{host}")), StatusCode::UNAUTHORIZED).await;
    }
    expect(get("2001:db8::21"), StatusCode::TOO_MANY_REQUESTS).await;
    expect(get("2001:db8:0:1::21"), StatusCode::UNAUTHORIZED).await;
    // An account has its own limit, which is none.
    let token = town.token("reader", &[]).await;
    for _ in 0..5 {
        let answer = expect(from(with(town.app.get(OPEN), Some(&token)), "192.0.2.1"), StatusCode::OK).await;
        assert_eq!(maybe_header(&answer, "ratelimit-limit"), None);
    }
    town.app.clock.advance(Duration::from_secs(3));
    expect(get("192.0.2.1"), StatusCode::UNAUTHORIZED).await;
    expect(get("192.0.2.1"), StatusCode::TOO_MANY_REQUESTS).await;
}

#[tokio::test]
async fn requests_of_an_account_are_limited_wherever_they_come_from() {
    let town = town(|limits| limits.rates.v2_authenticated = "2/h".parse().expect("a rate")).await;
    let token = town.token("reader", &[]).await;
    let get = |address: &str| from(with(town.app.get(OPEN), Some(&token)), address);
    expect(get("192.0.2.1"), StatusCode::OK).await;
    let bearer = town.exchange(Some(&token), &["repository:open/app:pull"]).await;
    let bearer = bearer["token"].as_str().expect("a token");
    for answer in [get("192.0.2.2"), with(town.app.get(OPEN), Some(bearer))] {
        let answer = expect(answer, StatusCode::TOO_MANY_REQUESTS).await;
        // The wait is half an hour, which no client may be told.
        assert_eq!(header(&answer, "retry-after"), "60");
    }
    let another = town.token("writer", &[]).await;
    expect(with(town.app.get(OPEN), Some(&another)), StatusCode::OK).await;
    expect(from(town.app.get(OPEN), "192.0.2.1"), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn the_interface_tells_how_long_to_wait() {
    let town = town(|limits| limits.rates.api_anonymous = "2/h".parse().expect("a rate")).await;
    let ask = || from(town.app.get("/api/v1/namespaces"), "192.0.2.1");
    for remaining in ["1;w=3600", "0;w=3600"] {
        let answer = expect(ask(), StatusCode::UNAUTHORIZED).await;
        assert_eq!(header(&answer, "ratelimit-remaining"), remaining);
    }
    for refused in [ask(), town.log_in_for_long("reader", RIGHT, "192.0.2.1")] {
        let answer = expect(refused, StatusCode::TOO_MANY_REQUESTS).await;
        assert_eq!(header(&answer, "retry-after"), "1800");
        let body = body_of(answer).await;
        assert_eq!((&body["code"], body["error"].is_string()), (&json!("TOO_MANY"), true));
    }
    let token = town.token("root", &[]).await;
    expect(from(with(town.app.get("/api/v1/namespaces"), Some(&token)), "192.0.2.1"), StatusCode::OK).await;
    // The registry itself is another surface.
    expect(from(town.app.get(OPEN), "192.0.2.1"), StatusCode::UNAUTHORIZED).await;
    town.app.clock.advance(Duration::from_mins(30));
    expect(ask(), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn wrong_credentials_count_like_none() {
    let town = town(|limits| limits.rates.v2_anonymous = "20/m".parse().expect("a rate")).await;
    let wrong = |n: u32| match n % 3 {
        0 => town.app.get(OPEN).bearer_auth("bonded_wrong"),
        1 => town.app.get(OPEN).header("authorization", "Basic ???"),
        _ => town.app.get(OPEN),
    };
    for n in 0..20 {
        expect(from(wrong(n), "192.0.2.1"), StatusCode::UNAUTHORIZED).await;
    }
    for n in 0..3 {
        expect(from(wrong(n), "192.0.2.1"), StatusCode::TOO_MANY_REQUESTS).await;
    }
}

#[tokio::test]
async fn nobody_chooses_his_own_address() {
    let builder = TestApp::builder().clients(|limits| limits.rates.v2_anonymous = "20/m".parse().expect("a rate"));
    let town = found(builder).await;
    let get = |n: u32| from(town.app.get(OPEN), &format!("192.0.2.{n}"));
    for n in 1..=20 {
        expect(get(n), StatusCode::UNAUTHORIZED).await;
    }
    expect(get(21), StatusCode::TOO_MANY_REQUESTS).await;
}

#[tokio::test]
async fn each_proxy_may_write_a_line_of_its_own() {
    let town = town(|limits| limits.rates.v2_anonymous = "20/m".parse().expect("a rate")).await;
    // The client chose the first line; the proxy wrote the second.
    let get = |n: u32| from(from(town.app.get(OPEN), &format!("192.0.2.{n}")), "198.51.100.1");
    for n in 1..=20 {
        expect(get(n), StatusCode::UNAUTHORIZED).await;
    }
    expect(get(21), StatusCode::TOO_MANY_REQUESTS).await;
}
