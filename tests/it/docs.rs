//! What the README promises is what `.ci/run` runs.

use std::fs;

use super::sources;

/// The first command of the first `sh` block below a heading of the README.
fn command_below(heading: &str) -> String {
    let readme = read("README.md");
    let section = readme.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut lines = block.unwrap_or_else(|| panic!("no block below {heading:?}")).lines();
    let command = lines.next().unwrap_or_default().to_owned();
    assert_eq!(lines.next(), None, "{heading:?} has one command, not several");
    command
}

#[test]
fn one_command_serves_and_one_tests() {
    assert_eq!(command_below("## Build and serve"), "cargo run --release -- serve");
    assert_eq!(command_below("## Run the tests"), "cargo test --workspace");
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let ci = read(".ci/run");
    assert!(ci.contains("readme_command '## Run the tests'"), ".ci/run takes the test command from the README");
}

#[test]
fn the_manifest_and_the_prerequisites_name_one_compiler() {
    let manifest = read("Cargo.toml");
    let minimum = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"')).unwrap();
    let readme = read("README.md");
    assert!(readme.contains(&format!("Rust {minimum}")), "the README names Rust {minimum}, as Cargo.toml does");
}

#[test]
fn every_metric_is_described() {
    let telemetry = read("src/telemetry.rs");
    let page = read("docs/LOGGING.md");
    let names = telemetry.split('"').skip(1).step_by(2).filter(|text| text.starts_with("bonded_"));
    let missing: Vec<&str> = names.filter(|name| !page.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "docs/LOGGING.md does not describe {missing:?}");
}

fn read(path: &str) -> String {
    fs::read_to_string(sources::root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
