//! What another document would change, found out without changing anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonded::faults::Moment;
use bonded::metadata::MetadataStore as _;
use bonded::metadata::dump::LoadOptions;
use bonded::metadata::layers::Fault;
use bonded::oci::route::DryRun;
use bonded::storage::layers::{Fault as StorageFault, Moment as StorageMoment, Operation};
use bonded::verify::policy::Policies;
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::signer::{Signer, bundle_of, sig_tag};
use super::{digest_path, enforce, image, index_of, ok, policy_of, refused, set, shown, with};
use crate::access::Town;
use crate::app::{TestApp, expect, json, on_both_places};
use crate::cli::{bonded, stdout, text};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};

const DRY_RUN: &str = "/v2/_trust/policy/dryrun";

on_both_places! {
    a_dry_run_says_what_would_change_and_changes_nothing
    pages_lead_to_everything_once
    what_tags_and_indexes_lead_to_is_looked_at
    artifact_types_and_attestations_count
}

fn document(policies: &[Value]) -> String {
    json!({"apiVersion": "trust/v1", "policies": policies}).to_string()
}

/// A registry with these accounts, and the token of its administrator.
async fn administered(app: TestApp) -> (Town, String) {
    let town = Town::found(app).await;
    let root = town.token("root", &[]).await;
    (town, root)
}

/// The answer to a proposal.
async fn tried(town: &Town, root: &str, query: &str, policies: &[Value]) -> Value {
    let request = with(town.app.post(&format!("{DRY_RUN}{query}")), Some(root));
    json(ok(request.body(document(policies))).await).await
}

