//! The form of `compose.yaml`: what can be known of it without pulling its images.

use std::collections::BTreeSet;
use std::fs;

use saphyr::{LoadableYamlNode as _, Yaml};

use super::sources;

const NODES: [&str; 2] = ["node-1", "node-2"];

#[test]
fn every_part_that_a_service_names_is_there() {
    let text = read("compose.yaml");
    let file = parse(&text);
    let (services, volumes, configs) = (names(&file, "services"), names(&file, "volumes"), names(&file, "configs"));
    for service in &services {
        let body = &file["services"][service.as_str()];
        assert!(text_at(body, "image").is_some_and(|image| !image.is_empty()), "{service} has no image");
        for wanted in strings(body, "depends_on").into_iter().chain(names(body, "depends_on")) {
            assert!(services.contains(&wanted), "{service} depends on {wanted}, which is not there");
        }
        for volume in strings(body, "volumes") {
            let name = volume.split(':').next().unwrap_or_default();
            assert!(volumes.contains(name), "{service} mounts {name}, which is not there");
        }
        for config in body.as_mapping_get("configs").and_then(Yaml::as_sequence).into_iter().flatten() {
            let source = text_at(config, "source").unwrap_or_default();
            assert!(configs.contains(source), "{service} reads {source}, which is not there");
        }
    }
}

#[test]
fn images_of_others_have_a_version() {
    let text = read("compose.yaml");
    let file = parse(&text);
    for service in names(&file, "services").iter().filter(|service| !NODES.contains(&service.as_str())) {
        let image = text_at(&file["services"][service.as_str()], "image").unwrap_or_default();
        let (_, version) = image.rsplit_once(':').unwrap_or_default();
        assert!(version.contains(|c: char| c.is_ascii_digit()), "{service}: {image} has no version");
    }
}

#[test]
fn nodes_are_alike_and_keep_nothing_to_themselves() {
    let text = read("compose.yaml");
    let file = parse(&text);
    let [first, second] = NODES.map(|node| &file["services"][node]);
    assert_eq!(first, second);
    assert!(first.as_mapping_get("volumes").is_none() && first.as_mapping_get("ports").is_none());
    let proxy = text_at(&file["configs"]["haproxy"], "content").unwrap_or_default();
    for wanted in ["balance roundrobin", "/health/ready", "server node-1 node-1:8080", "server node-2 node-2:8080"] {
        assert!(proxy.contains(wanted), "the proxy's configuration lacks {wanted:?}");
    }
}

#[test]
fn every_variable_is_a_key_of_the_configuration() {
    let text = read("compose.yaml");
    let file = parse(&text);
    let known: BTreeSet<String> = bonded::config::keys().iter().map(bonded::config::Key::variable).collect();
    let used = names(&file["services"]["node-1"], "environment");
    let unknown: Vec<&String> =
        used.iter().filter(|name| name.starts_with("BONDED_") && !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "no keys of the configuration: {unknown:?}");
    assert!(used.contains("BONDED_DATABASE") && used.contains("BONDED_STORAGE_S3_BUCKET"));
}

/// The nodes let everybody do everything, so only this machine may reach them.
#[test]
fn ports_are_published_on_loopback_only() {
    let text = read("compose.yaml");
    let file = parse(&text);
    for service in names(&file, "services") {
        for port in strings(&file["services"][service.as_str()], "ports") {
            assert!(port.starts_with("127.0.0.1:"), "{service} publishes {port}");
        }
    }
}

/// The containers hold the S3 server with which the tests are run.
#[test]
fn the_s3_server_is_the_one_of_the_tests() {
    let text = read("compose.yaml");
    let image = text_at(&parse(&text)["services"]["s3"], "image").unwrap_or_default().to_owned();
    let (_, version) = image.rsplit_once(':').expect("a version");
    let ci = read(".ci/run");
    assert!(ci.contains(&format!("cmd/versitygw {version}\"")), ".ci/run installs another version than {image}");
}

fn parse(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).expect("YAML").into_iter().next().expect("a document")
}

/// The keys of a mapping below `key`.
fn names(node: &Yaml<'_>, key: &str) -> BTreeSet<String> {
    let mapping = node.as_mapping_get(key).and_then(Yaml::as_mapping);
    mapping.into_iter().flatten().filter_map(|(name, _)| name.as_str()).map(str::to_owned).collect()
}

/// The texts of a list below `key`.
fn strings(node: &Yaml<'_>, key: &str) -> Vec<String> {
    let list = node.as_mapping_get(key).and_then(Yaml::as_sequence);
    list.into_iter().flatten().filter_map(Yaml::as_str).map(str::to_owned).collect()
}

fn text_at<'a>(node: &'a Yaml<'_>, key: &str) -> Option<&'a str> {
    node.as_mapping_get(key).and_then(Yaml::as_str)
}

fn read(path: &str) -> String {
    fs::read_to_string(sources::root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
