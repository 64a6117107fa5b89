//! Verdicts, for whoever asks without pulling.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::Signer;
use super::{enforce, image, ok, policy_of, refused, set, with};
use crate::access::Town;
use crate::app::{TestApp, expect, json};
use crate::fixtures::{ImageBuilder, sha256};

fn at(reference: &str, policy: &str) -> String {
    format!("/v2/prod/app/_trust/verify/verdict?ref={reference}&policy={policy}")
}

fn named(signer: &Signer, name: &str) -> Value {
    set(policy_of(signer), "name", json!(name))
}

#[tokio::test]
async fn one_policy_alone_is_asked_by_its_name() {
    let app = TestApp::start().await;
    let (one, two) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 1).await;
    let elsewhere = set(named(&one, "elsewhere"), "match", json!({"repositories": ["other/**"]}));
    let policies = [
        named(&one, "passes"),
        named(&two, "fails"),
        set(named(&two, "warns"), "mode", json!("warn")),
        set(named(&two, "tags"), "on", json!(["tag"])),
        set(named(&two, "off"), "mode", json!("off")),
        elsewhere,
    ];
    enforce(&app, &policies);
    one.bundle(&manifest).push(&app, "prod/app", None, None).await;

    let all = json(ok(app.get("/v2/prod/app/_trust/verify/verdict?ref=v1")).await).await;
    assert_eq!((&all["policy"], &all["verdict"]), (&json!("fails"), &json!("fail")));
    for reference in ["v1".to_owned(), sha256(&manifest)] {
        for (policy, verdict, refused, warnings) in [
            ("passes", "pass", false, 0),
            ("fails", "fail", true, 0),
            ("warns", "fail", false, 1),
            ("tags", "fail", true, 0),
        ] {
            let told = json(ok(app.get(&at(&reference, policy))).await).await;
            assert_eq!((&told["policy"], &told["verdict"]), (&json!(policy), &json!(verdict)), "{told}");
            assert_eq!(told["refused"], refused, "{told}");
            assert_eq!(told["warnings"].as_array().map(Vec::len), Some(warnings), "{told}");
            assert_eq!(told["evidence"].as_array().map(Vec::len), Some(usize::from(verdict == "pass")), "{told}");
        }
    }
    // What is not there yet is judged as well, and what carries signatures is not.
    let image = ImageBuilder::new().layer(b"to come");
    one.bundle(&image.manifest()).push(&app, "prod/app", None, None).await;
    let told = json(ok(app.get(&at(&sha256(&image.manifest()), "passes"))).await).await;
    assert_eq!(told["verdict"], "pass");
    let signature = one.bundle(&manifest).push(&app, "prod/app", None, None).await;
    assert_eq!(json(ok(app.get(&at(&signature, "fails"))).await).await["verdict"], "exempt");
}

#[tokio::test]
async fn a_policy_that_is_not_about_the_repository_is_not_found() {
    let town = Town::build().await;
    let signer = Signer::new();
    let reader = town.token("reader", &["**:pull"]).await;
    let here = set(policy_of(&signer), "match", json!({"repositories": ["closed/**"]}));
    let elsewhere = set(set(here.clone(), "name", json!("elsewhere")), "match", json!({"repositories": ["open/**"]}));
    let off = set(set(here.clone(), "name", json!("off")), "mode", json!("off"));
    enforce(&town.app, &[here, elsewhere, off]);
    let path = |repo: &str, policy: &str| format!("/v2/{repo}/_trust/verify/verdict?ref=v1&policy={policy}");
    let asked = async |policy: &str, status| {
        json(expect(with(town.app.get(&path("closed/app", policy)), Some(&reader)), status).await).await
    };
    assert_eq!(asked("prod", StatusCode::OK).await["verdict"], "unsigned");
    for policy in ["nowhere", "elsewhere", "off"] {
        let told = asked(policy, StatusCode::NOT_FOUND).await;
        let message = format!("no signature policy '{policy}' is about this repository");
        assert_eq!(told, json!({"errors": [{"code": "UNSUPPORTED", "message": message}]}));
    }
    for policy in ["", "Prod", "prod%20", &"a".repeat(64)] {
        assert_eq!(asked(policy, StatusCode::BAD_REQUEST).await["errors"][0]["code"], "UNSUPPORTED");
    }
    // To a stranger neither the repository nor any policy is there.
    let stranger = town.token("stranger", &["**:pull"]).await;
    for policy in ["prod", "nowhere"] {
        let answer =
            expect(with(town.app.get(&path("closed/app", policy)), Some(&stranger)), StatusCode::NOT_FOUND).await;
        assert_eq!(json(answer).await["errors"][0]["code"], "MANIFEST_UNKNOWN");
    }
}

/// What it says to do can be copied into a shell, as what a refused pull says.
#[tokio::test]
async fn help_names_the_host() {
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", 2).await;
    enforce(&app, &[policy_of(&Signer::new())]);
    let help = format!("cosign sign --key cosign.key {}/prod/app@{}", app.address, sha256(&manifest));
    assert_eq!(refused(app.get("/v2/prod/app/manifests/v1")).await["help"], help);
    assert_eq!(json(ok(app.get("/v2/prod/app/_trust/verify/verdict?ref=v1")).await).await["help"], help);
    assert_eq!(json(ok(app.get(&at("v1", "prod"))).await).await["help"], help);
}