/// Each manifest of an answer with its two verdicts: `prod/app:v1 pass>fail`.
fn changes(answer: &Value) -> Vec<String> {
    let told = |side: &Value| {
        let (verdict, refused) = (side["verdict"].as_str().expect("a verdict"), side["refused"] == json!(true));
        format!("{verdict}{}", if refused { "!" } else { "" })
    };
    let manifests = answer["manifests"].as_array().expect("a list").iter();
    let mut changes: Vec<String> = manifests
        .map(|manifest| {
            let tags: Vec<&str> = manifest["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
            let name = manifest["repository"].as_str().expect("a name");
            format!("{name}:{} {}>{}", tags.join(","), told(&manifest["now"]), told(&manifest["then"]))
        })
        .collect();
    changes.sort();
    changes
}

/// One manifest whose signature cannot be read does not hold up the others.
#[tokio::test]
async fn what_cannot_be_judged_is_told_as_that() {
    let signer = Signer::new();
    let app = TestApp::start().await;
    for (tag, seed) in [("one", 1), ("two", 2)] {
        let manifest = image(&app, "prod/app", tag, seed).await;
        let bytes = signer.bundle(&manifest).blobs[1].clone();
        // Larger than what is kept in a row.
        bundle_of(&manifest, [bytes, vec![b' '; 8000]].concat()).push(&app, "prod/app", None, None).await;
    }
    let (town, root) = administered(app).await;
    town.app.storage_faults.fail(Operation::Read, 1, StorageMoment::Before, StorageFault::Unavailable);
    let answer = tried(&town, &root, "", &[policy_of(&signer)]).await;
    assert_eq!(answer["checked"], 2);
    let mut then: Vec<&str> = answer["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|manifest| manifest["then"]["verdict"].as_str())
        .collect();
    then.sort_unstable();
    assert_eq!(then, ["error", "pass"], "{answer}");
}

/// Everything that a client sees of some manifests but for dates.
async fn seen(town: &Town, root: &str, manifests: &[&Vec<u8>]) -> Vec<String> {
    let mut seen = Vec::new();
    for manifest in manifests {
        let answer =
            with(town.app.get(&digest_path("prod/app", manifest)), Some(root)).send().await.expect("an answer");
        let unlike = ["date", "x-request-id", "x-signature-checked"];
        let mut headers: Vec<String> =
            answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|header| !unlike.iter().any(|name| header.starts_with(name)));
        headers.sort();
        seen.push(format!("{} {headers:?} {}", answer.status(), answer.text().await.expect("a body")));
    }
    seen
}

fn calls(app: &TestApp, method: &str) -> u64 {
    app.metadata_faults.calls().get(method).copied().unwrap_or_default()
}

async fn a_dry_run_says_what_would_change_and_changes_nothing(app: TestApp) {
    let (one, other) = (Signer::new(), Signer::new());
    let mut images = Vec::new();
    for (tag, seed) in [("by-one", 1), ("by-other", 2), ("unsigned", 3), ("unasked", 4)] {
        images.push(image(&app, "prod/app", tag, seed).await);
    }
    one.bundle(&images[0]).push(&app, "prod/app", None, None).await;
    other.bundle(&images[1]).push(&app, "prod/app", None, None).await;
    let (town, root) = administered(app).await;
    enforce(&town.app, &[policy_of(&one)]);
    let asked: Vec<&Vec<u8>> = images[..3].iter().collect();
    let before = seen(&town, &root, &asked).await;
    let repo = "prod/app".parse().expect("a name");
    let standing = town.app.metadata_faults.trust_standing(&repo).await.expect("an answer").expect("it is there");
    let verdicts = async || {
        let mut found = Vec::new();
        for image in &images {
            let digest = sha256(image).parse().expect("a digest");
            found.push(town.app.metadata_faults.verdict_find(standing.repository, &digest).await.expect("an answer"));
        }
        found
    };
    let (written, puts) = (verdicts().await, calls(&town.app, "verdict_put"));

    let answer = tried(&town, &root, "", &[policy_of(&other)]).await;
    assert_eq!(changes(&answer), ["prod/app:by-one pass>fail!", "prod/app:by-other fail!>pass"], "{answer:#}");
    assert_eq!((&answer["checked"], &answer["outOfTime"], &answer["next"]), (&json!(4), &json!(false), &Value::Null));
    let holds = town.app.registry.gate().policies().current().revision().to_owned();
    assert_eq!(answer["compared"], json!({"source": "database", "revision": holds, "on": "pull"}));
    assert_ne!(answer["revision"], json!(holds));
    let fail = &answer["manifests"].as_array().expect("a list").iter().find(|item| item["tags"] == json!(["by-one"]));
    let then = &fail.expect("it is told")["then"];
    assert_eq!((&then["policy"], &then["reason"]), (&json!("prod"), &json!("no_trusted_signer")), "{then}");
    assert_eq!(then["reasons"][0]["code"], "no_trusted_signer", "{then}");

    // Nothing of it is anywhere: not in the database, not in the memory of the gate.
    assert_eq!((verdicts().await, calls(&town.app, "verdict_put")), (written, puts));
    assert_eq!(town.app.registry.gate().policies().current().revision(), holds);
    let looks = calls(&town.app, "verdict_find");
    assert_eq!(seen(&town, &root, &asked).await, before);
    assert_eq!(calls(&town.app, "verdict_find"), looks, "what was known is known still");
    refused(with(town.app.get(&digest_path("prod/app", &images[3])), Some(&root))).await;
    assert_eq!(calls(&town.app, "verdict_find"), looks + 1, "what was not known is not");

    // What the document says that holds changes nothing; one that says nothing lets everything go.
    assert_eq!(changes(&tried(&town, &root, "", &[policy_of(&one)]).await), Vec::<String>::new());
    let everything = tried(&town, &root, "?all=true&repository=prod/*", &[policy_of(&one)]).await;
    assert_eq!(changes(&everything).len(), 4);
    let given = tried(&town, &root, "", &[]).await;
    assert_eq!(changes(&given)[0], "prod/app:by-one pass>off");
    assert_eq!(changes(&given).iter().filter(|change| change.ends_with("!>off")).count(), 3);
    let warned = tried(&town, &root, "", &[set(policy_of(&one), "mode", json!("warn"))]).await;
    assert!(changes(&warned).contains(&"prod/app:unsigned unsigned!>unsigned".to_owned()), "{warned}");
    assert_eq!(seen(&town, &root, &asked).await, before);
}

async fn pages_lead_to_everything_once(app: TestApp) {
    let signer = Signer::new();
    let mut stored = BTreeMap::new();
    for (at, repo) in ["prod/a", "prod/a/b", "prod/c", "test/a"].into_iter().enumerate() {
        for number in 0..3 {
            let seed = u8::try_from(at * 3 + number + 1).expect("a small number");
            let manifest = image(&app, repo, &format!("v{number}"), seed).await;
            signer.bundle(&manifest).push(&app, repo, None, None).await;
            stored.insert((repo.to_owned(), sha256(&manifest)), 1);
        }
    }
    let (town, root) = administered(app).await;
    for (query, count, repos) in [
        ("?n=1&all=true&repository=**/*", 12, ""),
        ("?n=2&repository=prod/**", 9, "prod/"),
        ("?n=3", 9, "prod/"),
        ("?n=5&repository=prod/a", 3, "prod/a"),
        ("?n=0&repository=prod/a", 3, "prod/a"),
        ("?repository=prod/none", 0, "none"),
    ] {
        let (mut found, mut target, mut checked) = (BTreeMap::new(), format!("{DRY_RUN}{query}"), 0);
        loop {
            let request = with(town.app.post(&target), Some(&root)).body(document(&[policy_of(&signer)]));
            let answer = ok(request).await;
            let link = shown(&answer, "link");
            let page = json(answer).await;
            checked += page["checked"].as_u64().expect("a number");
            for item in page["manifests"].as_array().expect("a list") {
                let text = |name: &str| item[name].as_str().expect("a text").to_owned();
                *found.entry((text("repository"), text("digest"))).or_insert(0) += 1;
            }
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(link, format!("<{next}>; rel=\"next\""));
            next.clone_into(&mut target);
        }
        let exactly = |name: &str| repos != "prod/a" || name == "prod/a";
        let wanted: BTreeMap<_, _> = stored
            .iter()
            .filter(|((name, _), _)| name.starts_with(repos) && exactly(name))
            .map(|(key, once)| (key.clone(), *once))
            .collect();
        let of_town = |name: &str| ["open/app", "closed/app", "loose"].contains(&name);
        found.retain(|(name, _), _| !of_town(name));
        assert_eq!((found, wanted.len()), (wanted.clone(), count), "{query}");
        assert!(checked >= count as u64, "{query}");
    }

    // Without any time a page looks at one manifest at most, and gets on.
    let none = |name: &str| Err(format!("there is no file {name}"));
    let proposed = Policies::load(document(&[policy_of(&signer)]).as_bytes(), &none).expect("it can be used").policies;
    let (proposed, mut wanted, mut found) = (Arc::new(proposed), DryRun::default(), 0);
    loop {
        let page = town.app.registry.dry_run(&proposed, &wanted, Duration::ZERO).await.expect("a page");
        assert!(page.checked <= 1 && page.out_of_time == page.next.is_some());
        found += page.manifests.len();
        if page.next.is_none() {
            break;
        }
        wanted.after = page.next;
    }
    assert_eq!(found, 9);
}

async fn what_tags_and_indexes_lead_to_is_looked_at(app: TestApp) {
    let signer = Signer::new();
    let mut children = Vec::new();
    for seed in 1..4 {
        let child = ImageBuilder::new().layer(&[seed; 500]);
        app.push_image("prod/app", &sha256(&child.manifest()), &child).await;
        children.push(child.manifest());
    }
    let inner = index_of(IMAGE_MANIFEST, &[&children[0]]);
    app.push_manifest("prod/app", &sha256(&inner), IMAGE_INDEX, &inner).await;
    let outer = index_of(IMAGE_INDEX, &[&inner]);
    app.push_manifest("prod/app", "all", IMAGE_INDEX, &outer).await;
    let loose = index_of(IMAGE_MANIFEST, &[&children[1]]);
    app.push_manifest("prod/app", &sha256(&loose), IMAGE_INDEX, &loose).await;
    signer.bundle(&outer).push(&app, "prod/app", None, None).await;
    signer.simple(&outer).push(&app, "prod/app", Some(&sig_tag(&outer)), None).await;
    let (town, root) = administered(app).await;

    // An index vouches for what it lists, however deep.
    let answer = tried(&town, &root, "", &[policy_of(&signer)]).await;
    assert_eq!(changes(&answer), ["prod/app: off>pass", "prod/app: off>pass", "prod/app:all off>pass"]);
    assert_eq!(answer["checked"], json!(3));
    let each = tried(&town, &root, "", &[set(policy_of(&signer), "children", json!("each"))]).await;
    let expected = ["prod/app: off>unsigned!", "prod/app: off>unsigned!", "prod/app:all off>pass"];
    assert_eq!(changes(&each), expected);
    let digests: Vec<&str> =
        each["manifests"].as_array().expect("a list").iter().filter_map(|m| m["digest"].as_str()).collect();
    for manifest in [&outer, &inner, &children[0]] {
        assert!(digests.contains(&sha256(manifest).as_str()));
    }
}

async fn artifact_types_and_attestations_count(app: TestApp) {
    const SBOM: &str = "application/spdx+json";
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 1).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    signer
        .statement(&manifest, "https://example.com/review", &sha256(&manifest))
        .push(&app, "prod/app", None, None)
        .await;
    let sbom = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": SBOM,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"), "layers": [descriptor(SBOM, b"[]")],
        "subject": descriptor(IMAGE_MANIFEST, &manifest),
    });
    app.push_blob("prod/app", b"{}").await;
    app.push_blob("prod/app", b"[]").await;
    app.push_manifest("prod/app", "sbom", IMAGE_MANIFEST, sbom.to_string().as_bytes()).await;
    let (town, root) = administered(app).await;
    enforce(&town.app, &[policy_of(&signer)]);
    let excluded = json!({"repositories": ["prod/**"], "excludeArtifactTypes": [SBOM]});
    let answer = tried(&town, &root, "", &[set(policy_of(&signer), "match", excluded)]).await;
    assert_eq!(changes(&answer), ["prod/app:sbom unsigned!>exempt"]);
    for (kind, exists, expected) in [
        ("https://example.com/review", false, &[][..]),
        ("https://example.com/review", true, &["prod/app:v1 pass>fail!"]),
        ("https://example.com/other", false, &["prod/app:v1 pass>fail!"]),
    ] {
        let rule = json!([{"predicateType": kind, "conditions": [{"pointer": "/result", "exists": exists}]}]);
        let answer = tried(&town, &root, "", &[set(policy_of(&signer), "attestations", rule)]).await;
        assert_eq!(changes(&answer), expected, "{kind} {exists}");
    }
}

