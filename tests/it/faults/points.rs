//! The table of fault points against the traits of the stores: a call is in the table, or here with the reason why not.

use std::collections::BTreeSet;

use bonded::faults::POINTS;

use crate::sources;

/// Calls that no push, delete or collection makes while its stores work.
const ELSEWHERE: &[(&str, &str)] = &[
    ("metadata.repository_list", "a list"),
    ("metadata.repository_delete", "the command line"),
    ("metadata.blob_find", "a pull"),
    ("metadata.blob_damage", "a pull that finds damage"),
    ("metadata.blob_unmark", "a check that finds none"),
    ("metadata.manifest_find", "a pull"),
    ("metadata.tag_list", "a list"),
    ("metadata.referrer_list", "a list"),
    ("metadata.referrers_text", "a list"),
    ("metadata.deletion_retry", "a store that refuses to remove"),
    ("metadata.upload_tail", "an upload that let go of its buffer"),
    ("metadata.blob_scan", "a check"),
    ("metadata.key_known", "a check"),
    ("metadata.manifest_scan", "a check"),
    ("metadata.manifest_damage", "a check that finds damage"),
    ("metadata.scrub_take", "reading again"),
    ("metadata.scrub_keep", "reading again"),
    ("metadata.reference_check", "a check"),
    ("metadata.blob_restore", "a check"),
    ("metadata.trust_standing", "a pull under a policy"),
    ("metadata.signature_list", "a pull under a policy"),
    ("metadata.signature_known", "a pull under a policy"),
    ("metadata.manifest_parents", "a pull under a policy"),
    ("metadata.manifests_naming", "a pull under a policy"),
    ("metadata.manifest_reached", "a dry run of policies"),
    ("metadata.verdict_find", "a pull under a policy"),
    ("metadata.verdict_put", "a pull under a policy"),
    ("metadata.verdict_scan", "judging again what passed"),
    ("metadata.verdict_sweep", "judging again what passed"),
    ("metadata.verdict_sweep_take", "judging again what passed"),
    ("metadata.verdict_sweep_keep", "judging again what passed"),
    ("metadata.policy_find", "the policy document"),
    ("metadata.policy_with", "the policy document"),
    ("metadata.policy_list", "the policy document"),
    ("metadata.policy_number", "the policy document"),
    ("metadata.policy_put", "the policy document"),
    ("metadata.manifest_facts", "retention"),
    ("metadata.manifest_retire", "retention"),
    ("metadata.manifest_pulled", "times of pulls"),
    ("metadata.manifest_bytes_alone", "the command line"),
    ("metadata.download_add", "who downloaded what"),
    ("metadata.download_list", "a list"),
    ("metadata.download_forget", "who downloaded what"),
    ("metadata.purge_hold", "a backup"),
    ("metadata.purge_release", "a backup"),
    ("metadata.purge_holds", "readiness"),
    ("metadata.garbage_list", "the command line"),
    ("metadata.repository_ids", "the command line"),
    ("metadata.repository_usage", "the command line"),
    ("metadata.total_usage", "the command line"),
    ("metadata.instance", "a copy"),
    ("metadata.copy_begin", "a copy"),
    ("metadata.copy_serve", "the start of the process"),
    ("metadata.dump", "a copy"),
    ("metadata.load", "a copy"),
    ("metadata.key_sound", "a takeover"),
    ("metadata.blob_adopt", "a takeover"),
    ("metadata.ping", "readiness"),
    ("metadata.counts", "the metrics"),
    ("metadata.close", "the end of the process"),
    ("storage.put", "no front end yet"),
    ("storage.complete_is_repeatable", "a property"),
    ("storage.is_whole", "a property"),
    ("storage.presign", "a pull"),
    ("storage.list", "a check"),
    ("storage.list_under", "a takeover"),
];

#[test]
fn the_table_and_the_traits_have_the_same_calls() {
    let mut calls = methods("src/metadata/mod.rs", "pub trait MetadataStore", "metadata");
    calls.extend(methods("src/storage/mod.rs", "pub trait BlobStore", "storage"));
    // The other methods of a source belong to the transfer, not to a store.
    let reports = ["storage.checkpoint".to_owned(), "storage.stage".to_owned()];
    let source = methods("src/storage/mod.rs", "pub trait AppendSource", "storage");
    assert!(reports.iter().all(|report| source.contains(report)), "{source:?}");
    calls.extend(reports);
    assert!(calls.len() > 40, "the traits were not found: {calls:?}");
    let table = POINTS.iter().map(|point| point.call).chain(ELSEWHERE.iter().map(|(call, _)| *call));
    let named: Vec<String> = table.map(str::to_owned).collect();
    let all: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(all.len(), named.len(), "a call stands in the tables twice");
    assert_eq!(all, calls, "left: the tables, right: the traits");
}

/// The methods of a trait, as calls of a store.
fn methods(path: &str, head: &str, store: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(sources::root().join(path)).expect("a source file");
    let body = text.split(head).nth(1).and_then(|rest| rest.split("\n}").next()).expect("the trait");
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?.split('(').next()
    });
    names.map(|name| format!("{store}.{name}")).collect()
}
