//! The referrers of a digest on the wire.

use reqwest::StatusCode;

use crate::app::{TestApp, error_code, expect, header, json, maybe_header};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, sha256};

#[tokio::test]
async fn nobody_refers_to_what_nobody_knows() {
    let app = TestApp::start().await;
    let zero = format!("sha256:{}", "0".repeat(64));
    let answer = expect(app.get(&format!("/v2/no/such/referrers/{zero}")), StatusCode::OK).await;
    assert_eq!(header(&answer, "content-type"), IMAGE_INDEX);
    assert_eq!(maybe_header(&answer, "oci-filters-applied"), None);
    assert_eq!(maybe_header(&answer, "link"), None);
    let body = json(answer).await;
    assert_eq!(body, serde_json::json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}));

    let malformed = expect(app.get("/v2/a/referrers/sha256:short"), StatusCode::BAD_REQUEST).await;
    assert_eq!(error_code(malformed).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let app = TestApp::start().await;
    let subject = ImageBuilder::new().annotation("is", "subject").manifest();
    let mut expected = Vec::new();
    for at in 0..5 {
        let kind = if at % 2 == 0 { "application/vnd.even" } else { "application/vnd.odd+json" };
        let referrer = ImageBuilder::new().subject(IMAGE_MANIFEST, &subject).artifact_type(kind);
        let referrer = referrer.annotation("number", &at.to_string());
        expected.push((app.push_image("a", &format!("r{at}"), &referrer).await, kind));
    }
    expected.sort();
    let path = format!("/v2/a/referrers/{}", sha256(&subject));

    let all = json(expect(app.get(&path), StatusCode::OK).await).await;
    let listed: Vec<(&str, &str)> = all["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| (entry["digest"].as_str().expect("a digest"), entry["artifactType"].as_str().expect("a type")))
        .collect();
    assert_eq!(listed, expected.iter().map(|(digest, kind)| (digest.as_str(), *kind)).collect::<Vec<_>>());
    assert!(all["manifests"][0]["annotations"]["number"].is_string());
    assert_eq!(all["manifests"][0]["mediaType"], IMAGE_MANIFEST);

    let filter = "artifactType=application%2Fvnd.odd%2Bjson";
    let odd = expect(app.get(&format!("{path}?{filter}")), StatusCode::OK).await;
    assert_eq!(header(&odd, "oci-filters-applied"), "artifactType");
    assert_eq!(json(odd).await["manifests"].as_array().expect("a list").len(), 2);

    for (query, total) in [("n=2".to_owned(), 5), (format!("{filter}&n=1"), 2)] {
        let mut next = Some(format!("{path}?{query}"));
        let mut count = 0;
        while let Some(page) = next {
            let answer = expect(app.get(&page), StatusCode::OK).await;
            next = maybe_header(&answer, "link").map(|link| {
                let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
                target.expect("a link to the next page").to_owned()
            });
            count += json(answer).await["manifests"].as_array().expect("a list").len();
        }
        assert_eq!(count, total, "{query}");
    }
}
