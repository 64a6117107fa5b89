//! Backups: consistent while the registry serves, whole or absent, and never the cause of a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bonded::clock::{Entropy as _, SeededEntropy};
use bonded::registry::{Purge, RegistryError};
use bonded::storage::layers::{Fault, Faulty, Moment, Operation};
use bonded::storage::memory::MemoryStore;
use bonded::transfer::TransferError;
use bonded::transfer::backup::{CreateOptions, CreateReport, RestoreOptions, RestoreReport, create, restore, verify};
use tempfile::TempDir;

use super::{Seen, Side, digest, name};
use crate::fixtures::{ImageBuilder, NOBODY, bytes};

async fn make(side: &Side, dir: &Path, blobs: bool) -> Result<CreateReport, TransferError> {
    let options = CreateOptions { blobs, made_by: "a test".to_owned() };
    create(&side.stores, dir, options, &Seen::new().watch()).await
}

async fn bring_back(side: &Side, dir: &Path, force: bool) -> Result<RestoreReport, TransferError> {
    restore(&side.stores, dir, RestoreOptions { force }, &Seen::new().watch()).await
}

/// What `verify` finds; an error counts as one finding.
async fn findings(dir: &Path) -> Vec<String> {
    let seen = Seen::new();
    match verify(dir, &seen.watch()).await {
        Ok(report) => {
            assert_eq!(report.findings, seen.findings().len() as u64);
            seen.findings()
        }
        Err(error) => vec![error.to_string()],
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn a_backup_with_blobs_brings_everything_back() {
    let (side, dir) = (Side::new().await, folder());
    side.fill().await;
    let made = make(&side, dir.path(), true).await.expect("made");
    assert_eq!((made.blobs.blobs, made.lacking), (3, 0));
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    let other = Side::new().await;
    let report = bring_back(&other, dir.path(), false).await.expect("restored");
    assert_eq!((report.rows, report.moved, report.lacking), (made.rows, made.blobs, 0));
    assert_eq!(other.facts().await, side.facts().await);
    assert_eq!(other.keys().await, side.keys().await);
    assert_eq!(other.findings().await, Vec::<String>::new());
    other.push_image("team/app", "v3", &ImageBuilder::new().layer(b"new ids follow the old ones")).await;
}

#[tokio::test]
async fn facts_alone_are_restored_over_the_bytes_that_are_left() {
    let store = Arc::new(MemoryStore::new());
    let (side, dir) = (Side::over(store.clone()).await, folder());
    side.fill().await;
    make(&side, dir.path(), false).await.expect("made");
    let lost = digest(&bytes(250_000, 1));
    let keys = side.keys().await;
    let lost_key = keys.iter().find(|key| key.contains(&lost.hex())).expect("its object");
    let other = Side::over(store).await;
    other.stores.storage.delete_many(&[bonded::storage::Key::parse(lost_key).expect("a key")]).await;
    let report = bring_back(&other, dir.path(), false).await.expect("restored");
    assert!(report.facts_only);
    let lines = other.findings().await;
    assert!(lines.len() == 1 && lines[0].contains(&lost.to_string()), "{lines:?}");
    assert!(matches!(other.pull("team/app", &lost).await, Err(RegistryError::BlobDamaged(_))), "GET fails");
    let head = other.registry.stat_blob(&name("team/app"), &lost, true).await;
    assert!(matches!(head, Err(RegistryError::BlobUnknown(_))), "a pusher is told to push: {head:?}");
    other.push("team/app", &bytes(250_000, 1)).await;
    assert_eq!(other.pull("other", &lost).await.expect("healed everywhere"), bytes(250_000, 1));
    assert_eq!(other.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_made_while_pushes_run_is_consistent() {
    let (side, dir) = (Arc::new(Side::new().await), folder());
    side.push_image("app0", "v", &ImageBuilder::new().layer(&bytes(20_000, 99))).await;
    let pushes = async {
        for n in 0..30_u32 {
            let image = ImageBuilder::new().layer(&bytes(20_000, n)).layer(&bytes(100, n));
            let repo = format!("app{}", n % 3);
            side.push_image(&repo, "v", &image).await;
            if n % 4 == 3 {
                let manifest = digest(&image.manifest()).to_string().parse().expect("a reference");
                side.registry.delete_manifest(&name(&repo), &manifest, Purge::Later, &NOBODY).await.expect("deleted");
            }
        }
    };
    let backups = async {
        for n in 0..8 {
            let dir = dir.path().join(n.to_string());
            let made = make(&side, &dir, n % 2 == 0).await.expect("made");
            assert_eq!(made.lacking, 0);
            assert_eq!(findings(&dir).await, Vec::<String>::new());
        }
    };
    futures_util::future::join(pushes, backups).await;
    for n in [0, 2, 4, 6] {
        let other = Side::new().await;
        bring_back(&other, &dir.path().join(n.to_string()), false).await.expect("restored");
        assert_eq!(other.findings().await, Vec::<String>::new(), "backup {n}");
    }
}

#[tokio::test]
async fn a_finished_backup_stays_until_the_next_is_finished() {
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
    let (side, dir) = (Side::over(store.clone()).await, folder());
    let image = ImageBuilder::new().layer(&bytes(20_000, 1));
    side.push_image("app", "v1", &image).await;
    make(&side, dir.path(), true).await.expect("made");
    side.push_image("app", "v2", &ImageBuilder::new().layer(&bytes(20_000, 2))).await;
    store.fail(Operation::Read, 1, Moment::Before, Fault::Unavailable);
    let broken = make(&side, dir.path(), true).await;
    assert!(matches!(broken, Err(TransferError::Storage(_))), "{broken:?}");
    assert_eq!(findings(dir.path()).await, Vec::<String>::new(), "the old one is as it was");
    let refused = make(&side, dir.path(), false).await;
    assert!(matches!(refused, Err(TransferError::Refused(_))), "it would drop the blobs: {refused:?}");

    let manifest = digest(&image.manifest()).to_string().parse().expect("a reference");
    side.registry.delete_manifest(&name("app"), &manifest, Purge::Later, &NOBODY).await.expect("deleted");
    side.sweep().await;
    let reads = store.calls(Operation::Read);
    make(&side, dir.path(), true).await.expect("made");
    assert_eq!(store.calls(Operation::Read), reads + 1, "what is in the folder is not read again");
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    let names = files(dir.path());
    assert!(!names.iter().any(|path| path.ends_with(digest(&bytes(20_000, 1)).hex())), "{names:?}");
    assert_eq!(names.iter().filter(|path| path.ends_with("tags.jsonl.gz")).count(), 1, "{names:?}");
}

#[tokio::test]
async fn a_blob_that_cannot_be_had_is_said_and_the_rest_is_saved() {
    let (side, dir) = (Side::new().await, folder());
    side.fill().await;
    let missing = digest(&bytes(120_000, 2));
    let key = side.keys().await.into_iter().find(|key| key.contains(&missing.hex())).expect("its object");
    side.stores.storage.delete_many(&[bonded::storage::Key::parse(&key).expect("a key")]).await;
    let made = make(&side, dir.path(), true).await.expect("made");
    assert_eq!((made.blobs.blobs, made.lacking), (2, 1));
    let lines = findings(dir.path()).await;
    assert!(lines.len() == 1 && lines[0].contains(&missing.to_string()), "{lines:?}");
    let other = Side::new().await;
    assert_eq!(bring_back(&other, dir.path(), false).await.expect("restored").lacking, 1);
    assert_eq!(other.findings().await.len(), 1);
    assert!(other.pull("team/app", &digest(&bytes(250_000, 1))).await.is_ok());
}

#[tokio::test]
async fn what_a_database_knows_is_replaced_only_by_force() {
    let (side, other, dir) = (Side::new().await, Side::new().await, folder());
    side.fill().await;
    make(&side, dir.path(), true).await.expect("made");
    other.push_image("mine", "v1", &ImageBuilder::new().layer(b"mine")).await;
    let refused = bring_back(&other, dir.path(), false).await;
    assert!(matches!(&refused, Err(TransferError::Refused(why)) if why.contains("--force")), "{refused:?}");
    assert!(other.manifest("mine", "v1").await.is_some());
    bring_back(&other, dir.path(), true).await.expect("restored");
    assert_eq!(other.facts().await, side.facts().await);
    assert!(other.manifest("mine", "v1").await.is_none());
}

#[tokio::test]
async fn wrong_bytes_in_the_store_are_replaced_by_those_of_the_backup() {
    let store = Arc::new(MemoryStore::new());
    let (side, dir) = (Side::over(store.clone()).await, folder());
    let layer = digest(&bytes(20_000, 1));
    side.push_image("app", "v1", &ImageBuilder::new().layer(&bytes(20_000, 1))).await;
    make(&side, dir.path(), true).await.expect("made");
    let key = bonded::storage::Key::parse(&side.keys().await[0]).expect("a key");
    side.stores.storage.put(&key, bytes(20_000, 2).into()).await.expect("other bytes");
    let other = Side::over(store).await;
    let report = bring_back(&other, dir.path(), false).await.expect("restored");
    assert_eq!((report.moved.blobs, report.kept), (1, 0));
    assert_eq!(other.pull("app", &layer).await.expect("whole"), bytes(20_000, 1));
}

#[tokio::test]
async fn broken_backups_are_found_and_never_restored() {
    let (side, good) = (Side::new().await, folder());
    side.fill().await;
    make(&side, good.path(), true).await.expect("made");
    let entropy = SeededEntropy::new(11);
    for file in files(good.path()).into_iter().filter(|file| file.file_name().is_some_and(|name| name != "lock")) {
        let whole = fs::read(&file).expect("a file");
        for change in 0..6 {
            let [at, with, ..] = entropy.bytes16();
            let at = (usize::from(at) * whole.len() / 256).min(whole.len() - 1);
            let mut broken = whole.clone();
            match change {
                0 => drop(fs::remove_file(&file)),
                1 => broken.truncate(at),
                2 => broken.clear(),
                3 => broken.extend_from_slice(b"more"),
                _ => broken[at] ^= with | 1,
            }
            if change > 0 {
                fs::write(&file, &broken).expect("broken");
            }
            let lines = findings(good.path()).await;
            // A few bytes of backup.json are for people alone.
            let harmless = file.ends_with("backup.json") && change > 3;
            assert!(harmless || !lines.is_empty(), "{}: change {change} at {at}", file.display());
            if !lines.is_empty() && !file.components().any(|part| part.as_os_str() == "blobs") {
                let target = Side::new().await;
                bring_back(&target, good.path(), false).await.expect_err("it is broken");
                assert!(target.facts().await.is_empty());
            }
        }
        fs::write(&file, &whole).expect("whole again");
    }
    assert_eq!(findings(good.path()).await, Vec::<String>::new());
}

#[tokio::test]
async fn sums_that_fit_broken_rows_do_not_help() {
    let (side, dir) = (Side::new().await, folder());
    side.fill().await;
    make(&side, dir.path(), false).await.expect("made");
    for (table, from, to, expected) in [
        ("tags", "[1,", "[77,", "I4: tags 77: manifest_id, repo_id names nothing"),
        ("manifest_blobs", "\"config\",", "\"config\",7", "I3: manifest_blobs"),
        ("manifests", "\"live\"", "7", "state is not what it must be"),
        ("manifests", "[1,", "[9,", "I3: manifest_blobs"),
        ("blobs", "\"sha256:", "\"sha256:00", "I1: blobs"),
        ("repositories", "\"id\"", "\"ids\"", "column ids is unknown"),
        ("tag_events", "[1,1,", "[1,1,1,", "another number of columns"),
        ("repo_blobs", "]\n", "", "ends within a line"),
    ] {
        let (index, part) = (dir.path().join("backup.json"), part_of(dir.path(), table));
        let (index_before, part_before) = (fs::read(&index).expect("a file"), fs::read(&part).expect("a file"));
        rewrite(dir.path(), table, |text| match to {
            "" => text.trim_end_matches(from).to_owned(),
            _ => text.replacen(from, to, 1),
        });
        let lines = findings(dir.path()).await.join("\n");
        assert!(lines.contains(expected), "{table}: {lines}");
        fs::write(&index, index_before).expect("as before");
        fs::write(&part, part_before).expect("as before");
    }
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
}

#[tokio::test]
async fn there_is_no_backup_in_an_empty_folder_and_none_outside_of_it() {
    let dir = folder();
    assert!(findings(dir.path()).await[0].contains("there is no finished backup here"));
    let side = Side::new().await;
    make(&side, dir.path(), false).await.expect("made");
    let index = dir.path().join("backup.json");
    let text = fs::read_to_string(&index).expect("a file");
    let at = text.find("facts-").expect("a part");
    fs::write(&index, [&text[..at], "../", &text[at..]].concat()).expect("written");
    assert!(findings(dir.path()).await[0].contains("is not a file of the backup"));
}

/// Changes the rows of a part, and its sum in `backup.json` as well.
fn rewrite(dir: &Path, table: &str, change: impl FnOnce(String) -> String) {
    use std::io::{Read as _, Write as _};
    let part = part_of(dir, table);
    let mut text = String::new();
    let packed = fs::read(&part).expect("a part");
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("lines");
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(change(text).as_bytes()).expect("written");
    let changed = out.finish().expect("written");
    fs::write(&part, &changed).expect("written");
    let index = dir.join("backup.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&index).expect("a file")).expect("JSON");
    for entry in json["facts"].as_array_mut().expect("parts") {
        if entry["table"] == table {
            entry["digest"] = digest(&changed).to_string().into();
            entry["bytes"] = changed.len().into();
        }
    }
    fs::write(&index, json.to_string()).expect("written");
}

fn part_of(dir: &Path, table: &str) -> PathBuf {
    let name = format!("{table}.jsonl.gz");
    files(dir).into_iter().find(|file| file.file_name().is_some_and(|file| file == name.as_str())).expect("a part")
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
