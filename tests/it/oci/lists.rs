//! Lists on the wire: the API's own door, tags, repositories.

use reqwest::StatusCode;
use serde_json::json;

use crate::app::{TestApp, error_code, expect, header, json as body_json, maybe_header};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder};

#[tokio::test]
async fn the_door_says_what_this_is() {
    let app = TestApp::start().await;
    for path in ["/v2/", "/v2"] {
        let answer = expect(app.get(path), StatusCode::OK).await;
        assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(answer.text().await.expect("a body"), "{}");
    }
    let head = expect(app.head("/v2/"), StatusCode::OK).await;
    assert_eq!(header(&head, "content-length"), "2");
}

#[tokio::test]
async fn tags_come_sorted_and_in_pages() {
    let app = TestApp::start().await;
    let image = ImageBuilder::new();
    app.push_blob("a/b", b"{}").await;
    for tag in ["v2", "v10", "V1", "latest", "_x"] {
        app.push_manifest("a/b", tag, IMAGE_MANIFEST, &image.manifest()).await;
    }
    let all = ["V1", "_x", "latest", "v10", "v2"];
    let list = |query: &str| app.get(&format!("/v2/a/b/tags/list{query}"));
    for query in ["", "?n=", "?n=5", "?n=10000000000000000000000", "?last=A"] {
        let answer = expect(list(query), StatusCode::OK).await;
        assert_eq!(maybe_header(&answer, "link"), None, "{query}");
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(body_json(answer).await, json!({"name": "a/b", "tags": all}));
    }
    let page = expect(list("?n=2"), StatusCode::OK).await;
    assert_eq!(header(&page, "link"), "</v2/a/b/tags/list?n=2&last=_x>; rel=\"next\"");
    assert_eq!(body_json(page).await["tags"], json!(["V1", "_x"]));
    let page = expect(list("?n=2&last=_x"), StatusCode::OK).await;
    assert_eq!(header(&page, "link"), "</v2/a/b/tags/list?n=2&last=v10>; rel=\"next\"");
    let page = expect(list("?n=2&last=v10"), StatusCode::OK).await;
    assert_eq!(maybe_header(&page, "link"), None);
    assert_eq!(body_json(page).await["tags"], json!(["v2"]));
    // `last` need not exist.
    let page = expect(list("?last=m"), StatusCode::OK).await;
    assert_eq!(body_json(page).await["tags"], json!(["v10", "v2"]));
    let none = expect(list("?n=0"), StatusCode::OK).await;
    assert_eq!(maybe_header(&none, "link"), None);
    assert_eq!(body_json(none).await, json!({"name": "a/b", "tags": []}));
    let refused = expect(list("?n=many"), StatusCode::BAD_REQUEST).await;
    assert_eq!(error_code(refused).await, "UNSUPPORTED");
}

#[tokio::test]
async fn a_repository_without_manifests_has_no_tags() {
    let app = TestApp::start().await;
    app.push_blob("only/blobs", b"x").await;
    for repo in ["only/blobs", "no/such"] {
        let unknown = expect(app.get(&format!("/v2/{repo}/tags/list")), StatusCode::NOT_FOUND).await;
        assert_eq!(error_code(unknown).await, "NAME_UNKNOWN");
    }
}

#[tokio::test]
async fn the_catalogue_lists_repositories_with_manifests() {
    let app = TestApp::builder().limits(|limits| limits.catalog_page_max = 2).start().await;
    let empty = expect(app.get("/v2/_catalog"), StatusCode::OK).await;
    assert_eq!(body_json(empty).await, json!({"repositories": []}));
    app.push_blob("only/blobs", b"x").await;
    for repo in ["c", "a/b", "b"] {
        app.push_image(repo, "v1", &ImageBuilder::new()).await;
    }
    let page = expect(app.get("/v2/_catalog"), StatusCode::OK).await;
    assert_eq!(header(&page, "link"), "</v2/_catalog?last=b>; rel=\"next\"");
    assert_eq!(body_json(page).await, json!({"repositories": ["a/b", "b"]}));
    let page = expect(app.get("/v2/_catalog?last=b&n=100"), StatusCode::OK).await;
    assert_eq!(maybe_header(&page, "link"), None);
    assert_eq!(body_json(page).await, json!({"repositories": ["c"]}));
}

#[tokio::test]
async fn names_may_be_made_of_the_words_of_the_api() {
    let app = TestApp::start().await;
    for repo in ["manifests/blobs", "tags/list", "blobs/uploads/referrers", "v2"] {
        let image = ImageBuilder::new();
        app.push_image(repo, "list", &image).await;
        expect(app.get(&format!("/v2/{repo}/manifests/list")), StatusCode::OK).await;
        let tags = expect(app.get(&format!("/v2/{repo}/tags/list")), StatusCode::OK).await;
        assert_eq!(body_json(tags).await, json!({"name": repo, "tags": ["list"]}));
    }
}
