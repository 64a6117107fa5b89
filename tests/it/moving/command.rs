//! The verbs as an operator types them.

use std::fs;
use std::path::Path;

use crate::cli::{Served, bonded, output_of, run, stdout, text};
use crate::fixtures::{ImageBuilder, bytes, sha256};

#[tokio::test]
async fn a_store_is_copied_while_it_is_served_and_the_copy_is_served_after() {
    let served = Served::start(&[]).await;
    let image = ImageBuilder::new().layer(&bytes(100_000, 1));
    served.push("team/app", &image).await;
    let (from, folder) = (served.data(), tempfile::tempdir().expect("a folder"));
    let to = folder.path().join("data");
    let copied = run(&["store", "copy", "--from", text(&from), "--to", text(&to)]).await;
    assert_eq!(copied.status.code(), Some(0), "{copied:?}");
    assert!(stdout(&copied).starts_with("copied 1 blobs, "), "{copied:?}");
    let checked = run(&["fsck", "--rehash", "--data", text(&to)]).await;
    assert_eq!((checked.status.code(), stdout(&checked).as_str()), (Some(0), ""));

    let target = Served::start_in(folder, &[]).await;
    let answer = reqwest::get(format!("{}/v2/team/app/manifests/v1", target.url())).await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest());
    let held = refusal(&run(&["store", "copy", "--from", text(&from), "--to", text(&to)]).await);
    assert!(held.contains("is served by another process"), "{held}");
    let mut target = target;
    target.signal("TERM").await;
    assert_eq!(target.end().await, Some(0));
    let late = refusal(&run(&["store", "copy", "--from", text(&from), "--to", text(&to)]).await);
    assert!(late.contains("has been served since it was copied"), "{late}");
}

#[tokio::test]
async fn damage_ends_a_copy_with_one_and_is_said() {
    let mut served = Served::start(&[]).await;
    let layer = bytes(100_000, 1);
    served.push("team/app", &ImageBuilder::new().layer(&layer)).await;
    fs::write(object(&served.data()), bytes(100_000, 2)).expect("other bytes");
    let folder = tempfile::tempdir().expect("a folder");
    let copied = run(&["store", "copy", "--from", text(&served.data()), "--to", text(&folder.path().join("to"))]).await;
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    let said = stdout(&copied);
    assert!(said.starts_with(&format!("blob {} is damaged: has the bytes of ", sha256(&layer))), "{said}");
    served.signal("TERM").await;
    served.end().await;
}

/// Insists on exit code 2 and gives the last line, since progress may stand before it.
#[track_caller]
fn refusal(output: &std::process::Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    said.lines().last().expect("a sentence").to_owned()
}

/// The only object of a data folder.
fn object(data: &Path) -> std::path::PathBuf {
    let mut folders = vec![data.join("blobs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                return path;
            }
        }
    }
    panic!("there is no object")
}

#[tokio::test]
async fn a_backup_is_made_beside_the_server_verified_and_restored() {
    let mut served = Served::start(&[]).await;
    let image = ImageBuilder::new().layer(&bytes(100_000, 1));
    served.push("team/app", &image).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("data"));
    let (backup, restored) = (text(&backup), text(&restored));
    let made = run(&["backup", "create", backup, "--blobs", "--data", text(&served.data())]).await;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    served.signal("TERM").await;
    served.end().await;
    let verified = run(&["backup", "verify", backup]).await;
    assert!(verified.status.success() && stdout(&verified).starts_with("sound: "), "{verified:?}");
    let back = run(&["backup", "restore", backup, "--data", restored]).await;
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    let again = refusal(&run(&["backup", "restore", backup, "--data", restored]).await);
    assert!(again.contains("the database is not empty"), "{again}");
    let target = Served::start_in(folder, &[]).await;
    let answer = reqwest::get(format!("{}/v2/team/app/manifests/v1", target.url())).await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest());
    let nothing = run(&["backup", "verify", text(&target.data())]).await;
    assert_eq!(nothing.status.code(), Some(1));
}

#[tokio::test]
async fn there_is_nothing_to_take_over_in_an_empty_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = refusal(&run(&["store", "import", "--data", text(folder.path())]).await);
    assert!(refused.contains("no repositories below `docker/registry/v2`"), "{refused}");
}

#[tokio::test]
async fn configuration_files_are_places_too_and_the_environment_is_none() {
    let mut served = Served::start(&[]).await;
    served.push("team/app", &ImageBuilder::new().layer(&bytes(10_000, 1))).await;
    served.signal("TERM").await;
    served.end().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from.toml"), folder.path().join("to.toml"));
    fs::write(&from, format!("data = {:?}\n", served.data())).expect("written");
    fs::write(&to, format!("data = {:?}\n", folder.path().join("to"))).expect("written");
    let mut copy = bonded(&["store", "copy", "--from", text(&from), "--to", text(&to)]);
    let said = output_of(copy.env("BONDED_DATA", "/nowhere")).await;
    assert!(said.starts_with("copied 1 blobs, "), "{said}");
    let same = refusal(&run(&["store", "copy", "--from", text(&from), "--to", text(&from)]).await);
    assert!(same.contains("the same database"), "{same}");
    let missing = refusal(&run(&["store", "copy", "--from", "none.toml", "--to", text(&to)]).await);
    assert!(missing.contains("none.toml"), "{missing}");
}
