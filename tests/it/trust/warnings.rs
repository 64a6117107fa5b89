//! `Warning` headers of what is given although a policy that only warns is not satisfied.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::signer::Signer;
use super::{enforce, image, ok, path, policy_of, set};
use crate::app::{TestApp, expect, json};
use crate::fixtures::sha256;

/// distribution-spec, "Warnings": of all headers together.
const BYTES_MAX: usize = 4096;

fn warning(name: &str) -> Value {
    set(set(policy_of(&Signer::new()), "mode", json!("warn")), "name", json!(name))
}

async fn warned(request: RequestBuilder) -> Vec<String> {
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let all = answer.headers().get_all("warning");
    all.iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn all_warnings_of_an_answer_have_one_bound() {
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", 1).await;
    let targets = [path("prod/app", "v1"), format!("/v2/prod/app/blobs/{}", sha256(&[1; 5000]))];

    let names = ["a", "b", "c", "d", "e"];
    enforce(&app, &names[..2].iter().map(|name| warning(name)).collect::<Vec<_>>());
    for target in &targets {
        let few = warned(app.get(target)).await;
        let why = "unsigned; no signature counts that is by release";
        let told = |name: &str| format!("299 - \"signature policy '{name}' not satisfied: {why}\"");
        assert_eq!(few, [told("a"), told("b")], "nothing is left out of this");
    }

    // Each says something of each policy.
    for _ in 0..20 {
        Signer::new().bundle(&manifest).push(&app, "prod/app", None, None).await;
    }
    enforce(&app, &names.map(warning));
    let verdict = json(ok(app.get("/v2/prod/app/_trust/verify/verdict?ref=v1")).await).await;
    let all = verdict["warnings"].as_array().expect("warnings");
    let messages = all.iter().flat_map(|told| told["reasons"].as_array().expect("reasons"));
    let bytes: usize = messages.map(|reason| reason["message"].as_str().expect("a message").len()).sum();
    assert!(all.len() == 5 && bytes > BYTES_MAX, "{bytes}: too little to leave anything out");
    for target in &targets {
        for request in [app.get(target), app.get(target).header("range", "bytes=0-9")] {
            let warnings = warned(request).await;
            assert!(warnings.iter().map(String::len).sum::<usize>() <= BYTES_MAX, "{warnings:?}");
            assert_eq!(warnings.len(), 4, "{warnings:?}");
            for (name, text) in names.iter().zip(&warnings) {
                assert!(text.starts_with(&format!("299 - \"signature policy '{name}' not satisfied: ")), "{text}");
                assert_eq!(text.ends_with("; more was left out\""), *name == "d", "{text}");
            }
        }
    }
    let head = expect(app.head(&targets[0]), StatusCode::OK).await;
    assert_eq!(head.headers().get_all("warning").iter().count(), 4);
}
