//! Robots in the hands of those who administer their namespace, and what somebody may see.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{call, done, refused, text};
use super::{Town, with};
use crate::app::{TestApp, expect};

const ROBOTS: &str = "/api/v1/namespaces/closed/robots";
const MANIFEST: &str = "/v2/closed/app/manifests/v1";

fn names(list: &Value) -> Vec<&str> {
    list["robots"].as_array().expect("robots").iter().map(|robot| text(robot, "name")).collect()
}

#[tokio::test]
async fn administrators_of_a_namespace_run_its_robots() {
    let town = Town::build().await;
    let (app, manager) = (&town.app, town.token("manager", &[]).await);
    for (name, role) in [("ci", "write"), ("cd", "read")] {
        done(app, (Method::POST, ROBOTS), &manager, Some(&json!({"name": name, "role": role}))).await;
    }
    let listed = done(app, (Method::GET, ROBOTS), &manager, None).await;
    assert_eq!(names(&listed), ["closed+cd", "closed+ci"]);
    assert_eq!(listed["robots"][1]["role"], json!("write"));
    let page = done(app, (Method::GET, &format!("{ROBOTS}?n=1")), &manager, None).await;
    assert_eq!((names(&page), text(&page, "next")), (vec!["closed+cd"], "closed+cd"));
    let page = done(app, (Method::GET, &format!("{ROBOTS}?n=1&last=closed%2Bcd")), &manager, None).await;
    assert_eq!(names(&page), ["closed+ci"]);

    // It says that it may do everything everywhere, and does what the robot may.
    let new = json!({"name": "runner", "scopes": ["**:*"], "expires_in": 3600});
    let made = done(app, (Method::POST, &format!("{ROBOTS}/ci/tokens")), &manager, Some(&new)).await;
    let ci = text(&made, "token");
    expect(with(app.get(MANIFEST), Some(ci)), StatusCode::OK).await;
    expect(with(app.post("/v2/closed/app/blobs/uploads/"), Some(ci)), StatusCode::ACCEPTED).await;
    expect(with(app.delete(MANIFEST), Some(ci)), StatusCode::FORBIDDEN).await;
    expect(with(app.get("/v2/loose/manifests/v1"), Some(ci)), StatusCode::NOT_FOUND).await;
    let whole = format!("{ROBOTS}/closed+cd/tokens");
    let made = done(app, (Method::POST, &whole), &manager, Some(&json!({"scopes": ["other:pull"]}))).await;
    expect(with(app.get(MANIFEST), Some(text(&made, "token"))), StatusCode::UNAUTHORIZED).await;
    for bad in [json!({"scopes": ["closed"]}), json!({"expires_in": 0}), json!({"user": "root"})] {
        refused(call(app, Method::POST, &whole, Some(&manager), Some(&bad)), StatusCode::BAD_REQUEST, "INVALID").await;
    }

    tokens_are_listed_and_ended(&town, &manager, text(&made, "id")).await;
    done(app, (Method::DELETE, &format!("{ROBOTS}/ci")), &manager, None).await;
    expect(with(app.get(MANIFEST), Some(ci)), StatusCode::UNAUTHORIZED).await;
    for (method, path) in [(Method::DELETE, format!("{ROBOTS}/ci")), (Method::POST, format!("{ROBOTS}/ci/tokens"))] {
        let gone = call(app, method, &path, Some(&manager), Some(&json!({})));
        refused(gone, StatusCode::NOT_FOUND, "NOT_FOUND").await;
    }
}

