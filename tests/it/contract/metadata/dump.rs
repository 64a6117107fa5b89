//! All facts: read as of one moment, put in the place of others; copies, and objects that are adopted where they are.

use std::collections::BTreeMap;

use bonded::metadata::MetadataStore;
use bonded::metadata::dump::{Batch, Cell, LoadOptions, Rows, TABLES};
use bonded::metadata::model::BlobAdopt;
use bonded::metadata::model::trust::PolicyPut;
use futures_util::StreamExt as _;

use super::fixtures::{
    DAY, Image, at, begin, blob_id, check_old_signatures, damage, delete, digest, find, has, head, key, push_blob,
    push_old_signatures, repo, sweep, tagged,
};
use crate::contract::accounts;
use crate::fixtures::NOBODY;

async fn read(rows: Rows) -> Vec<Batch> {
    rows.map(|batch| batch.expect("rows")).collect().await
}

async fn facts(store: &dyn MetadataStore) -> BTreeMap<&'static str, Vec<Vec<Cell>>> {
    let mut facts: BTreeMap<&'static str, Vec<Vec<Cell>>> = BTreeMap::new();
    for batch in read(store.dump()).await {
        facts.entry(batch.table.name).or_default().extend(batch.rows);
    }
    facts
}

fn again(batches: Vec<Batch>) -> Rows {
    futures_util::stream::iter(batches).map(Ok).boxed()
}

fn at_ten(doom_unknown: bool) -> LoadOptions {
    LoadOptions { now: at(10), doom_unknown, ends_copy: false }
}

/// Some of everything, with more rows of a table than are read at a time.
async fn fill(store: &dyn MetadataStore) {
    Image::new("child").blob("own").blob("shared").tag("v1").push(store, "r", 0).await;
    Image::new("index").child("child").child("missing").sparse().tag("v2").push(store, "r", 0).await;
    Image::new("signature").subject("child").artifact_type("a/b").blob("own").push(store, "r", 1).await;
    for n in 0..70 {
        Image::new(&format!("image {n}")).blob("shared").tag(&format!("n{n}")).push(store, "many", 2).await;
    }
    let policy = PolicyPut {
        document: "apiVersion: trust/v1\npolicies: []\n".to_owned(),
        replaces: Some(0),
        revision: "r".to_owned(),
        now: at(3),
        by: NOBODY.clone(),
    };
    assert_eq!(store.policy_put(&policy).await.expect("an answer"), Some(1));
    assert_eq!(store.policy_put(&policy).await.expect("an answer"), None, "another one holds");
    push_blob(store, "gone", "alone", 3).await;
    store.repository_delete(&repo("gone"), at(4), at(4), &NOBODY).await.expect("deleted");
}

pub(super) async fn facts_come_back_as_they_were(store: &dyn MetadataStore) {
    fill(store).await;
    let (before, batches) = (facts(store).await, read(store.dump()).await);
    let filled = before.keys().chain(&accounts::TABLES);
    assert_eq!(filled.count(), TABLES.len(), "every table has rows");
    delete(store, "many", "image 3", 5).await;
    Image::new("later").blob("later").tag("v1").push(store, "r", 5).await;
    store.load(again(batches), at_ten(false)).await.expect("loaded");
    assert_eq!(facts(store).await, before);
    assert_eq!(tagged(store, "r", "v1").await.as_deref(), Some("child"));
    assert!(has(store, "many", "image 3").await && !has(store, "r", "later").await);
    // New rows follow the old ones.
    Image::new("newest").blob("newest").tag("v9").push(store, "new", 11).await;
    assert!(has(store, "new", "newest").await);
}

pub(super) async fn a_dump_is_of_one_moment(store: &dyn MetadataStore) {
    fill(store).await;
    let before = facts(store).await;
    let mut rows = store.dump();
    let mut found: BTreeMap<&'static str, Vec<Vec<Cell>>> = BTreeMap::new();
    let mut number = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch.expect("rows");
        found.entry(batch.table.name).or_default().extend(batch.rows);
        number += 1;
        Image::new(&format!("meanwhile {number}")).blob("own").tag("v1").push(store, "r", 5).await;
        push_blob(store, "r", &format!("blob {number}"), 5).await;
    }
    assert_eq!(found, before);
}

pub(super) async fn a_load_ends_sessions_and_dooms_what_nobody_knows_any_more(store: &dyn MetadataStore) {
    push_blob(store, "r", "kept", 0).await;
    let batches = read(store.dump()).await;
    push_blob(store, "r", "dropped", 0).await;
    begin(store, "r", 1, 0).await;
    store.load(again(batches.clone()), at_ten(true)).await.expect("loaded");
    assert_eq!(store.counts().await.expect("numbers").uploads, 0);
    assert_eq!(sweep(store, 10).await, [key("dropped")]);
    assert!(find(store, "r", "kept").await.is_some());
    push_blob(store, "r", "dropped", 0).await;
    store.load(again(batches), at_ten(false)).await.expect("loaded");
    assert!(sweep(store, 10).await.is_empty(), "unknown objects are left alone unless told otherwise");
}

pub(super) async fn a_load_believes_no_signature_that_names_more(store: &dyn MetadataStore) {
    push_old_signatures(store).await;
    let batches = read(store.dump()).await;
    store.load(again(batches), at_ten(false)).await.expect("loaded");
    check_old_signatures(store).await;
}

