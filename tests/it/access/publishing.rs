//! Publishing by tokens of others: what a rule takes, what it gives, and when that ends.

mod keys;
mod managing;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use bonded::access::{ClaimRules, NamespacePath, PublisherName, Rates, Role};
use bonded::auth::PublisherWish;
use bonded::clock::Clock as _;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::audit::AuditFilter;
use jsonwebtoken::Algorithm;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::issuer::{FakeIssuer, TestKey};
use super::{Town, with};
use crate::app::{TestApp, TestAppBuilder, expect, header, json as body_of};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder};

/// A town whose namespace `closed` has the rule `ci` for jobs of `acme/app` on its main branch.
struct Yard {
    town: Town,
    issuer: FakeIssuer,
    key: TestKey,
}

fn path(text: &str) -> NamespacePath {
    text.parse().expect("a path")
}

fn name(text: &str) -> PublisherName {
    text.parse().expect("a name")
}

fn claims(patterns: &[(&str, &str)]) -> ClaimRules {
    let patterns: BTreeMap<_, _> =
        patterns.iter().map(|(name, glob)| ((*name).to_owned(), (*glob).to_owned())).collect();
    ClaimRules::parse(patterns).expect("claims")
}

impl Yard {
    async fn build() -> Self {
        let yard = Self::without_rules(true).await;
        yard.add("closed", yard.wish("ci")).await;
        yard
    }

    /// With an issuer that may or may not be asked for its keys.
    async fn without_rules(allowed: bool) -> Self {
        let key = TestKey::new("one", Algorithm::ES256);
        let issuer = FakeIssuer::start(&[&key]).await;
        let hosts = if allowed { vec![issuer.host.as_str()] } else { Vec::new() };
        let builder = TestApp::builder().clients(|limits| limits.rates.api_anonymous = Rates::default());
        Self::over(builder.oidc_hosts(&hosts), key, issuer).await
    }

    async fn over(builder: TestAppBuilder, key: TestKey, issuer: FakeIssuer) -> Self {
        Self { town: Town::found(builder.start().await).await, issuer, key }
    }

    fn wish(&self, called: &str) -> PublisherWish {
        PublisherWish {
            name: name(called),
            issuer: self.issuer.url().parse().expect("an issuer"),
            audience: None,
            claims: claims(&[("repository", "acme/app"), ("ref", "refs/heads/*"), ("workflow", "release*")]),
            role: Role::Write,
            reuse: false,
            jwks: None,
        }
    }

    async fn add(&self, namespace: &str, wish: PublisherWish) {
        let added = self.town.app.auth.add_publisher(&path(namespace), wish, &Actor::command_line()).await;
        added.expect("a rule");
    }

    fn seconds(&self) -> i64 {
        self.town.app.clock.now().as_micros() / 1_000_000
    }

    /// What a job of GitHub Actions says of itself; `n` tells its tokens apart.
    fn claims(&self, n: u32) -> Value {
        let now = self.seconds();
        json!({
            "iss": self.issuer.url(), "aud": "bonded.test", "sub": "repo:acme/app:ref:refs/heads/main",
            "repository": "acme/app", "repository_owner": "acme", "ref": "refs/heads/main", "ref_type": "branch",
            "workflow": "release", "environment": "production", "run_id": "17", "jti": format!("job-{n}"),
            "iat": now, "nbf": now - 5, "exp": now + 300,
        })
    }

    fn token(&self, n: u32) -> String {
        self.key.sign(&self.claims(n))
    }

    /// The same with one claim changed; null leaves it out.
    fn token_with(&self, n: u32, claim: &str, value: Value) -> String {
        let mut claims = self.claims(n);
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(claim);
        } else {
            claims[claim] = value;
        }
        self.key.sign(&claims)
    }

    async fn answer(&self, body: &Value) -> (StatusCode, Value) {
        let request = self.town.app.post("/api/v1/auth/oidc/exchange").body(body.to_string());
        let answer = request.send().await.expect("an answer");
        (answer.status(), body_of(answer).await)
    }

    async fn status(&self, token: &str) -> StatusCode {
        self.answer(&json!({"token": token})).await.0
    }

    /// A token of the registry for one of a job.
    async fn exchange(&self, token: &str) -> String {
        let (status, body) = self.answer(&json!({"token": token})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["token"].as_str().expect("a token").to_owned()
    }

    async fn refused(&self, token: &str, why: &str) {
        let (status, body) = self.answer(&json!({"token": token})).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("AUTHENTICATION")), "{body}");
        assert!(body["error"].as_str().expect("a text").contains(why), "{body}, not {why}");
    }

    fn put(&self, repo: &str) -> RequestBuilder {
        let manifest = ImageBuilder::new().layer(b"layer").manifest();
        self.town.app.put(&format!("/v2/{repo}/manifests/v2")).header("content-type", IMAGE_MANIFEST).body(manifest)
    }
}

const PULL_CLOSED: &str = "/v2/closed/app/manifests/v1";

