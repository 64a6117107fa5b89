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

#[test]
fn every_attack_has_a_defence_and_every_defence_a_test() {
    let page = read("docs/reference/attacks.md");
    let rows: Vec<Vec<&str>> = page.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
    let rows = &rows[1..];
    for number in 1..=21 {
        let number = number.to_string();
        assert!(rows.iter().any(|cells| cells[0] == number && !cells[1].is_empty()), "no row {number}");
    }
    for cells in rows {
        let [.., places, tests] = cells.as_slice() else { panic!("{cells:?}") };
        assert!(places.contains("](../../src/"), "row {}: nothing stands anywhere against it", cells[0]);
        let tests: Vec<(&str, &str)> = tests.split(", ").map(link).collect();
        for (name, path) in tests {
            let source = read(path);
            // A rule of a contract, or one for both places, is listed by its name where it is run.
            let tested = source.contains(&format!("]\nasync fn {name}("))
                || source.contains(&format!("]\nfn {name}("))
                || source.contains(&format!("]\n    fn {name}("))
                || read_beside(path).contains(&format!(" {name}\n"));
            assert!(tested, "row {}: `{name}` is no test of {path}", cells[0]);
        }
    }
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The text of a link to a file of this repository, and the file.
fn link(text: &str) -> (&str, &str) {
    let (name, path) = text.split_once("`](../../").unwrap_or_else(|| panic!("no link: {text}"));
    (name.trim_start_matches("[`"), path.trim_end_matches(')'))
}

/// A file of tests and the one that lists those of its folder.
fn read_beside(path: &str) -> String {
    let (folder, _) = path.rsplit_once('/').unwrap_or_default();
    let list = fs::read_to_string(sources::root().join(folder).join("mod.rs")).unwrap_or_default();
    read(path) + &list
}

fn read(path: &str) -> String {
    fs::read_to_string(sources::root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