pub(super) async fn a_load_that_fails_leaves_everything(store: &dyn MetadataStore) {
    fill(store).await;
    let (before, batches) = (facts(store).await, read(store.dump()).await);
    let orphans = batches.into_iter().filter(|batch| batch.table.name != "repo_blobs").collect();
    store.load(again(orphans), at_ten(false)).await.expect_err("manifests name blobs that are no members");
    assert_eq!(facts(store).await, before);
    let ends_copy = LoadOptions { ends_copy: true, ..at_ten(false) };
    store.load(again(Vec::new()), ends_copy).await.expect_err("there is no copy to end");
    assert_eq!(facts(store).await, before);
}

pub(super) async fn columns_that_a_backup_has_not_are_empty(store: &dyn MetadataStore) {
    fill(store).await;
    let mut batches = read(store.dump()).await;
    for batch in batches.iter_mut().filter(|batch| batch.table.name == "manifests") {
        let lost = batch.position("artifact_type").expect("a column");
        batch.columns.remove(lost);
        for row in &mut batch.rows {
            row.remove(lost);
        }
    }
    store.load(again(batches), at_ten(false)).await.expect("loaded");
    let referrers = store.referrer_list(&repo("r"), &digest("child"), None, None, 10).await.expect("a list");
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].artifact_type, None);
}

pub(super) async fn a_copy_is_served_only_when_it_is_whole(store: &dyn MetadataStore) {
    let instance = store.instance().await.expect("an instance");
    assert!(instance.empty && instance.copy_of.is_none() && instance.id.len() == 32, "{instance:?}");
    assert!(store.copy_serve(at(0)).await.expect("an answer"), "it is no copy");
    store.copy_begin(&instance.id).await.expect_err("nobody is a copy of himself");
    store.copy_begin("another").await.expect("begun");
    store.copy_begin("a third").await.expect_err("it is a copy already");
    assert!(!store.copy_serve(at(1)).await.expect("an answer"));
    let ends_copy = LoadOptions { ends_copy: true, ..at_ten(false) };
    for _ in 0..2 {
        store.load(again(Vec::new()), ends_copy).await.expect("loaded");
    }
    let copied = store.instance().await.expect("an instance");
    assert_eq!((copied.copy_of.as_deref(), copied.copied_at, copied.served_at), (Some("another"), Some(at(10)), None));
    assert!(store.copy_serve(at(11)).await.expect("an answer"));
    assert!(store.copy_serve(at(12)).await.expect("an answer"));
    assert_eq!(store.instance().await.expect("an instance").served_at, Some(at(11)));
    store.load(again(Vec::new()), ends_copy).await.expect_err("it was served");
}

fn adopt(texts: &[&str], read_only: bool) -> BlobAdopt {
    let blob = |text: &&str| (digest(text), Some((key(text), text.len() as u64)));
    BlobAdopt { blobs: texts.iter().map(blob).collect(), read_only, now: at(0), lease_until: at(DAY) }
}

pub(super) async fn adopted_objects_go_unless_they_are_only_read(store: &dyn MetadataStore) {
    let unknown = store.blob_adopt(&repo("r"), &adopt(&["ours", "both"], false)).await.expect("adopted");
    assert!(unknown.is_empty());
    store.blob_adopt(&repo("r"), &adopt(&["theirs"], true)).await.expect("adopted");
    store.blob_adopt(&repo("s"), &adopt(&["both"], true)).await.expect("adopted again, and kept from now on");
    let sound = store.key_sound(&[key("ours"), key("theirs"), key("nobody")]).await.expect("an answer");
    assert_eq!(sound, [true, true, false]);
    assert!(head(store, "s", "both", 0).await.is_some() && head(store, "s", "ours", 0).await.is_none());
    assert_eq!(sweep(store, 2 * DAY).await, [key("ours")]);
    assert!(find(store, "r", "theirs").await.is_none(), "the row goes in any case");
}

pub(super) async fn adopting_takes_the_place_of_damaged_bytes_only(store: &dyn MetadataStore) {
    push_blob(store, "r", "sound", 0).await;
    let elsewhere = BlobAdopt {
        blobs: vec![(digest("sound"), Some((key("old place"), 5))), (digest("nobody knows"), None)],
        ..adopt(&[], false)
    };
    let unknown = store.blob_adopt(&repo("s"), &elsewhere).await.expect("adopted");
    assert_eq!(unknown, [digest("nobody knows")]);
    assert_eq!(blob_id(store, "s", "sound").await, blob_id(store, "r", "sound").await);
    assert_eq!(store.key_sound(&[key("sound"), key("old place")]).await.expect("an answer"), [true, false]);
    store.blob_damage(&damage(blob_id(store, "r", "sound").await, &key("sound"), 1)).await.expect("marked");
    assert_eq!(store.key_sound(&[key("sound")]).await.expect("an answer"), [false]);
    store.blob_adopt(&repo("s"), &elsewhere).await.expect("adopted");
    assert_eq!(store.key_sound(&[key("sound"), key("old place")]).await.expect("an answer"), [false, true]);
    assert_eq!(sweep(store, 1).await, [key("sound")]);
}