/// Those of `ci`, among them one that is made here; `other` is the number of a token of `cd`.
async fn tokens_are_listed_and_ended(town: &Town, manager: &str, other: &str) {
    let (app, tokens) = (&town.app, format!("{ROBOTS}/ci/tokens"));
    let made = done(app, (Method::POST, &tokens), manager, Some(&json!({"name": "leaked"}))).await;
    let (id, token) = (text(&made, "id"), text(&made, "token"));
    let listed = done(app, (Method::GET, &tokens), manager, None).await;
    assert!(!listed.to_string().contains(token), "it is shown only once");
    let mut found: Vec<(&str, &str)> = Vec::new();
    for shown in listed["tokens"].as_array().expect("tokens") {
        found.push((text(shown, "user"), text(shown, "name")));
    }
    found.sort_unstable();
    assert_eq!(found, [("closed+ci", "leaked"), ("closed+ci", "runner")]);
    let first = done(app, (Method::GET, &format!("{tokens}?n=1")), manager, None).await;
    let next = done(app, (Method::GET, &format!("{tokens}?n=1&last={}", text(&first, "next"))), manager, None).await;
    assert_ne!(text(&first["tokens"][0], "id"), text(&next["tokens"][0], "id"));
    // A token of another robot, or of a person, is none of this one.
    let persons = done(app, (Method::GET, "/api/v1/tokens"), manager, None).await;
    for other in [other, text(&persons["tokens"][0], "id"), "none"] {
        let end = call(app, Method::DELETE, &format!("{tokens}/{other}"), Some(manager), None);
        refused(end, StatusCode::NOT_FOUND, "NOT_FOUND").await;
    }
    expect(with(app.get(MANIFEST), Some(token)), StatusCode::OK).await;
    done(app, (Method::DELETE, &format!("{tokens}/{id}")), manager, None).await;
    expect(with(app.get(MANIFEST), Some(token)), StatusCode::UNAUTHORIZED).await;
    let again = call(app, Method::DELETE, &format!("{tokens}/{id}"), Some(manager), None);
    refused(again, StatusCode::NOT_FOUND, "NOT_FOUND").await;
}

