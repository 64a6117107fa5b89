//! Lists of referrers under a tag, as they are kept in registries that have no referrers API.

use reqwest::StatusCode;

use super::signer::Signer;
use super::{enforce, image, index_of, ok, path, policy_of, refused, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, sha256};

on_both_places! {
    a_list_of_signatures_is_read_by_everybody
}

fn list_tag(subject: &[u8]) -> String {
    sha256(subject).replace(':', "-")
}

async fn a_list_of_signatures_is_read_by_everybody(app: TestApp) {
    let signer = Signer::new();
    let (manifest, other) = (image(&app, "prod/app", "v1", 1).await, image(&app, "prod/app", "v2", 2).await);
    enforce(&app, &[policy_of(&signer)]);
    let (first, foreign) = (signer.bundle(&manifest), signer.bundle(&other));
    let second = Signer::new().bundle(&manifest);
    for signed in [&first, &second] {
        signed.push(&app, "prod/app", None, None).await;
    }
    let tag = list_tag(&manifest);
    let by = path("prod/app", &tag);
    for children in [&[][..], &[&first.manifest[..]], &[&first.manifest, &second.manifest]] {
        app.push_manifest("prod/app", &tag, IMAGE_INDEX, &index_of(IMAGE_MANIFEST, children)).await;
        assert!(shown(&ok(app.get(&by)).await, "x-signature-verdict").starts_with("exempt"));
    }
    // With anything else in it, it is an index like any other. It lists a signature of another image as well.
    foreign.push(&app, "prod/app", None, None).await;
    let sbom = ImageBuilder::new().layer(b"an SBOM").subject(IMAGE_MANIFEST, &manifest);
    app.push_image("prod/app", "sbom", &sbom).await;
    for children in [&[&first.manifest[..], &sbom.manifest()][..], &[&first.manifest, &foreign.manifest]] {
        app.push_manifest("prod/app", &tag, IMAGE_INDEX, &index_of(IMAGE_MANIFEST, children)).await;
        refused(app.get(&by)).await;
    }
    // And under another name it is an index.
    app.push_manifest("prod/app", "list", IMAGE_INDEX, &index_of(IMAGE_MANIFEST, &[&second.manifest])).await;
    refused(app.get(&path("prod/app", "list"))).await;
}

/// Row 12: as much work as there are manifests, and not as often as they are listed.
#[tokio::test]
async fn a_child_that_is_listed_often_is_looked_at_once() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 3).await;
    enforce(&app, &[policy_of(&signer)]);
    let signed = signer.bundle(&manifest);
    signed.push(&app, "prod/app", None, None).await;
    let list = index_of(IMAGE_MANIFEST, &vec![&signed.manifest[..]; 1000]);
    let reads = || app.metadata_faults.calls().values().sum::<u64>();
    let before = reads();
    let put = app.put(&path("prod/app", &list_tag(&manifest))).header("content-type", IMAGE_INDEX).body(list);
    expect(put, StatusCode::CREATED).await;
    assert!(reads() - before < 20, "{} calls", reads() - before);
    let answer = ok(app.get(&path("prod/app", &list_tag(&manifest)))).await;
    assert!(shown(&answer, "x-signature-verdict").starts_with("exempt"));
}
