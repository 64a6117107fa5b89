//! Everything at once: random writes of several nodes on few names, so that they meet.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{BlobMount, ManifestDelete, Precondition};
use bonded::metadata::postgres::PostgresStore;
use bonded::oci::glob::ImmutableTags;
use bonded::oci::name::RepoName;
use conformance::random::Random;
use tokio::task::JoinSet;

use super::nodes::Nodes;
use crate::contract::metadata::fixtures::{DAY, Image, at, at_key, digest, find, head, key, repo, tagged, take};

const NODES: usize = 3;
const WRITERS: usize = 12;
const WRITES: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_over() {
    let seed = Random::any_seed();
    eprintln!("seed {seed}");
    let nodes = Nodes::start(NODES).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (node, random) = (nodes.owned(writer), Random::new(seed.wrapping_add(writer as u64)));
        writers.spawn(async move {
            for step in 0..WRITES {
                write(&node, &random, i64::from(step)).await;
            }
        });
    }
    writers.join_all().await;
    let deadlocks = nodes.count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await;
    eprintln!("{deadlocks} deadlocks");
    nodes.check().await;
    for name in 0..3 {
        nodes.node(name).repository_delete(&repo(&format!("r{name}")), at(9 * DAY), at(9 * DAY)).await.expect("an end");
    }
    for _ in 0..100 {
        nodes.node(0).blob_collect(at(9 * DAY), at(9 * DAY), 100).await.expect("a pass");
    }
    nodes.check().await;
    assert_eq!(nodes.count("SELECT count(*) FROM blobs").await, 0, "nothing is left when every repository has ended");
}

/// One write that is chosen by chance; every name is one of a few.
async fn write(store: &PostgresStore, random: &Random, step: i64) {
    let place = format!("r{}", random.below(3));
    let name = repo(&place);
    // What a manifest names follows from what it is called, since its name is its bytes.
    let n = random.below(6);
    let (one, two) = (format!("blob {}", n % 5), format!("blob {}", (n + 2) % 5));
    let (image, index) = (format!("image {n}"), format!("index {n}"));
    // Leases end in the middle of it all, for who comes late.
    let now = if random.permille(300) { 2 * DAY + step } else { step };
    match random.below(16) {
        0..3 => {
            // Every upload has an object of its own.
            let object = key(&random.word());
            store.blob_put(&name, &at_key(&one, &object, now)).await.expect("a blob");
        }
        3 => drop(head(store, &place, &one, now).await),
        4 => drop(store.blob_delete(&name, &digest(&one), at(now)).await.expect("a delete")),
        5..8 => {
            let tag = format!("t{}", random.below(3));
            let image = Image::new(&image).blob(&one).foreign(&two).tag(&tag);
            let image = if random.permille(300) { image.sparse() } else { image };
            let image = if random.permille(200) { image.when(Precondition::Absent) } else { image };
            image.put(store, &place, now).await;
        }
        8 => {
            Image::new(&index).child(&image).child(&one).sparse().put(store, &place, now).await;
        }
        9 => {
            let signature = Image::new(&format!("signature of {image}")).subject(&image).blob(&one).sparse();
            signature.put(store, &place, now).await;
        }
        10 => {
            let target = if random.permille(500) { image } else { index };
            delete_manifest(store, &name, &target, random, now).await;
        }
        11 => {
            let from = random.permille(500).then(|| repo(&format!("r{}", random.below(3))));
            let mount = BlobMount { to: name, from, digest: digest(&one), now: at(now), lease_until: at(now + DAY) };
            store.blob_mount(&mount).await.expect("a mount");
        }
        12 => {
            if random.permille(200) {
                store.repository_delete(&name, at(now), at(now)).await.expect("an end");
            } else if let Some(found) = find(store, &place, &one).await {
                let keys = store.blob_keys(&[found.id]).await.expect("keys");
                for key in keys {
                    store.blob_damage(found.id, &key, at(now)).await.expect("a mark");
                }
            }
        }
        13 => {
            store.manifest_collect(at(3 * DAY), 3).await.expect("a pass");
            store.membership_collect(at(3 * DAY), 5).await.expect("a pass");
        }
        14 => drop(store.blob_collect(at(3 * DAY), at(3 * DAY), 5).await.expect("a pass")),
        _ => {
            drop(tagged(store, &place, "t0").await);
            drop(take(store, &place, 1, None, now).await);
            store.upload_expire(at(3 * DAY), at(3 * DAY), 5).await.expect("a pass");
        }
    }
}

async fn delete_manifest(store: &PostgresStore, name: &RepoName, target: &str, random: &Random, now: i64) {
    let immutable = ImmutableTags::default();
    let delete = ManifestDelete {
        repo: name,
        digest: &digest(target),
        immutable: &immutable,
        end_leases_before: random.permille(300).then(|| at(now)),
        referrers_until: at(now),
        now: at(now),
    };
    store.manifest_delete(&delete).await.expect("a delete");
}
