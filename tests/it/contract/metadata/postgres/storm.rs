//! Everything at once: random writes of several nodes on few names, so that they meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{
    BlobMount, ManifestDelete, Precondition, UploadHold, UploadId, UploadState, UploadTake, UploadTaken,
};
use bonded::metadata::postgres::PostgresStore;
use bonded::oci::glob::ImmutableTags;
use bonded::storage::Key;
use conformance::random::Random;
use tokio::task::JoinSet;

use super::nodes::Nodes;
use crate::contract::metadata::fixtures::{
    DAY, Image, at, at_key, damage, digest, ending, find, head, key, new_upload, repo, tagged, wish,
};
use crate::fixtures::NOBODY;

const NODES: usize = 3;
const WRITERS: u64 = 12;
const WRITES: u32 = 60;

/// Objects that were ever recorded.
static OBJECTS: AtomicI64 = AtomicI64::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_over() {
    let seed = Random::any_seed();
    eprintln!("seed {seed}");
    let nodes = Nodes::start(NODES).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = nodes.owned(usize::try_from(writer).expect("a small number"));
        let one = Writer { store, random: Random::new(seed.wrapping_add(writer)) };
        writers.spawn(async move {
            for step in 0..WRITES {
                one.write(i64::from(step)).await;
            }
        });
    }
    writers.join_all().await;
    nodes.check().await;
    for name in 0..3 {
        nodes
            .node(name)
            .repository_delete(&repo(&format!("r{name}")), at(9 * DAY), at(9 * DAY), &NOBODY)
            .await
            .expect("an end");
    }
    while nodes.node(0).blob_collect(at(9 * DAY), at(9 * DAY), 100).await.expect("a pass").seen > 0 {}
    nodes.check().await;
    assert_eq!(nodes.count("SELECT count(*) FROM blobs").await, 0, "nothing is left when every repository has ended");
    let doomed = nodes.count("SELECT count(*) FROM object_deletions").await;
    assert_eq!(doomed, OBJECTS.load(Ordering::SeqCst), "every object that was recorded will be removed");
}

/// Somebody who writes whatever chance wants.
struct Writer {
    store: Arc<PostgresStore>,
    random: Random,
}

impl Writer {
    async fn write(&self, step: i64) {
        let place = format!("r{}", self.random.below(3));
        // What a manifest names follows from what it is called, since its name is its bytes.
        let n = self.random.below(6);
        // Leases end in the middle of it all, for who comes late.
        let now = if self.random.permille(300) { 2 * DAY + step } else { step };
        match self.random.below(18) {
            0..3 => {
                let blob = at_key(&format!("blob {}", n % 5), &self.object(), now);
                self.store.blob_put(&repo(&place), &blob).await.expect("a blob");
            }
            3..5 => self.session(&place, &format!("blob {}", n % 5), now).await,
            5..10 => self.push(&place, n, now).await,
            10..13 => self.delete(&place, n, now).await,
            13 => {
                let from = self.random.permille(500).then(|| repo(&format!("r{}", self.random.below(3))));
                let digest = digest(&format!("blob {}", n % 5));
                let mount = BlobMount { to: repo(&place), from, digest, now: at(now), lease_until: at(now + DAY) };
                self.store.blob_mount(&mount).await.expect("a mount");
            }
            14 => drop(head(&*self.store, &place, &format!("blob {}", n % 5), now).await),
            15 => self.damage(&place, &format!("blob {}", n % 5), now).await,
            16 => drop(tagged(&*self.store, &place, "t0").await),
            _ => self.collect().await,
        }
    }

    /// A key of its own for each upload.
    fn object(&self) -> Key {
        OBJECTS.fetch_add(1, Ordering::SeqCst);
        key(&format!("{} {}", self.random.word(), self.random.word()))
    }

    /// Begins a session and ends it in one of the ways there are, unless somebody else does.
    async fn session(&self, place: &str, text: &str, now: i64) {
        let (name, id) = (repo(place), UploadId::from_bytes(self.random.bytes(16)[..].try_into().expect("16 bytes")));
        let take = UploadTake { begin: Some(new_upload()), ..wish(None, now) };
        let taken = self.store.upload_take(&name, &id, &take, at(now)).await.expect("a take");
        let UploadTaken::Begun(record) = taken else { return };
        assert_eq!(record.state, UploadState::Open);
        let (hold, object) = (UploadHold { id: id.clone(), epoch: record.epoch }, key(&self.random.word()));
        if !self.store.upload_intend(&hold, &object).await.expect("an intent") {
            return;
        }
        OBJECTS.fetch_add(1, Ordering::SeqCst);
        match self.random.below(4) {
            0 => drop(self.store.upload_cancel(&name, &id, None, ending(now, now)).await.expect("an answer")),
            1 => drop(self.store.upload_drop(&hold, ending(now, now)).await.expect("an answer")),
            _ => {
                let blob = at_key(text, &object, now);
                self.store.upload_commit(&hold, &blob, at(now + 1)).await.expect("an answer");
            }
        }
    }

    async fn push(&self, place: &str, n: u64, now: i64) {
        let (one, two, image) = (format!("blob {}", n % 5), format!("blob {}", (n + 2) % 5), format!("image {n}"));
        let pushed = match self.random.below(5) {
            0 => Image::new(&format!("index {n}")).child(&image).child(&one).sparse(),
            1 => Image::new(&format!("signature of {image}")).subject(&image).blob(&one).sparse(),
            chance => {
                let image = Image::new(&image).blob(&one).foreign(&two).tag(&format!("t{}", self.random.below(3)));
                let image = if self.random.permille(300) { image.sparse() } else { image };
                if chance == 2 { image.when(Precondition::Absent) } else { image }
            }
        };
        pushed.put(&*self.store, place, now).await;
    }

    async fn delete(&self, place: &str, n: u64, now: i64) {
        let name = repo(place);
        match self.random.below(10) {
            0 => drop(self.store.repository_delete(&name, at(now), at(now), &NOBODY).await.expect("an end")),
            1..4 => {
                let digest = digest(&format!("blob {}", n % 5));
                self.store.blob_delete(&name, &digest, at(now), &NOBODY).await.expect("a delete");
            }
            chance => {
                let target = digest(&if chance < 7 { format!("image {n}") } else { format!("index {n}") });
                let delete = ManifestDelete {
                    repo: &name,
                    digest: &target,
                    immutable: &ImmutableTags::default(),
                    end_leases_before: self.random.permille(300).then(|| at(now)),
                    referrers_until: at(now),
                    now: at(now),
                    by: &NOBODY,
                };
                self.store.manifest_delete(&delete).await.expect("a delete");
            }
        }
    }

    async fn damage(&self, place: &str, text: &str, now: i64) {
        let Some(found) = find(&*self.store, place, text).await else { return };
        for key in self.store.blob_keys(&[found.id]).await.expect("keys") {
            self.store.blob_damage(&damage(found.id, &key, now)).await.expect("a mark");
        }
    }

    async fn collect(&self) {
        self.store.upload_expire(at(DAY), at(DAY), 5).await.expect("a pass");
        self.store.manifest_collect(at(3 * DAY), 3).await.expect("a pass");
        self.store.membership_collect(at(3 * DAY), 5).await.expect("a pass");
        self.store.blob_collect(at(3 * DAY), at(3 * DAY), 5).await.expect("a pass");
    }
}