#[tokio::test]
async fn a_job_publishes_in_its_namespace_and_nowhere_else() {
    let yard = Yard::build().await;
    let (status, body) = yard.answer(&json!({"token": yard.token(1)})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["namespaces"], json!([{"path": "closed", "role": "write"}]));
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!((&body["issued_at"], &body["token"]), (&json!("2026-11-01T00:00:00Z"), &body["access_token"]));
    let token = body["token"].as_str().expect("a token");
    let app = &yard.town.app;
    let basic = |request: RequestBuilder| request.basic_auth("whoever", Some(token));
    for send in [&|request| with(request, Some(token)), &basic as &dyn Fn(RequestBuilder) -> RequestBuilder] {
        expect(send(app.get("/v2/")), StatusCode::OK).await;
        expect(send(app.get(PULL_CLOSED)), StatusCode::OK).await;
        expect(send(yard.put("closed/app")), StatusCode::CREATED).await;
        expect(send(app.post("/v2/closed/new/blobs/uploads/")), StatusCode::ACCEPTED).await;
        expect(send(app.delete("/v2/closed/app/manifests/v2")), StatusCode::FORBIDDEN).await;
        expect(send(app.get("/v2/open/app/manifests/v1")), StatusCode::OK).await;
        expect(send(yard.put("open/app")), StatusCode::FORBIDDEN).await;
        expect(send(app.get("/v2/loose/manifests/v1")), StatusCode::NOT_FOUND).await;
        expect(send(yard.put("loose")), StatusCode::FORBIDDEN).await;
    }
    let catalog = expect(basic(app.get("/v2/_catalog")), StatusCode::OK).await;
    assert_eq!(body_of(catalog).await, json!({"repositories": ["closed/app", "open/app"]}));
    for path in ["/api/v1/users", "/api/v1/users/me", "/api/v1/tokens", "/api/v1/namespaces/closed"] {
        expect(with(yard.town.app.get(path), Some(token)), StatusCode::FORBIDDEN).await;
    }
}