#[tokio::test]
async fn administrators_try_policies_out_and_nobody_else_does() {
    let town = Town::build().await;
    let signer = Signer::new();
    let body = document(&[policy_of(&signer)]);
    let post = |token: Option<&str>, body: &str| with(town.app.post(DRY_RUN), token).body(body.to_owned());
    expect(post(None, &body), StatusCode::UNAUTHORIZED).await;
    for (name, scopes) in [("reader", &[][..]), ("owner", &[]), ("root", &["prod/**:pull"])] {
        let token = town.token(name, scopes).await;
        expect(post(Some(&token), &body), StatusCode::FORBIDDEN).await;
        expect(with(town.app.get("/v2/_trust/policy/revisions"), Some(&token)), StatusCode::FORBIDDEN).await;
    }
    let root = town.token("root", &[]).await;
    ok(post(Some(&root), &body)).await;
    ok(post(Some(&root), &document(&[]))).await;
    expect(post(Some(&root), ""), StatusCode::BAD_REQUEST).await;

    // Every fault is named, as when it is stored; and a file of this machine is none of a document that comes over the net.
    let mut bad = policy_of(&signer);
    bad["mode"] = json!("enforced");
    bad["typo"] = json!(1);
    let answer = json(expect(post(Some(&root), &document(&[bad])), StatusCode::BAD_REQUEST).await).await;
    assert_eq!(answer["errors"][0]["detail"].as_array().expect("findings").len(), 2, "{answer}");
    let named = json!({"apiVersion": "trust/v1", "trustRoots": {"a": {"file": "passwd"}}, "policies": []});
    expect(post(Some(&root), &named.to_string()), StatusCode::BAD_REQUEST).await;
    expect(post(Some(&root), &"x".repeat(2 << 20)), StatusCode::PAYLOAD_TOO_LARGE).await;
    for query in ["?n=x", "?all=yes", "?last=A", "?repository=%5B"] {
        let request = with(town.app.post(&format!("{DRY_RUN}{query}")), Some(&root)).body(body.clone());
        expect(request, StatusCode::BAD_REQUEST).await;
    }
    expect(with(town.app.request(Method::GET, DRY_RUN), Some(&root)), StatusCode::METHOD_NOT_ALLOWED).await;
    let events = json(ok(with(town.app.get("/api/v1/audit?kind=trust.policy"), Some(&root))).await).await;
    assert_eq!(events["events"], json!([]), "nothing has changed");

    let open = TestApp::start().await;
    expect(open.post(DRY_RUN).body(body), StatusCode::FORBIDDEN).await;
}

