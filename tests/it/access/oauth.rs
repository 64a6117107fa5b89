//! `POST /v2/token`: the form of OAuth 2.0, and how it is refused.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;

use super::{Town, with};
use crate::app::{TestApp, expect, header, json as body_of};

const MANIFEST: &str = "/v2/closed/app/manifests/v1";
const SCOPE: (&str, &str) = ("scope", "repository:closed/app:pull,push repository:loose:pull");
const FORM: &str = "application/x-www-form-urlencoded";

fn form(app: &TestApp, pairs: &[(&str, &str)]) -> RequestBuilder {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    app.post("/v2/token").header("content-type", FORM).body(body)
}

/// RFC 6749, section 5.1, and distribution, which wants it always.
#[tokio::test]
async fn an_answer_says_what_was_granted() {
    let town = Town::build().await;
    let (reader, writer) = (town.token("reader", &[]).await, town.token("writer", &[]).await);
    let all = "repository:closed/app:pull,push";
    for (token, granted) in [(&reader, "repository:closed/app:pull"), (&writer, all)] {
        let pairs = [("grant_type", "password"), ("username", "x"), ("password", token.as_str()), SCOPE];
        let answer = body_of(expect(form(&town.app, &pairs), StatusCode::OK).await).await;
        assert_eq!((&answer["scope"], &answer["token_type"]), (&json!(granted), &json!("Bearer")));
        let nothing = body_of(expect(form(&town.app, &pairs[..3]), StatusCode::OK).await).await;
        assert_eq!(nothing["scope"], "");
    }
    assert_eq!(
        town.exchange(Some(&writer), &[SCOPE.1, "registry:catalog:*"]).await["scope"],
        format!("{all} registry:catalog:*")
    );
}

#[tokio::test]
async fn what_is_no_grant_is_refused_in_the_words_of_oauth() {
    let town = Town::build().await;
    let writer = town.token("writer", &[]).await;
    let json_body = json!({"grant_type": "password", "username": "x", "password": writer}).to_string();
    let post = || town.app.post("/v2/token");
    for (request, error) in [
        (form(&town.app, &[]), "invalid_request"),
        (form(&town.app, &[SCOPE]).basic_auth("x", Some(&writer)), "invalid_request"),
        (form(&town.app, &[("grant_type", "password"), ("username", "x")]), "invalid_request"),
        (form(&town.app, &[("grant_type", "password"), ("password", &writer)]), "invalid_request"),
        (form(&town.app, &[("grant_type", "refresh_token")]), "invalid_request"),
        (form(&town.app, &[("grant_type", "client_credentials")]), "unsupported_grant_type"),
        (form(&town.app, &[("grant_type", "")]), "unsupported_grant_type"),
        (post().header("content-type", "application/json").body(json_body.clone()), "invalid_request"),
        (post().header("content-type", FORM).body(json_body.clone()), "invalid_request"),
        (post().body(json_body), "invalid_request"),
        (post().header("content-type", FORM).body("a".repeat(70_000)), "invalid_request"),
        (post().basic_auth("x", Some(&writer)), "invalid_request"),
    ] {
        let refusal = body_of(expect(request, StatusCode::BAD_REQUEST).await).await;
        assert_eq!(refusal["error"], error, "{refusal}");
        assert!(refusal["error_description"].is_string() && refusal["errors"][0]["code"] == "UNSUPPORTED", "{refusal}");
        assert!(refusal["token"].is_null());
    }
    // With a parameter, and in any case (RFC 9110, section 8.3.1).
    let pairs = format!("grant_type=password&username=x&password={writer}&{}={}", SCOPE.0, SCOPE.1.replace(' ', "+"));
    let request = post().header("content-type", "Application/X-WWW-Form-URLencoded; charset=utf-8").body(pairs);
    let answer = body_of(expect(request, StatusCode::OK).await).await;
    expect(with(town.app.get(MANIFEST), answer["token"].as_str()), StatusCode::OK).await;
}

/// RFC 9110, section 15.5.2.
#[tokio::test]
async fn wrong_credentials_are_answered_with_a_challenge() {
    let town = Town::build().await;
    let challenge =
        format!(r#"Bearer realm="http://{}/v2/token",service="bonded.test",error="invalid_token""#, town.app.address);
    for request in [
        form(&town.app, &[("grant_type", "password"), ("username", "x"), ("password", "wrong"), SCOPE]),
        form(&town.app, &[("grant_type", "refresh_token"), ("refresh_token", "wrong"), SCOPE]),
        town.app.get("/v2/token").basic_auth("x", Some("wrong")),
        town.app.get("/v2/token").bearer_auth("wrong"),
    ] {
        let refusal = expect(request, StatusCode::UNAUTHORIZED).await;
        assert_eq!(header(&refusal, "www-authenticate"), challenge);
    }
}

/// Whatever the answer is, nobody keeps it, and nobody reads it as something else.
#[tokio::test]
async fn no_answer_is_kept() {
    let town = Town::build().await;
    let writer = town.token("writer", &[]).await;
    for request in [
        town.app.get("/v2/token").basic_auth("x", Some(&writer)),
        town.app.get("/v2/token").basic_auth("x", Some("wrong")),
        form(&town.app, &[("grant_type", "password"), ("username", "x"), ("password", &writer), SCOPE]),
        form(&town.app, &[]),
        town.app.put("/v2/token"),
        town.app.get("/api/v1/tokens").bearer_auth(&writer),
        town.app.get("/api/v1/tokens"),
        town.app.post("/api/v1/tokens").bearer_auth(&writer).json(&json!({})),
        town.app.delete("/api/v1/tokens/none").bearer_auth(&writer),
        town.app.get("/api/v1/nothing"),
        town.app.patch("/api/v1/users"),
        town.app.get("/openapi.json"),
    ] {
        let answer = request.send().await.expect("an answer");
        let said = (header(&answer, "cache-control"), header(&answer, "x-content-type-options"));
        assert_eq!(said, ("no-store", "nosniff"), "{} of {}", answer.status(), answer.url());
    }
}
