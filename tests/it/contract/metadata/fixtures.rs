//! Values from short texts, and pushes in one line.

use bonded::clock::Timestamp;
use bonded::metadata::model::scrub::BlobDamage;
use bonded::metadata::model::trust::{Stood, TrustGuard};
use bonded::metadata::model::{
    BlobEdge, BlobId, BlobLocation, BlobRecord, BlobRole, ChildEdge, HeadLease, ManifestDelete, ManifestDeleted,
    ManifestPut, ManifestStored, NewBlob, NewManifest, NewUpload, Precondition, UploadEnd, UploadHold, UploadId,
    UploadRecord, UploadTake, UploadTaken,
};
use bonded::metadata::{MetadataStore, Result};
use bonded::oci::digest::{Algorithm, Digest, Hasher};
use bonded::oci::glob::ImmutableTags;
use bonded::oci::name::{RepoName, Tag};
use bonded::oci::reference::Reference;
use bonded::storage::Key;
use bytes::Bytes;

use crate::fixtures::NOBODY;

/// A day, in the seconds that [`at`] takes: the lease of an upload.
pub(super) const DAY: i64 = 86_400;

/// Fifteen minutes: the lease of a HEAD on a blob that a manifest names.
pub(super) const SHORT: i64 = 900;

/// A moment, in seconds after the one at which every rule begins.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_000_000_000 + seconds) * 1_000_000)
}