#[tokio::test]
async fn policies_of_a_file_are_compared_too() {
    let app = TestApp::builder().options(|options| options.policy_file = true).start().await;
    image(&app, "prod/app", "v1", 1).await;
    let (town, root) = administered(app).await;
    let answer = tried(&town, &root, "", &[policy_of(&Signer::new())]).await;
    assert_eq!(answer["compared"], json!({"source": "file", "revision": "", "on": "pull"}));
    assert_eq!(changes(&answer), ["prod/app:v1 off>unsigned!"]);
}

#[tokio::test]
async fn a_registry_is_asked_from_the_command_line() {
    let app = TestApp::start().await;
    let (one, other) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 1).await;
    one.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let (town, root) = administered(app).await;
    enforce(&town.app, &[policy_of(&one)]);
    let reader = town.token("reader", &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.json");
    std::fs::write(folder.path().join("other.pub"), other.pem()).expect("written");
    let authorities = json!([{"name": "release", "key": {"file": "other.pub"}}]);
    let written = |policy: Value| std::fs::write(&file, document(&[policy])).expect("written");
    let address = town.app.address.to_string();
    let tried = async |server: &str, token: &str, arguments: &[&str]| {
        let fixed = ["policy", "dry-run", text(&file), "--server", server, "--username", "root"];
        let mut command = bonded(&[&fixed, arguments].concat());
        let output = command.env("BONDED_TOKEN", token).output().await.expect("it ends");
        (output.status.code(), stdout(&output) + &String::from_utf8_lossy(&output.stderr))
    };
    // A file that the document names is sent with it.
    written(set(policy_of(&one), "authorities", authorities));
    let (code, said) = tried(&address, &root, &[]).await;
    let line = format!("prod/app:v1@{}: pass -> fail (no_trusted_signer)\n", sha256(&manifest));
    assert_eq!((code, said.strip_prefix(&line).is_some()), (Some(1), true), "{said}");
    let (code, said) = tried(&format!("http://{address}/"), &root, &["-o", "json"]).await;
    let last: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    assert_eq!((code, &last["checked"], &last["wouldBeRefused"]), (Some(1), &json!(1), &json!(1)), "{said}");
    assert_eq!(last["compared"]["source"], "database");
    ok(with(town.app.get(&digest_path("prod/app", &manifest)), Some(&root))).await;

    written(policy_of(&one));
    let (code, said) = tried(&address, &root, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    for (server, token, expected) in [
        (address.as_str(), reader.as_str(), "takes an administrator"),
        (&address, "wrong", "401"),
        ("http://127.0.0.1:1", &root, "onnect"),
        ("ftp://a", &root, "no address of a registry"),
        (&format!("{address}/v2"), &root, "no address of a registry"),
    ] {
        let (code, said) = tried(server, token, &[]).await;
        assert!(code == Some(2) && said.contains(expected), "{server}: {said}");
    }
    // A file that was not written is none without policies.
    for (text, expected) in [("", 2), ("# later\n", 2), ("apiVersion: trust/v1\npolicies: []\n", 0)] {
        std::fs::write(&file, text).expect("written");
        let (code, said) = tried(&address, &root, &[]).await;
        assert_eq!((code, said.contains("the document is empty")), (Some(expected), expected == 2), "{said}");
    }
    for text in ["", " \n"] {
        let answer = expect(with(town.app.post(DRY_RUN), Some(&root)).body(text), StatusCode::BAD_REQUEST).await;
        assert_eq!(crate::app::error_code(answer).await, "UNSUPPORTED");
    }
    let lacking = json!({"apiVersion": "trust/v1", "policies": [], "trustRoots": {"a": {"file": "none.json"}}});
    std::fs::write(&file, lacking.to_string()).expect("written");
    let (code, said) = tried(&address, &root, &[]).await;
    assert!(code == Some(2) && said.contains("`none.json` cannot be read"), "{said}");
}

#[tokio::test]
async fn two_at_a_time_try_policies_out() {
    let (town, root) = administered(TestApp::start().await).await;
    let body = document(&[policy_of(&Signer::new())]);
    let post = || with(town.app.post(DRY_RUN), Some(&root)).body(body.clone());
    let faults = &town.app.metadata_faults;
    faults.fail("repository_ids", 1, Moment::Before, Fault::Pause);
    faults.fail("repository_ids", 2, Moment::Before, Fault::Pause);
    let others = async {
        faults.hung().await;
        let third = async {
            faults.hung().await;
            let busy = expect(post(), StatusCode::SERVICE_UNAVAILABLE).await;
            assert_eq!(shown(&busy, "retry-after"), "5");
            assert_eq!(crate::app::error_code(busy).await, "TOOMANYREQUESTS");
            faults.resume();
            faults.resume();
        };
        tokio::join!(ok(post()), third);
    };
    tokio::join!(ok(post()), others);
    ok(post()).await;
}

#[tokio::test]
async fn the_documents_that_there_were_are_listed() {
    const DOCUMENT: &str = "/v2/_trust/policy/document";
    let (town, root) = administered(TestApp::start().await).await;
    let get = |path: &str| with(town.app.get(path), Some(&root));
    let mut stored = Vec::new();
    for policies in [&[policy_of(&Signer::new())][..], &[], &[policy_of(&Signer::new())]] {
        let text = document(policies);
        let put = json(ok(with(town.app.put(DOCUMENT), Some(&root)).body(text.clone())).await).await;
        town.app.clock.advance(Duration::from_mins(1));
        stored.push((put["number"].clone(), put["revision"].clone(), text));
    }
    let (mut listed, mut target) = (Vec::new(), "/v2/_trust/policy/revisions?n=2".to_owned());
    loop {
        let answer = ok(get(&target)).await;
        let link = shown(&answer, "link");
        let page = json(answer).await;
        assert_eq!(page["source"], "database");
        listed.extend(page["revisions"].as_array().expect("a list").clone());
        let Some(next) = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else { break };
        next.clone_into(&mut target);
    }
    assert_eq!(listed.len(), 3);
    for (entry, (number, revision, text)) in listed.iter().zip(stored.iter().rev()) {
        assert_eq!((&entry["number"], &entry["revision"], &entry["size"]), (number, revision, &json!(text.len())));
        let old = json(ok(get(&format!("{DOCUMENT}?number={number}"))).await).await;
        assert_eq!((&old["document"], &old["revision"], &old["actor"]), (&json!(text), revision, &json!("root")));
        assert_eq!((&old["createdAt"], &entry["createdAt"]), (&entry["createdAt"], &old["createdAt"]));
    }
    let held = json(ok(get(DOCUMENT)).await).await;
    assert_eq!((&held["number"], &held["document"]), (&json!(3), &json!(stored[2].2)));
    let unknown = expect(get(&format!("{DOCUMENT}?number=4")), StatusCode::NOT_FOUND).await;
    assert_eq!(crate::app::error_code(unknown).await, "UNSUPPORTED");
    expect(get(&format!("{DOCUMENT}?number=x")), StatusCode::BAD_REQUEST).await;

    // Where no revision was written down, as in a backup from before, it is found out from the text.
    let facts = &town.app.metadata_faults;
    let mut batches: Vec<_> = facts.dump().map(|batch| batch.expect("rows")).collect().await;
    for batch in batches.iter_mut().filter(|batch| batch.table.name == "trust_policies") {
        let lost = batch.position("revision").expect("a column");
        batch.columns.remove(lost);
        batch.rows.iter_mut().for_each(|row| drop(row.remove(lost)));
    }
    let options = LoadOptions { now: town.app.registry.now(), doom_unknown: false, ends_copy: false };
    facts.load(stream::iter(batches).map(Ok).boxed(), options).await.expect("loaded");
    let answer = json(ok(get("/v2/_trust/policy/revisions")).await).await;
    assert_eq!(answer["revisions"], json!(listed));
}