#[tokio::test]
async fn nobody_else_does_and_nobody_beyond_his_own_role() {
    let town = Town::build().await;
    let (app, owner) = (&town.app, town.token("owner", &[]).await);
    for (path, name, role) in [("closed", "boss", "owner"), ("closed", "ci", "write"), ("open", "ci", "write")] {
        let path = format!("/api/v1/namespaces/{path}/robots");
        done(app, (Method::POST, &path), &owner, Some(&json!({"name": name, "role": role}))).await;
    }
    let (one, token) = (format!("{ROBOTS}/ci"), format!("{ROBOTS}/ci/tokens"));
    let ended = format!("{token}/none");
    let routes = [
        (Method::GET, ROBOTS),
        (Method::DELETE, one.as_str()),
        (Method::POST, token.as_str()),
        (Method::GET, token.as_str()),
        (Method::DELETE, ended.as_str()),
    ];
    let writer = town.token("writer", &[]).await;
    let (stranger, scoped) = (town.token("stranger", &[]).await, town.token("owner", &["**:*"]).await);
    for (method, path) in &routes {
        let call = |token| call(app, method.clone(), path, token, Some(&json!({})));
        refused(call(None), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
        refused(call(Some(&writer)), StatusCode::FORBIDDEN, "DENIED").await;
        refused(call(Some(&scoped)), StatusCode::FORBIDDEN, "DENIED").await;
        refused(call(Some(&stranger)), StatusCode::NOT_FOUND, "NOT_FOUND").await;
    }
    let manager = town.token("manager", &[]).await;
    let made = done(app, (Method::POST, &format!("{ROBOTS}/boss/tokens")), &owner, Some(&json!({}))).await;
    let ended = format!("boss/tokens/{}", text(&made, "id"));
    for (method, path) in [
        (Method::POST, "boss/tokens"),
        (Method::GET, "boss/tokens"),
        (Method::DELETE, ended.as_str()),
        (Method::DELETE, "boss"),
    ] {
        let path = format!("{ROBOTS}/{path}");
        let beyond = call(app, method.clone(), &path, Some(&manager), Some(&json!({})));
        refused(beyond, StatusCode::FORBIDDEN, "DENIED").await;
        done(app, (method, &path), &owner, Some(&json!({}))).await;
    }
    // A robot of another namespace, and a person, are none of this one.
    for (name, status, code) in
        [("open+ci", StatusCode::BAD_REQUEST, "INVALID"), ("reader", StatusCode::NOT_FOUND, "NOT_FOUND")]
    {
        let path = format!("{ROBOTS}/{name}/tokens");
        refused(call(app, Method::POST, &path, Some(&owner), Some(&json!({}))), status, code).await;
    }
}

#[tokio::test]
async fn a_robot_has_no_password_and_may_not_do_everything() {
    let town = Town::build().await;
    let (app, root) = (&town.app, town.token("root", &[]).await);
    done(app, (Method::POST, ROBOTS), &root, Some(&json!({"name": "ci"}))).await;
    let robot = "/api/v1/users/closed+ci";
    let made = done(app, (Method::POST, &format!("{ROBOTS}/ci/tokens")), &root, Some(&json!({}))).await;
    expect(with(app.get(MANIFEST), Some(text(&made, "token"))), StatusCode::OK).await;
    let promote = call(app, Method::PATCH, robot, Some(&root), Some(&json!({"admin": true})));
    refused(promote, StatusCode::CONFLICT, "CONFLICT").await;
    let password = json!({"new": "seven wet umbrellas"});
    let set = call(app, Method::PUT, &format!("{robot}/password"), Some(&root), Some(&password));
    refused(set, StatusCode::CONFLICT, "CONFLICT").await;
    let last = call(app, Method::DELETE, "/api/v1/users/root", Some(&root), None);
    refused(last, StatusCode::CONFLICT, "CONFLICT").await;
    done(app, (Method::PATCH, robot), &root, Some(&json!({"disabled": true}))).await;
    let listed = done(app, (Method::GET, ROBOTS), &root, None).await;
    assert_eq!(listed["robots"][0]["disabled"], json!(true));
    // Its tokens do not come back with it.
    done(app, (Method::PATCH, robot), &root, Some(&json!({"disabled": false}))).await;
    expect(with(app.get(MANIFEST), Some(text(&made, "token"))), StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn the_list_of_repositories_has_what_the_caller_may_pull() {
    let open = TestApp::start().await;
    open.push_image("any", "v1", &crate::fixtures::ImageBuilder::new().layer(b"layer")).await;
    let listed = crate::app::json(expect(open.get("/api/v1/repositories"), StatusCode::OK).await).await;
    assert_eq!(listed, json!({"repositories": ["any"], "next": null}));

    let town = Town::build().await;
    let app = &town.app;
    refused(app.get("/api/v1/repositories"), StatusCode::UNAUTHORIZED, "AUTHENTICATION").await;
    for (name, scopes, seen) in [
        ("root", &[][..], &["closed/app", "loose", "open/app"][..]),
        ("reader", &[], &["closed/app", "open/app"]),
        ("reader", &["open/**:pull"], &["open/app"]),
        ("reader", &["open/**:push"], &["open/app"]),
        ("reader", &["closed/**:push"], &["open/app"]),
        ("stranger", &[], &["open/app"]),
    ] {
        let token = town.token(name, scopes).await;
        let listed = done(app, (Method::GET, "/api/v1/repositories"), &token, None).await;
        assert_eq!(listed, json!({"repositories": seen, "next": null}), "{name} {scopes:?}");
    }
    let (reader, mut all, mut path) = (town.token("reader", &[]).await, Vec::new(), String::new());
    loop {
        let page = done(app, (Method::GET, &format!("/api/v1/repositories?n=1{path}")), &reader, None).await;
        all.extend(
            page["repositories"].as_array().expect("a list").iter().map(|name| name.as_str().map(str::to_owned)),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("&last={next}");
    }
    assert_eq!(all.into_iter().flatten().collect::<Vec<_>>(), ["closed/app", "open/app"]);
}