#[tokio::test]
async fn the_token_service_gives_less_and_no_longer() {
    let yard = Yard::build().await;
    let (app, token) = (&yard.town.app, yard.exchange(&yard.token(1)).await);
    let asked = ["repository:closed/app:pull,push,delete", "repository:loose:pull"];
    let answer = yard.town.exchange(Some(&token), &asked).await;
    let bearer = answer["token"].as_str().expect("a token");
    assert_eq!(answer["expires_in"], 300);
    expect(with(yard.put("closed/app"), Some(bearer)), StatusCode::CREATED).await;
    let other = expect(with(app.get("/v2/closed/new/tags/list"), Some(bearer)), StatusCode::UNAUTHORIZED).await;
    assert!(header(&other, "www-authenticate").contains(r#"error="insufficient_scope""#));
    // It cannot become more than it is, nor a password.
    let more = yard.town.app.get("/v2/token?scope=repository:closed/new:push").bearer_auth(bearer);
    let more = body_of(expect(more, StatusCode::OK).await).await;
    let more = more["token"].as_str().expect("a token");
    expect(with(app.post("/v2/closed/new/blobs/uploads/"), Some(more)), StatusCode::UNAUTHORIZED).await;
    let offline = app.get("/v2/token?offline_token=true").basic_auth("x", Some(&token));
    assert!(body_of(expect(offline, StatusCode::OK).await).await["refresh_token"].is_null());

    // As clients do that are led by a form.
    let form = format!("grant_type=password&username=x&password={token}&scope=repository:closed/app:pull");
    let posted = body_of(expect(app.post("/v2/token").body(form), StatusCode::OK).await).await;
    expect(with(app.get(PULL_CLOSED), posted["token"].as_str()), StatusCode::OK).await;

    app.clock.advance(Duration::from_mins(14));
    let last = yard.town.exchange(Some(&token), &asked).await;
    assert_eq!(last["expires_in"], 60);
    let last = last["token"].as_str().expect("a token");
    expect(with(app.get(PULL_CLOSED), Some(last)), StatusCode::OK).await;
    app.clock.advance(Duration::from_mins(1));
    for ended in [token.as_str(), bearer, last] {
        expect(with(app.get(PULL_CLOSED), Some(ended)), StatusCode::UNAUTHORIZED).await;
    }
    expect(app.get("/v2/").basic_auth("x", Some(&token)), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_session_belongs_to_the_rule_that_began_it() {
    let yard = Yard::build().await;
    yard.add("closed", PublisherWish { claims: claims(&[("repository", "acme/other")]), ..yard.wish("other") }).await;
    let one = yard.exchange(&yard.token(1)).await;
    let two = yard.exchange(&yard.token_with(2, "repository", json!("acme/other"))).await;
    let begun = with(yard.town.app.post("/v2/closed/app/blobs/uploads/"), Some(&one));
    let location = header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned();
    let patch = |token: &str| with(yard.town.app.patch(&location), Some(token)).body("some bytes");
    expect(patch(&two), StatusCode::NOT_FOUND).await;
    expect(patch(&yard.town.token("writer", &[]).await), StatusCode::NOT_FOUND).await;
    expect(patch(&one), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn what_came_of_a_rule_ends_with_it() {
    let yard = Yard::build().await;
    let (app, token) = (&yard.town.app, yard.exchange(&yard.token(1)).await);
    let bearer = yard.town.exchange(Some(&token), &["repository:closed/app:pull"]).await;
    let bearer = bearer["token"].as_str().expect("a token");
    for token in [&token, bearer] {
        expect(with(app.get(PULL_CLOSED), Some(token)), StatusCode::OK).await;
    }
    // Another process does it; this one looks every second.
    let by = Actor::command_line();
    let ended = app.auth.accounts().publisher_delete(&path("closed"), &name("ci"), app.auth.now(), &by).await;
    assert!(ended.expect("an answer"));
    app.auth.refresh().await.expect("the new state");
    for token in [&token, bearer] {
        expect(with(app.get(PULL_CLOSED), Some(token)), StatusCode::UNAUTHORIZED).await;
    }
    yard.refused(&yard.token(2), "no rule").await;
    // Another rule of the same name is another rule.
    yard.add("closed", yard.wish("ci")).await;
    expect(with(app.get(PULL_CLOSED), Some(&token)), StatusCode::UNAUTHORIZED).await;
    yard.exchange(&yard.token(2)).await;
}

/// Nobody who makes a rule for the jobs of others, and ends it, ends more than what it gave.
#[tokio::test]
async fn of_two_rules_one_may_end() {
    let yard = Yard::build().await;
    yard.add("open", yard.wish("theirs")).await;
    let app = &yard.town.app;
    let token = yard.exchange(&yard.token(1)).await;
    let begun = with(app.post("/v2/closed/app/blobs/uploads/"), Some(&token));
    let location = header(&expect(begun, StatusCode::ACCEPTED).await, "location").to_owned();
    for repo in ["open/app", "closed/app"] {
        expect(with(yard.put(repo), Some(&token)), StatusCode::CREATED).await;
    }
    assert!(app.auth.end_publisher(&path("open"), &name("theirs"), &Actor::command_line()).await.expect("an answer"));
    expect(with(yard.put("open/app"), Some(&token)), StatusCode::FORBIDDEN).await;
    expect(with(yard.put("closed/app"), Some(&token)), StatusCode::CREATED).await;
    expect(with(app.patch(&location), Some(&token)).body("some bytes"), StatusCode::ACCEPTED).await;
    assert!(app.auth.end_publisher(&path("closed"), &name("ci"), &Actor::command_line()).await.expect("an answer"));
    expect(with(yard.put("closed/app"), Some(&token)), StatusCode::UNAUTHORIZED).await;
}

/// Many jobs may come from one address; whoever guesses is held up there.
#[tokio::test]
async fn exchanges_count_when_they_are_refused_and_jobs_count_by_their_rules() {
    let key = TestKey::new("one", Algorithm::ES256);
    let issuer = FakeIssuer::start(&[&key]).await;
    let rate = |text: &str| text.parse().expect("a rate");
    let builder = TestApp::builder().oidc_hosts(&[issuer.host.as_str()]).clients(|limits| {
        limits.rates.api_anonymous = rate("2/h");
        // As many as it takes to fill the town.
        limits.rates.v2_anonymous = rate("30/h");
    });
    let yard = Yard::over(builder, key, issuer).await;
    yard.add("closed", yard.wish("ci")).await;
    let (first, second) = (yard.exchange(&yard.token(0)).await, yard.exchange(&yard.token(1)).await);
    for n in 2..10 {
        yard.exchange(&yard.token(n)).await;
    }
    for token in [&first, &second].into_iter().cycle().take(40) {
        expect(with(yard.town.app.get(PULL_CLOSED), Some(token)), StatusCode::OK).await;
    }
    yard.refused(&yard.token(0), "used before").await;
    assert_eq!(yard.answer(&json!({"no": "token"})).await.0, StatusCode::BAD_REQUEST);
    for token in [yard.token(0), yard.token(10)] {
        assert_eq!(yard.status(&token).await, StatusCode::TOO_MANY_REQUESTS);
    }
    let audit = yard.town.app.auth.audit();
    audit.flush(true).await.expect("written");
    let filter = AuditFilter { kind: Some("login.refused".to_owned()), ..AuditFilter::default() };
    let refused = audit.list(&filter, None, 10).await.expect("a page").events;
    assert_eq!(refused.iter().map(|event| event.detail()["count"].clone()).collect::<Vec<_>>(), [1]);
}

/// A token of the registry says which rules it is of; a database is asked for them once.
#[tokio::test]
async fn a_token_is_taken_without_asking_a_database_again() {
    let yard = Yard::build().await;
    let token = yard.exchange(&yard.token(1)).await;
    expect(with(yard.town.app.get("/v2/"), Some(&token)), StatusCode::OK).await;
    let by = Actor::command_line();
    let accounts = yard.town.app.auth.accounts();
    accounts.publisher_delete(&path("closed"), &name("ci"), yard.town.app.auth.now(), &by).await.expect("an answer");
    expect(with(yard.town.app.get("/v2/"), Some(&token)), StatusCode::OK).await;
}