pub(super) fn repo(name: &str) -> RepoName {
    name.parse().expect("a repository name")
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub(super) fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

/// The key of the object with this name; another name is another object.
pub(super) fn key(name: &str) -> Key {
    Key::opaque(&digest(name).hex()[..32])
}

pub(super) fn upload_id(n: u8) -> UploadId {
    UploadId::from_bytes([n; 16])
}

/// A blob whose object is called like it.
pub(super) fn new_blob(text: &str, now: i64) -> NewBlob {
    at_key(text, &key(text), now)
}

/// A blob with a chosen object.
pub(super) fn at_key(text: &str, key: &Key, now: i64) -> NewBlob {
    NewBlob {
        digest: digest(text),
        size: text.len() as u64,
        location: BlobLocation::Object(key.clone()),
        now: at(now),
        lease_until: at(now + DAY),
        replaced_until: at(now),
    }
}

pub(super) async fn push_blob(store: &dyn MetadataStore, name: &str, text: &str, now: i64) {
    store.blob_put(&repo(name), &new_blob(text, now)).await.expect("a blob");
}

pub(super) async fn find(store: &dyn MetadataStore, name: &str, text: &str) -> Option<BlobRecord> {
    store.blob_find(&repo(name), &digest(text)).await.expect("a look")
}

pub(super) async fn blob_id(store: &dyn MetadataStore, name: &str, text: &str) -> BlobId {
    find(store, name, text).await.expect("the blob").id
}

/// That the bytes of a blob were found wrong where they were looked for.
pub(super) fn damage(id: BlobId, key: &Key, now: i64) -> BlobDamage {
    let location = BlobLocation::Object(key.clone());
    BlobDamage { id, location, reason: "has other bytes".to_owned(), now: at(now), by: NOBODY.clone() }
}

/// A HEAD of somebody who may push.
pub(super) async fn head(store: &dyn MetadataStore, name: &str, text: &str, now: i64) -> Option<BlobRecord> {
    let lease = HeadLease { now: at(now), unreferenced_until: at(now + DAY), referenced_until: at(now + SHORT) };
    store.blob_lease(&repo(name), &digest(text), lease).await.expect("a lease")
}

/// A manifest under construction; its bytes are its name.
pub(super) struct Image {
    name: String,
    media_type: String,
    artifact_type: Option<String>,
    subject: Option<String>,
    blobs: Vec<(String, bool)>,
    children: Vec<String>,
    tags: Vec<Tag>,
    sparse: bool,
    immutable: ImmutableTags,
    precondition: Precondition,
    condition_on: Option<Reference>,
    guard: Option<TrustGuard>,
    signature_bytes: Option<u64>,
}

impl Image {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            artifact_type: None,
            subject: None,
            blobs: Vec::new(),
            children: Vec::new(),
            tags: Vec::new(),
            sparse: false,
            immutable: ImmutableTags::default(),
            precondition: Precondition::None,
            condition_on: None,
            guard: None,
            signature_bytes: None,
        }
    }

    pub(super) fn blob(mut self, text: &str) -> Self {
        self.blobs.push((text.to_owned(), true));
        self
    }

    pub(super) fn foreign(mut self, text: &str) -> Self {
        self.blobs.push((text.to_owned(), false));
        self
    }

    pub(super) fn child(mut self, name: &str) -> Self {
        self.children.push(name.to_owned());
        self
    }

    pub(super) fn subject(mut self, name: &str) -> Self {
        self.subject = Some(name.to_owned());
        self
    }

    pub(super) fn artifact_type(mut self, name: &str) -> Self {
        self.artifact_type = Some(name.to_owned());
        self
    }

    pub(super) fn media_type(mut self, name: &str) -> Self {
        name.clone_into(&mut self.media_type);
        self
    }

    pub(super) fn tag(mut self, name: &str) -> Self {
        self.tags.push(tag(name));
        self
    }

    pub(super) fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    pub(super) fn immutable(mut self, rule: &str) -> Self {
        self.immutable = ImmutableTags::parse(&[rule]).expect("a rule");
        self
    }

    pub(super) fn when(mut self, precondition: Precondition) -> Self {
        self.precondition = precondition;
        self
    }

    pub(super) fn guarded(mut self, stood: Stood, policy: Option<i64>) -> Self {
        self.guard = Some(TrustGuard { stood, policy });
        self
    }

    /// Makes it a signature artifact of so many bytes.
    pub(super) fn signature(mut self, bytes: u64) -> Self {
        self.signature_bytes = Some(bytes);
        self
    }

    fn manifest(&self) -> NewManifest {
        let role = |at: usize| if at == 0 { BlobRole::Config } else { BlobRole::Layer };
        let blobs = self.blobs.iter().enumerate().map(|(at, (text, required))| BlobEdge {
            digest: digest(text),
            size: text.len() as u64,
            role: role(at),
            required: *required,
        });
        let children = self.children.iter().map(|name| ChildEdge {
            digest: digest(name),
            size: name.len() as u64,
            platform: Some(r#"{"os":"linux"}"#.to_owned()),
        });
        NewManifest {
            digest: digest(&self.name),
            media_type: self.media_type.clone(),
            artifact_type: self.artifact_type.clone(),
            subject: self.subject.as_deref().map(digest),
            referrer: self.subject.as_ref().map(|_| format!(r#"{{"name":"{}"}}"#, self.name)),
            payload: Bytes::from(self.name.clone()),
            blobs: blobs.collect(),
            children: children.collect(),
            signature_bytes: self.signature_bytes,
        }
    }

    pub(super) async fn put(&self, store: &dyn MetadataStore, name: &str, now: i64) -> ManifestStored {
        self.try_put(store, name, now).await.expect("a manifest PUT")
    }

    pub(super) async fn try_put(&self, store: &dyn MetadataStore, name: &str, now: i64) -> Result<ManifestStored> {
        let first_tag = self.tags.first().cloned().map(Reference::Tag);
        let by_digest = Reference::Digest(digest(&self.name));
        let put = ManifestPut {
            repo: &repo(name),
            manifest: self.manifest(),
            tags: &self.tags,
            sparse: self.sparse,
            immutable: &self.immutable,
            precondition: self.precondition.clone(),
            condition_on: self.condition_on.as_ref().or(first_tag.as_ref()).unwrap_or(&by_digest),
            guard: self.guard,
            now: at(now),
            by: &NOBODY,
        };
        store.manifest_put(&put).await
    }

    /// Pushes its blobs, then itself.
    pub(super) async fn push(&self, store: &dyn MetadataStore, name: &str, now: i64) {
        for (text, _) in &self.blobs {
            push_blob(store, name, text, now).await;
        }
        assert_eq!(self.put(store, name, now).await, ManifestStored::Stored);
    }
}

/// Deletes a manifest; its referrers may go after a day.
pub(super) async fn delete(store: &dyn MetadataStore, name: &str, manifest: &str, now: i64) -> ManifestDeleted {
    delete_with(store, name, manifest, now, None, &ImmutableTags::default()).await
}

pub(super) async fn delete_with(
    store: &dyn MetadataStore,
    name: &str,
    manifest: &str,
    now: i64,
    end_leases_before: Option<i64>,
    immutable: &ImmutableTags,
) -> ManifestDeleted {
    let delete = ManifestDelete {
        repo: &repo(name),
        digest: &digest(manifest),
        immutable,
        end_leases_before: end_leases_before.map(at),
        referrers_until: at(now + DAY),
        now: at(now),
        by: &NOBODY,
    };
    store.manifest_delete(&delete).await.expect("a manifest DELETE")
}

/// Whether the repository has this manifest.
pub(super) async fn has(store: &dyn MetadataStore, name: &str, manifest: &str) -> bool {
    let reference = Reference::Digest(digest(manifest));
    store.manifest_find(&repo(name), &reference).await.expect("a look").is_some()
}

/// The bytes (the name) of the manifest that a tag points to.
pub(super) async fn tagged(store: &dyn MetadataStore, name: &str, text: &str) -> Option<String> {
    let found = store.manifest_find(&repo(name), &Reference::Tag(tag(text))).await.expect("a look");
    found.map(|manifest| String::from_utf8(manifest.payload.to_vec()).expect("a name"))
}

/// Every pass of the collector until nothing is left to do, the removal of objects included; says which those were.
pub(super) async fn sweep(store: &dyn MetadataStore, now: i64) -> Vec<Key> {
    loop {
        let manifests = store.manifest_collect(at(now), 10).await.expect("a pass");
        let memberships = store.membership_collect(at(now), 10).await.expect("a pass");
        let blobs = store.blob_collect(at(now), at(now), 10).await.expect("a pass");
        if manifests.seen + memberships.seen + blobs.seen == 0 {
            break;
        }
    }
    let mut keys: Vec<Key> =
        store.deletion_claim(at(now), 100).await.expect("a claim").into_iter().map(|gone| gone.key).collect();
    keys.sort();
    store.deletion_done(&keys).await.expect("the end");
    keys
}

/// A session that nothing is known of.
pub(super) fn new_upload() -> NewUpload {
    NewUpload {
        principal: Some("someone".to_owned()),
        tail: Bytes::new(),
        hash_state: Hasher::new(Algorithm::Sha256).save(),
    }
}

/// The wish to have a session from `now` on.
pub(super) fn wish(offset: Option<u64>, now: i64) -> UploadTake {
    UploadTake {
        principal: new_upload().principal,
        offset,
        owner: "node".to_owned(),
        expires_at: at(now + DAY),
        key: None,
        begin: None,
    }
}

/// An end whose name is kept for an hour.
pub(super) fn ending(now: i64, dead_until: i64) -> UploadEnd {
    UploadEnd { now: at(now), dead_until: at(dead_until), keep_until: at(now + 3600) }
}

/// Begins a session that nobody holds.
pub(super) async fn begin(store: &dyn MetadataStore, name: &str, n: u8, now: i64) {
    let take = UploadTake { begin: Some(new_upload()), ..wish(None, now) };
    let begun = store.upload_take(&repo(name), &upload_id(n), &take, at(now)).await.expect("a take");
    assert!(matches!(begun, UploadTaken::Begun(_)), "{begun:?}");
}

pub(super) async fn take(store: &dyn MetadataStore, name: &str, n: u8, offset: Option<u64>, now: i64) -> UploadTaken {
    store.upload_take(&repo(name), &upload_id(n), &wish(offset, now), at(now)).await.expect("a take")
}

/// Takes a session that can be taken.
pub(super) async fn taken(store: &dyn MetadataStore, name: &str, n: u8, now: i64) -> (UploadHold, UploadRecord) {
    match take(store, name, n, None, now).await {
        UploadTaken::Taken(record) => (UploadHold { id: upload_id(n), epoch: record.epoch }, *record),
        other => panic!("{other:?}"),
    }
}

/// Begins a session, takes it and records its key.
pub(super) async fn intended(store: &dyn MetadataStore, name: &str, n: u8, object: &str, now: i64) -> UploadHold {
    begin(store, name, n, now).await;
    let (hold, _) = taken(store, name, n, now).await;
    assert!(store.upload_intend(&hold, &key(object)).await.expect("an intent"));
    hold
}

/// Has every migration from that of the signatures' edges on run again.
pub(super) const UNDO_SIGNATURE_EDGES: &str = "DELETE FROM _sqlx_migrations WHERE version >= 20261124002000";

/// Signature artifacts as they were stored before that migration: two that name what they carry, and two that name more.
pub(super) async fn push_old_signatures(store: &dyn MetadataStore) {
    Image::new("one").blob("{}").blob("abc").signature(3 + 3).push(store, "r", 0).await;
    Image::new("twice").blob("{}").blob("abc").blob("abc").signature(5 + 6).push(store, "r", 0).await;
    Image::new("more").blob("{}").blob("abc").blob("a layer").signature(4 + 3).push(store, "r", 0).await;
    let waits = Image::new("waits").blob("{}").blob("abc").foreign("to come").signature(5 + 3);
    assert_eq!(waits.put(store, "r", 0).await, ManifestStored::Stored);
    Image::new("one").blob("{}").push(store, "none", 0).await;
}

/// What the migration has left of them.
pub(super) async fn check_old_signatures(store: &dyn MetadataStore) {
    for (name, wanted) in [("one", true), ("twice", true), ("more", false), ("waits", false)] {
        let found = store.manifest_find(&repo("r"), &Reference::Digest(digest(name))).await.expect("a look");
        assert_eq!(found.expect("the manifest").is_signature, wanted, "{name}");
    }
}

/// How often the signatures of their repositories have changed with it: of one that has none, never.
pub(super) async fn check_old_generations(store: &dyn MetadataStore) {
    for (name, generation) in [("r", 5), ("none", 0)] {
        let standing = store.trust_standing(&repo(name)).await.expect("a look").expect("the repository");
        assert_eq!(standing.generation, generation, "{name}");
    }
}
