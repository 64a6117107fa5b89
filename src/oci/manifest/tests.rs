//! Tests of [`Manifest`]: what is taken, what is refused and where the fault is said to be.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oci::digest::Algorithm;

const LIMITS: ManifestLimits = ManifestLimits { depth_max: 64, descriptors_max: 50, annotations_max: 2_000 };

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn descriptor(media_type: &str, text: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(text).to_string(), "size": text.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "a"), descriptor("x/y", "b")],
    })
}

fn index() -> Value {
    let mut child = descriptor(OCI_IMAGE_MANIFEST, "child");
    child["platform"] = json!({"architecture": "amd64", "os": "linux"});
    json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX, "manifests": [child]})
}

fn with(mut document: Value, member: &str, value: Value) -> Value {
    document[member] = value;
    document
}

fn without(mut document: Value, member: &str) -> Value {
    document.as_object_mut().expect("an object").remove(member);
    document
}

fn parse(document: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    Manifest::parse(document.to_string().as_bytes(), content_type, &LIMITS)
}

fn fault(document: &Value, content_type: Option<&str>) -> String {
    parse(document, content_type).expect_err("a bad manifest").to_string()
}

#[test]
fn an_image_names_its_parts() {
    let subject = descriptor(OCI_IMAGE_MANIFEST, "subject");
    let document = with(with(image(), "subject", subject), "annotations", json!({"a": "b"}));
    let manifest = parse(&document, Some(OCI_IMAGE_MANIFEST)).expect("a manifest");
    assert_eq!(manifest.kind, ManifestKind::Image);
    assert_eq!(manifest.media_type, OCI_IMAGE_MANIFEST);
    assert_eq!(manifest.config.map(|config| config.digest), Some(digest("config")));
    let layers: Vec<Digest> = manifest.layers.into_iter().map(|layer| layer.digest).collect();
    assert_eq!(layers, [digest("a"), digest("b")]);
    assert_eq!(manifest.subject.map(|subject| subject.digest), Some(digest("subject")));
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(manifest.annotations, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
}

#[test]
fn an_index_names_its_children() {
    let manifest = parse(&index(), None).expect("a manifest");
    assert_eq!((manifest.kind, manifest.artifact_type), (ManifestKind::Index, None));
    assert_eq!(manifest.manifests[0].platform.as_deref(), Some(r#"{"architecture":"amd64","os":"linux"}"#));
    let typed = parse(&with(index(), "artifactType", json!("a/b")), None).expect("a manifest");
    assert_eq!(typed.artifact_type.as_deref(), Some("a/b"));
}

#[test]
fn lists_may_be_empty_or_null() {
    for list in [json!([]), Value::Null] {
        assert!(parse(&with(image(), "layers", list.clone()), None).expect("a manifest").layers.is_empty());
        assert!(parse(&with(index(), "manifests", list), None).expect("a manifest").manifests.is_empty());
    }
    let nulls = json!({"subject": null, "annotations": null, "artifactType": null, "manifests": null});
    let mut document = image();
    document.as_object_mut().expect("an object").extend(nulls.as_object().expect("an object").clone());
    assert!(parse(&document, None).is_ok());
}

#[test]
fn docker_types_are_taken_as_they_are() {
    let image = with(image(), "mediaType", json!(DOCKER_MANIFEST));
    assert_eq!(parse(&image, Some(DOCKER_MANIFEST)).map(|m| m.kind).ok(), Some(ManifestKind::Image));
    let list = with(index(), "mediaType", json!(DOCKER_MANIFEST_LIST));
    assert_eq!(parse(&list, None).map(|m| m.media_type).ok().as_deref(), Some(DOCKER_MANIFEST_LIST));
}

#[test]
fn the_media_type_comes_from_header_document_or_content() {
    let typed = image();
    let untyped = without(image(), "mediaType");
    let ok = |document: &Value, header| parse(document, header).map(|m| m.media_type).map_err(|e| e.to_string());
    for header in [
        None,
        Some(""),
        Some("application/json"),
        Some("application/octet-stream"),
        Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
        Some("Application/vnd.OCI.image.manifest.v1+json"),
    ] {
        assert_eq!(ok(&typed, header).as_deref(), Ok(OCI_IMAGE_MANIFEST), "{header:?}");
    }
    for header in [None, Some("text/plain"), Some(OCI_IMAGE_MANIFEST)] {
        assert_eq!(ok(&untyped, header).as_deref(), Ok(OCI_IMAGE_MANIFEST), "{header:?}");
    }
    assert_eq!(ok(&untyped, Some(DOCKER_MANIFEST)).as_deref(), Ok(DOCKER_MANIFEST));
    assert_eq!(ok(&without(index(), "mediaType"), None).as_deref(), Ok(OCI_IMAGE_INDEX));
    assert!(fault(&typed, Some(DOCKER_MANIFEST)).contains("Content-Type says"));
    assert!(fault(&typed, Some("nonsense")).starts_with("Content-Type: "));
    assert!(fault(&with(image(), "mediaType", json!("*/*")), None).starts_with("mediaType: "));
    assert!(fault(&with(image(), "mediaType", json!(2)), None).starts_with("mediaType: "));
    assert!(fault(&json!({"schemaVersion": 2}), None).contains("neither"));
}

#[test]
fn content_must_fit_the_type() {
    let mixed = with(image(), "manifests", json!([]));
    assert!(fault(&mixed, None).contains("both layers and manifests"));
    assert!(fault(&with(mixed, "mediaType", json!("x/y")), None).contains("both layers and manifests"));
    let config = descriptor("x/y", "config");
    assert!(fault(&with(index(), "config", config.clone()), None).contains("cannot have config"));
    let layers_only = json!({"schemaVersion": 2, "layers": []});
    assert!(fault(&layers_only, Some(OCI_IMAGE_INDEX)).contains("cannot have layers"));
    let manifests_only = json!({"schemaVersion": 2, "config": config, "manifests": []});
    assert!(fault(&manifests_only, Some(OCI_IMAGE_MANIFEST)).contains("cannot have manifests"));
}

#[test]
fn faults_name_their_place() {
    let bad_layer = with(
        image(),
        "layers",
        json!([descriptor("x/y", "a"), with(descriptor("x/y", "b"), "digest", json!("md5:00"))]),
    );
    let cases = [
        (bad_layer, "layers[1].digest `md5:00`: the digest algorithm"),
        (with(image(), "config", json!({})), "config.mediaType is missing"),
        (without(image(), "config"), "config is missing"),
        (without(image(), "layers"), "layers is missing"),
        (with(image(), "layers", json!({})), "layers must be an array"),
        (with(image(), "layers", json!([7])), "layers[0] must be an object"),
        (with(image(), "subject", json!("x")), "subject must be an object"),
        (with(image(), "annotations", json!({"a": 1})), "annotations value of `a` must be a string"),
        (with(image(), "artifactType", json!("x")), "artifactType must be a media type"),
        (with(image(), "schemaVersion", json!(3)), "schemaVersion must be 2"),
        (with(image(), "schemaVersion", json!("2")), "schemaVersion must be 2"),
        (without(index(), "schemaVersion"), "schemaVersion is missing"),
        (without(index(), "manifests"), "manifests is missing"),
        (json!([]), "the document must be a JSON object"),
    ];
    for (document, expected) in cases {
        let fault = fault(&document, None);
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn docker_schema_1_is_refused() {
    let schema1 = json!({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []});
    for header in [None, Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), Some("x/y")] {
        assert!(fault(&schema1, header).contains("schema 1"), "{header:?}");
    }
    let bare = json!({"schemaVersion": 1});
    assert!(fault(&bare, Some("application/vnd.docker.distribution.manifest.v1+json")).contains("schema 1"));
    assert!(fault(&with(image(), "schemaVersion", json!(1)), None).contains("schema 1"));
}

#[test]
fn unknown_types_are_taken_and_read_as_far_as_possible() {
    let document = json!({
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "a/b",
        "blobs": [descriptor("x/y", "blob"), {"digest": "blake3:00"}, 7],
        "config": "not a descriptor",
        "subject": descriptor("x/y", "subject"),
        "annotations": {"a": 1},
    });
    let manifest = parse(&document, Some("application/vnd.oci.artifact.manifest.v1+json")).expect("a manifest");
    assert_eq!((manifest.kind, manifest.config), (ManifestKind::Other, None));
    assert_eq!(manifest.layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>(), [&digest("blob")]);
    assert_eq!(manifest.subject.map(|subject| subject.digest), Some(digest("subject")));
    assert_eq!(manifest.artifact_type.as_deref(), Some("a/b"));
    assert!(parse(&json!({"anything": 1}), Some("application/vnd.example+json")).is_ok());
}

#[test]
fn numbers_of_things_are_limited() {
    let layers = |n: usize| Value::from(vec![descriptor("x/y", "a"); n]);
    assert!(parse(&with(image(), "layers", layers(49)), None).is_ok());
    assert!(fault(&with(image(), "layers", layers(50)), None).contains("more than 50 descriptors"));
    let annotations = |n: usize| Value::Object((0..n).map(|i| (i.to_string(), json!(""))).collect());
    assert!(parse(&with(image(), "annotations", annotations(2_000)), None).is_ok());
    assert!(fault(&with(image(), "annotations", annotations(2_001)), None).contains("more than 2000 entries"));
}

#[test]
fn one_annotation_may_fill_the_manifest() {
    let document = with(image(), "annotations", json!({"a": "x".repeat(4 << 20)}));
    assert_eq!(parse(&document, None).expect("a manifest").annotations["a"].len(), 4 << 20);
}

#[test]
fn the_json_is_strict() {
    for bad in [r#"{"mediaType":"a/b","mediaType":"a/b"}"#, r#"{"mediaType":"a/b"} x"#, "", "{", "null"] {
        assert!(Manifest::parse(bad.as_bytes(), None, &LIMITS).is_err(), "{bad}");
    }
}

#[test]
fn referrers_are_listed_with_type_and_annotations() {
    let manifest = parse(&with(image(), "annotations", json!({"a": "\"", "b": ""})), None).expect("a manifest");
    let listed: Value = serde_json::from_str(&manifest.referrer_descriptor(&digest("m"), 7)).expect("JSON");
    let expected = json!({
        "mediaType": OCI_IMAGE_MANIFEST,
        "digest": digest("m").to_string(),
        "size": 7,
        "artifactType": "application/vnd.oci.image.config.v1+json",
        "annotations": {"a": "\"", "b": ""},
    });
    assert_eq!(listed, expected);
    let bare = parse(&index(), None).expect("a manifest").referrer_descriptor(&digest("m"), 7);
    assert!(!bare.contains("artifactType") && !bare.contains("annotations"), "{bare}");
}

fn any_descriptor() -> impl Strategy<Value = Value> {
    ("[a-z]{1,5}/[a-z]{1,5}", ".*").prop_map(|(media_type, text)| descriptor(&media_type, &text))
}

proptest! {
    #[test]
    fn every_image_gives_back_what_it_names(
        config in any_descriptor(),
        layers in proptest::collection::vec(any_descriptor(), 0..10),
        annotations in proptest::collection::btree_map(".*", ".*", 0..5),
    ) {
        let document = json!({
            "schemaVersion": 2, "mediaType": OCI_IMAGE_MANIFEST,
            "config": config, "layers": layers, "annotations": annotations,
        });
        let manifest = parse(&document, None).expect("a manifest");
        let render = |d: &Descriptor| json!({"mediaType": d.media_type, "digest": d.digest.to_string(), "size": d.size});
        prop_assert_eq!(manifest.config.as_ref().map(render), Some(config));
        prop_assert_eq!(manifest.layers.iter().map(render).collect::<Vec<_>>(), layers);
        prop_assert_eq!(manifest.annotations, annotations);
    }

    #[test]
    fn damaged_documents_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut payload = image().to_string().into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = Manifest::parse(&payload, None, &LIMITS);
        payload.truncate(cut.index(payload.len()));
        let _ = Manifest::parse(&payload, None, &LIMITS);
    }

    #[test]
    fn junk_never_panics(payload: Vec<u8>, header in proptest::option::of(".*")) {
        let _ = Manifest::parse(&payload, header.as_deref(), &LIMITS);
    }
}
