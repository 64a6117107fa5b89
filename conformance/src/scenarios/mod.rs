//! What is checked over HTTP.

mod blob_pushes;
mod blobs;
pub(crate) mod data_sets;
pub(crate) mod generate;
mod manifest_errors;
mod probes;
pub(crate) mod push;

mod beyond;

use anyhow::{Result, ensure};

use crate::runner::Scenario;

/// All scenarios of the wire, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = probes::all();
    all.extend(blobs::all());
    all.extend(data_sets::all());
    all.extend(manifest_errors::all());
    all.extend(beyond::all());
    all
}

/// Fails when a group of the official conformance suite has no scenario of its name.
pub(crate) fn check_groups(scenarios: &[Scenario]) -> Result<()> {
    let has = |group: &str, name: &str| scenarios.iter().any(|it| it.group == group && it.name == name);
    let blobs = ["sha256 blobs", "sha512 blobs"];
    let wanted = blobs.iter().flat_map(|group| BLOB_GROUPS.iter().map(move |name| (*group, *name)));
    let wanted = wanted.chain(DATA_SETS.iter().map(|name| ("data sets", *name)));
    let wanted = wanted.chain(SINGLE_GROUPS.iter().map(|name| ("suite", *name)));
    let missing: Vec<_> = wanted.filter(|(group, name)| !has(group, name)).collect();
    ensure!(missing.is_empty(), "groups of the official suite without a scenario: {missing:?}");
    Ok(())
}

/// Groups of the suite that stand alone.
const SINGLE_GROUPS: [&str; 4] = ["ping", "empty", "missing-manifest", "invalid-digest-format"];

/// Groups of the suite under each digest algorithm.
const BLOB_GROUPS: [&str; 21] = [
    "get-missing",
    "post only",
    "post+put",
    "chunked single",
    "stream",
    "mount",
    "mount anonymous",
    "mount missing",
    "post cancel",
    "chunked multi",
    "chunked multi and put chunk",
    "chunked out-of-order",
    "chunked out-of-order and put chunk",
    "range requests",
    "empty",
    "emptyJSON",
    "bad digest post only",
    "bad digest post+put",
    "bad digest chunked",
    "bad digest chunked and put chunk",
    "bad digest stream",
];

/// Data sets of the suite; each is pushed, listed, read and deleted.
const DATA_SETS: [&str; 21] = [
    "image",
    "image-uncompressed",
    "large-manifest",
    "index",
    "nested-index",
    "empty-index",
    "artifact",
    "artifact-index",
    "artifact-without-layers",
    "artifacts-with-subject",
    "index-with-subject",
    "missing-subject",
    "data-field",
    "non-distributable-layers",
    "custom-fields",
    "no-layers",
    "sparse",
    "sha512",
    "tag-param-sha256",
    "tag-param-sha512",
    "bad-digest-image",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_the_official_suite_has_a_scenario() {
        check_groups(&all()).expect("no group is missing");
    }

    #[test]
    fn no_two_scenarios_have_one_name() {
        let mut titles: Vec<String> = all().iter().map(Scenario::title).collect();
        let count = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), count);
    }
}
