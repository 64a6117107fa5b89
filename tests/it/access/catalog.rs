//! What `_catalog` tells, to whom, and by which credential.

use bonded::metadata::model::accounts::Actor;
use reqwest::{Response, StatusCode};

use super::{Town, with};
use crate::app::{TestApp, expect, header, json as body_of, maybe_header};
use crate::fixtures::ImageBuilder;

/// Beside those of every town. Nobody owns those that begin with `hidden`.
const REPOSITORIES: &[&str] = &[
    "closed/b",
    "closed/c",
    "hidden/a",
    "hidden/b",
    "hidden/c",
    "hidden/d",
    "hidden/e",
    "open/m",
    "open/secret",
    "zoo/last",
];

/// What anybody may pull from.
const PUBLIC: &[&str] = &["closed/c", "open/app", "open/m"];

/// What the owner of both namespaces may pull from.
const OWNED: &[&str] = &["closed/app", "closed/b", "closed/c", "open/app", "open/m", "open/secret"];

async fn town(page_max: u32) -> Town {
    let app = TestApp::builder().limits(|limits| limits.catalog_page_max = page_max).start().await;
    for repo in REPOSITORIES {
        app.push_image(repo, "v1", &ImageBuilder::new().layer(b"layer")).await;
    }
    let town = Town::found(app).await;
    for (repo, public) in [("closed/c", true), ("open/secret", false)] {
        let (accounts, now) = (town.app.auth.accounts(), town.app.auth.now());
        let repo = repo.parse().expect("a name");
        let set = accounts.repository_public(&repo, Some(public), now, &Actor::command_line()).await;
        assert!(set.expect("an answer"));
    }
    town.app.auth.refresh().await.expect("the new state");
    town
}

async fn bearer(town: &Town, credential: Option<&str>, scopes: &[&str]) -> String {
    town.exchange(credential, scopes).await["token"].as_str().expect("a token").to_owned()
}

fn names(page: &serde_json::Value) -> Vec<String> {
    let names = page["repositories"].as_array().expect("a list");
    names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Every page of the list, and where each but the last says that it goes on.
async fn walk(town: &Town, token: &str, query: &str) -> (Vec<String>, Vec<String>) {
    let (mut seen, mut links) = (Vec::new(), Vec::new());
    let mut path = format!("/v2/_catalog{query}");
    loop {
        let answer: Response = expect(with(town.app.get(&path), Some(token)), StatusCode::OK).await;
        let next = maybe_header(&answer, "link").map(|link| {
            let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(r#">; rel="next""#));
            target.expect("a link to the next page").to_owned()
        });
        let page = names(&body_of(answer).await);
        assert!(next.is_none() || !page.is_empty(), "{path}: an empty page that goes on");
        seen.extend(page);
        let Some(next) = next else { return (seen, links) };
        links.push(next.clone());
        path = next;
    }
}

#[tokio::test]
async fn no_page_names_what_its_reader_may_not_pull() {
    for page_max in [1_000, 2] {
        let town = town(page_max).await;
        let anonymous = bearer(&town, None, &["registry:catalog:*"]).await;
        let (stranger, owner) = (town.token("stranger", &[]).await, town.token("owner", &[]).await);
        for query in ["", "?n=1", "?n=2", "?n=3", "?n=100"] {
            for (token, expected) in [(&anonymous, PUBLIC), (&stranger, PUBLIC), (&owner, OWNED)] {
                let (seen, links) = walk(&town, token, query).await;
                assert_eq!(seen, expected, "{query} of pages of {page_max}");
                for link in links {
                    let (_, last) = link.split_once("last=").expect("where it goes on");
                    assert!(expected.contains(&last), "{link}");
                }
            }
        }
        let root = town.token("root", &[]).await;
        assert_eq!(walk(&town, &root, "?n=2").await.0.len(), REPOSITORIES.len() + 3);
        let none = expect(with(town.app.get("/v2/_catalog?n=0"), Some(&stranger)), StatusCode::OK).await;
        assert_eq!(maybe_header(&none, "link"), None);
        assert_eq!(names(&body_of(none).await), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_api_token_lists_what_it_may_pull() {
    let town = town(1_000).await;
    for (name, scopes, expected) in [
        ("owner", &["closed/app:pull"][..], &["closed/app"][..]),
        ("owner", &["closed/*:pull", "hidden/*:pull"], &["closed/app", "closed/b", "closed/c"]),
        ("owner", &["closed/app:push"], &[]),
        ("root", &["hidden/a:*", "closed/b:pull"], &["closed/b", "hidden/a"]),
        ("stranger", &["**:pull"], PUBLIC),
    ] {
        let token = town.token(name, scopes).await;
        assert_eq!(walk(&town, &token, "").await.0, expected, "{name} {scopes:?}");
        // What comes of it says no more than it does.
        let exchanged = bearer(&town, Some(&token), &["registry:catalog:*", "repository:closed/app:pull"]).await;
        assert_eq!(walk(&town, &exchanged, "?n=1").await.0, expected, "{name} {scopes:?}");
    }
}

#[tokio::test]
async fn a_token_of_the_token_service_has_to_be_for_the_catalog() {
    let town = town(1_000).await;
    let owner = town.token("owner", &[]).await;
    let scope = ["repository:closed/app:pull"];
    let (anonymous, owners) = (bearer(&town, None, &scope).await, bearer(&town, Some(&owner), &scope).await);
    for token in [&anonymous, &owners] {
        let answer = expect(with(town.app.get("/v2/_catalog"), Some(token)), StatusCode::UNAUTHORIZED).await;
        let challenge = header(&answer, "www-authenticate");
        assert!(challenge.ends_with(r#",scope="registry:catalog:*",error="insufficient_scope""#), "{challenge}");
    }
    // Nor is it one that leads to another.
    let request = town.app.get("/v2/token?service=bonded.test&scope=registry:catalog:*").bearer_auth(&owners);
    let more = body_of(expect(request, StatusCode::OK).await).await;
    let more = more["token"].as_str().expect("a token");
    expect(with(town.app.get("/v2/_catalog"), Some(more)), StatusCode::UNAUTHORIZED).await;

    let both = bearer(&town, Some(&owner), &["registry:catalog:*", "repository:closed/app:pull"]).await;
    assert_eq!(walk(&town, &both, "").await.0, OWNED);
}

#[tokio::test]
async fn the_challenge_for_a_bad_token_says_what_to_ask_for() {
    let town = Town::build().await;
    let bearer = bearer(&town, Some(&town.token("owner", &[]).await), &["repository:closed/app:pull"]).await;
    town.app.clock.advance(std::time::Duration::from_secs(301));
    for token in [bearer.as_str(), "bonded_wrong"] {
        for (request, scope) in [
            (town.app.get("/v2/closed/app/manifests/v1"), r#",scope="repository:closed/app:pull""#),
            (town.app.post("/v2/closed/app/blobs/uploads/"), r#",scope="repository:closed/app:pull,push""#),
            (town.app.delete("/v2/closed/app/manifests/v1"), r#",scope="repository:closed/app:delete""#),
            (town.app.get("/v2/_catalog"), r#",scope="registry:catalog:*""#),
            (town.app.get("/v2/"), ""),
        ] {
            let answer = expect(with(request, Some(token)), StatusCode::UNAUTHORIZED).await;
            let challenge = header(&answer, "www-authenticate");
            let end = format!(r#"service="bonded.test"{scope},error="invalid_token""#);
            assert!(challenge.ends_with(&end), "{challenge}");
        }
    }
}
