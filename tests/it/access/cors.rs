//! Web pages of other origins.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use super::{Town, with};
use crate::app::{TestApp, expect, json as body_of, maybe_header};
use crate::cli::{Served, client, refusal, run, text};

const CONSOLE: &str = "https://console.example.com";
const OTHER: &str = "http://localhost:5173";

async fn town() -> Town {
    Town::found(TestApp::builder().pages(&[CONSOLE, OTHER]).start().await).await
}

/// What a browser asks before it lets a page delete something.
fn preflight(app: &TestApp, path: &str, origin: &str) -> RequestBuilder {
    app.request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization,content-type")
}

/// Headers by which pages are told anything.
fn told(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(reqwest::header::HeaderName::as_str).filter(|name| name.starts_with("access-control-")).collect()
}

/// Whether an answer says that it depends on the origin.
fn varies(headers: &HeaderMap) -> bool {
    let names = headers.get_all("vary").iter().filter_map(|value| value.to_str().ok());
    names.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

#[tokio::test]
async fn a_page_that_is_named_is_told_what_it_may() {
    let town = town().await;
    for origin in [CONSOLE, OTHER] {
        let answer = expect(preflight(&town.app, "/api/v1/users/reader", origin), StatusCode::OK).await;
        let said = |name: &str| maybe_header(&answer, name).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(said("access-control-allow-origin"), origin);
        assert_eq!(said("access-control-allow-methods"), "get,head,post,put,patch,delete");
        assert_eq!(said("access-control-allow-headers"), "accept,authorization,content-type,x-request-id");
        assert_eq!(said("access-control-max-age"), "600");
        assert!(varies(answer.headers()));
        assert!(maybe_header(&answer, "access-control-allow-credentials").is_none(), "a page brings its own token");
    }
}

#[tokio::test]
async fn a_page_that_is_named_reads_answers_and_refusals() {
    let town = town().await;
    let token = town.token("root", &[]).await;
    for (path, token, status) in [
        ("/api/v1/users", Some(token.as_str()), StatusCode::OK),
        ("/api/v1/users", None, StatusCode::UNAUTHORIZED),
        ("/api/v1/nothing", Some(token.as_str()), StatusCode::NOT_FOUND),
        ("/openapi.json", None, StatusCode::OK),
    ] {
        let answer = expect(with(town.app.get(path).header("origin", CONSOLE), token), status).await;
        assert_eq!(maybe_header(&answer, "access-control-allow-origin"), Some(CONSOLE), "{path}");
        let exposed = maybe_header(&answer, "access-control-expose-headers").unwrap_or_default();
        assert_eq!(exposed, "ratelimit-limit,ratelimit-remaining,retry-after,www-authenticate,x-request-id");
        assert!(varies(answer.headers()), "{path}");
    }
    let given = json!({"name": "made-by-a-page", "password": "correct horse battery"});
    let request = with(town.app.post("/api/v1/users").header("origin", OTHER), Some(&token)).body(given.to_string());
    let answer = expect(request, StatusCode::CREATED).await;
    assert_eq!(maybe_header(&answer, "access-control-allow-origin"), Some(OTHER));
}

#[tokio::test]
async fn a_page_that_is_not_named_is_told_nothing() {
    let town = town().await;
    for origin in [
        "https://evil.example",
        "https://console.example.com.evil.example",
        "https://console.example.com:8443",
        "http://console.example.com",
        "HTTPS://CONSOLE.EXAMPLE.COM",
        "https://console.example.com, http://localhost:5173",
        "null",
        "",
    ] {
        let asked = preflight(&town.app, "/api/v1/users/reader", origin);
        let answer = expect(asked, StatusCode::METHOD_NOT_ALLOWED).await;
        assert!(told(answer.headers()).is_empty(), "{origin}: {:?}", answer.headers());
        assert!(varies(answer.headers()), "{origin}");
        let answer = expect(town.app.get("/openapi.json").header("origin", origin), StatusCode::OK).await;
        assert!(told(answer.headers()).is_empty() && varies(answer.headers()), "{origin}: {:?}", answer.headers());
    }
    let twice = town.app.get("/openapi.json").header("origin", CONSOLE).header("origin", "https://evil.example");
    assert!(told(expect(twice, StatusCode::OK).await.headers()).is_empty());
    // Whoever is no page at all may call, and what is kept for him is not for pages.
    let answer = expect(town.app.get("/openapi.json"), StatusCode::OK).await;
    assert!(told(answer.headers()).is_empty() && varies(answer.headers()));
}

#[tokio::test]
async fn what_clients_of_the_registry_speak_is_for_no_page() {
    let town = town().await;
    for path in ["/v2/", "/v2/open/app/manifests/v1", "/v2/token?service=bonded.test"] {
        let answer = preflight(&town.app, path, CONSOLE).send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
        assert!(told(answer.headers()).is_empty(), "{path}: {:?}", answer.headers());
        let answer = town.app.get(path).header("origin", CONSOLE).send().await.expect("an answer");
        assert!(told(answer.headers()).is_empty() && !varies(answer.headers()), "{path}: {:?}", answer.headers());
    }
}

#[tokio::test]
async fn without_a_name_nothing_is_told_to_anybody() {
    let town = Town::build().await;
    let answer = expect(preflight(&town.app, "/api/v1/users", CONSOLE), StatusCode::METHOD_NOT_ALLOWED).await;
    assert!(told(answer.headers()).is_empty() && !varies(answer.headers()));
    let answer = expect(town.app.get("/openapi.json").header("origin", CONSOLE), StatusCode::OK).await;
    assert!(told(answer.headers()).is_empty() && !varies(answer.headers()));
}

#[tokio::test]
async fn a_preflight_costs_no_request_of_a_limit() {
    let builder = TestApp::builder().pages(&[CONSOLE]);
    let limited = builder.clients(|clients| clients.rates.api_anonymous = "1/h".parse().expect("a rate"));
    let town = Town::found(limited.start().await).await;
    for _ in 0..3 {
        expect(preflight(&town.app, "/api/v1/users", CONSOLE), StatusCode::OK).await;
    }
    let call = || town.app.get("/api/v1/users").header("origin", CONSOLE);
    expect(call(), StatusCode::UNAUTHORIZED).await;
    // A page can read how long it has to wait.
    let answer = expect(call(), StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(maybe_header(&answer, "access-control-allow-origin"), Some(CONSOLE));
    assert!(maybe_header(&answer, "retry-after").is_some());
}

#[tokio::test]
async fn a_server_does_as_its_configuration_says_or_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bonded.toml");
    let write = |origin: &str| std::fs::write(&file, format!("[api]\nallowed_origins = [\"{origin}\"]\n"));
    write(CONSOLE).expect("a file");
    let served = Served::start(&["--config", text(&file)]).await;
    for (path, expected) in [("/openapi.json", Some(CONSOLE)), ("/v2/", None), ("/health", None)] {
        let get = client().get(format!("{}{path}", served.url())).header("origin", CONSOLE);
        let answer = expect(get, StatusCode::OK).await;
        assert_eq!(maybe_header(&answer, "access-control-allow-origin"), expected, "{path}");
    }
    for (wrong, why) in [
        ("*", "`api.allowed_origins`: `*` stands for more than one web page"),
        ("https://*.example.com", "`api.allowed_origins`: `https://*.example.com` stands for more than one"),
        ("null", "`api.allowed_origins`: `null` is not the origin of a web page"),
    ] {
        write(wrong).expect("a file");
        let data = folder.path().join("data");
        let output = run(&["serve", "--listen", "127.0.0.1:0", "--config", text(&file), "--data", text(&data)]).await;
        let refused = refusal(&output);
        assert!(refused.contains(why), "{refused}");
    }
}

/// A server that asks nobody who he is must not do what any page in a browser beside it says.
#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_unless_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bonded.toml");
    std::fs::write(&file, format!("[api]\nallowed_origins = [\"{CONSOLE}\"]\n")).expect("a file");
    let served = Served::start(&["--config", text(&file)]).await;
    let own = served.url().to_owned();
    let request = |method: &Method, path: &str| client().request(method.clone(), format!("{own}{path}"));
    let (upload, users) = ("/v2/team/app/blobs/uploads/", "/api/v1/users");
    let others: [&[(&str, &str)]; 4] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null"), ("content-type", "text/plain")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:5173")],
    ];
    for headers in others {
        let with =
            |request: RequestBuilder| headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = body_of(expect(with(request(&method, upload)), StatusCode::FORBIDDEN).await).await;
            assert_eq!(refused["errors"][0]["code"], "DENIED", "{method} {headers:?}");
            let why = refused["errors"][0]["message"].as_str().expect("a message");
            assert!(why.contains("api.allowed_origins"), "{why}");
            let refused = body_of(expect(with(request(&method, users)), StatusCode::FORBIDDEN).await).await;
            assert_eq!(refused["code"], "DENIED", "{method} {headers:?}");
            assert!(refused["requestId"].is_string());
        }
        // Reading is what the browser itself keeps from the page.
        expect(with(request(&Method::GET, "/v2/")), StatusCode::OK).await;
        expect(with(request(&Method::HEAD, "/v2/")), StatusCode::OK).await;
    }
    for headers in [&[][..], &[("origin", own.as_str())], &[("sec-fetch-site", "none")], &[("origin", CONSOLE)]] {
        let post = headers.iter().fold(request(&Method::POST, upload), |all, (name, value)| all.header(*name, *value));
        expect(post, StatusCode::ACCEPTED).await;
    }
    // Nor through a name of its own, which leads here.
    let rebound = request(&Method::POST, upload).header("host", "evil.example").header("origin", "http://evil.example");
    expect(rebound, StatusCode::MISDIRECTED_REQUEST).await;
}
