//! One repository of another registry: its blobs, then its manifests, then its tags.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::StreamExt as _;

use super::layout::{Layout, Link};
use super::{ImportOptions, ImportReport};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobAdopt, Precondition};
use crate::oci::digest::Digest;
use crate::oci::manifest::{Manifest, ManifestLimits};
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::registry::{PutManifest, Registry, RegistryError};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{Key, StorageError};
use crate::transfer::objects::{Crew, hash};
use crate::transfer::{Amount, BATCH, Result, Stores, Watch};

/// Longest link in bytes; a digest is shorter.
const LINK_BYTES_MAX: u64 = 1024;

/// Takes over repositories, one after the other.
#[derive(Debug)]
pub(super) struct Importer {
    pub(super) stores: Stores,
    pub(super) registry: Arc<Registry>,
    pub(super) layout: Layout,
    pub(super) options: ImportOptions,
    pub(super) watch: Arc<dyn Watch>,
    pub(super) report: ImportReport,
}

/// A blob in its place, or why it cannot be taken.
type Found = std::result::Result<(Digest, Option<(Key, u64)>), (Digest, String)>;

impl Importer {
    /// Takes over everything in a repository.
    pub(super) async fn take_over(&mut self, repo: &RepoName) -> Result<()> {
        self.take_layers(repo).await?;
        let revisions = self.take_manifests(repo).await?;
        self.take_tags(repo).await?;
        self.report.repositories += u64::from(revisions > 0);
        Ok(())
    }

    /// Says what was left out.
    pub(super) fn skip(&mut self, line: String) {
        self.report.skipped += 1;
        self.watch.finding(line);
    }

    /// What the links below a folder of the repository say.
    async fn links(&self, repo: &RepoName, folder: &str) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        let Some(folder) = self.layout.folder(repo.as_str(), folder) else { return Ok(links) };
        let mut listing = self.stores.storage.list_under(&folder);
        while let Some(object) = listing.next().await.transpose()? {
            links.extend(self.layout.parse(&object.key).map(|(_, link)| link));
        }
        Ok(links)
    }

    /// Makes every linked blob a member.
    async fn take_layers(&mut self, repo: &RepoName) -> Result<()> {
        let links = self.links(repo, "_layers").await?;
        let digests: Vec<Digest> = links.into_iter().filter_map(Link::into_layer).collect();
        for some in digests.chunks(BATCH as usize) {
            for (digest, why) in self.adopt(repo, some).await? {
                self.skip(format!("{repo}: blob {digest} {why}"));
            }
        }
        Ok(())
    }

    /// Makes blobs members; gives those that are not where they should be, and why.
    async fn adopt(&mut self, repo: &RepoName, digests: &[Digest]) -> Result<Vec<(Digest, String)>> {
        let places: Vec<(Digest, Key)> =
            digests.iter().filter_map(|digest| Some((digest.clone(), self.layout.blob(digest)?))).collect();
        let keys: Vec<Key> = places.iter().map(|(_, key)| key.clone()).collect();
        let known = self.stores.metadata.key_sound(&keys).await?;
        let (mut crew, mut found): (Crew<Found>, Vec<Found>) = (Crew::new(), Vec::new());
        for ((digest, key), known) in places.into_iter().zip(known) {
            if known {
                found.push(Ok((digest, None)));
                continue;
            }
            let (stores, rehash) = (self.stores.clone(), self.options.rehash);
            found.extend(crew.start(async move { find_blob(&stores, digest, key, rehash).await }).await?);
        }
        while let Some(ended) = crew.next().await? {
            found.push(ended);
        }
        let (mut blobs, mut bad) = (Vec::new(), Vec::new());
        for blob in found {
            match blob {
                Ok((digest, place)) => {
                    let bytes = place.as_ref().map_or(0, |(_, size)| *size);
                    self.report.blobs.add(Amount { blobs: u64::from(place.is_some()), bytes });
                    blobs.push((digest, place));
                }
                Err(fault) => bad.push(fault),
            }
        }
        if !blobs.is_empty() {
            let now = self.stores.clock.now();
            let lease_until = now.after(self.registry.blob_lease());
            let adopt = BlobAdopt { blobs, read_only: self.options.read_only, now, lease_until };
            let gone = self.stores.metadata.blob_adopt(repo, &adopt).await?;
            bad.extend(gone.into_iter().map(|digest| (digest, "was collected meanwhile".to_owned())));
        }
        Ok(bad)
    }

    /// Stores every manifest whose content is there; says how many the repository has.
    async fn take_manifests(&mut self, repo: &RepoName) -> Result<u64> {
        let links = self.links(repo, "_manifests/revisions").await?;
        let mut waiting: VecDeque<Digest> = links.into_iter().filter_map(Link::into_revision).collect();
        let (mut taken, mut put_back) = (0, 0);
        // An index can be stored only after what it lists, in whatever order they come; when all that wait have come
        // round without any progress, what they name is not there.
        while let Some(digest) = waiting.pop_front() {
            match self.take_manifest(repo, &digest).await? {
                Taken::Stored => (taken, put_back) = (taken + 1, 0),
                Taken::Skipped => put_back = 0,
                Taken::Lacks(missing) if put_back >= waiting.len() => {
                    let list = missing.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ");
                    self.skip(format!("{repo}: manifest {digest} names content that is not there: {list}"));
                }
                Taken::Lacks(_) => {
                    put_back += 1;
                    waiting.push_back(digest);
                }
            }
        }
        self.report.manifests += taken;
        Ok(taken)
    }

    async fn take_manifest(&mut self, repo: &RepoName, digest: &Digest) -> Result<Taken> {
        let reference = Reference::Digest(digest.clone());
        if self.find_manifest(repo, &reference).await?.is_some() {
            return Ok(Taken::Stored);
        }
        let bytes = match self.layout.blob(digest) {
            Some(key) => self.read_small(&key, self.registry.limits().manifest_bytes_max).await?,
            None => Err("has no place".to_owned()),
        };
        let payload = match bytes {
            Ok(payload) => payload,
            Err(why) => {
                self.skip(format!("{repo}: manifest {digest} {why}"));
                return Ok(Taken::Skipped);
            }
        };
        let mut ended = self.put(repo, &reference, Vec::new(), &payload).await;
        if let Err(RegistryError::ContentMissing(missing)) = &ended {
            // A blob's bytes may be there without its link. What an index lists is no blob, though its bytes are there.
            let listed = self.listed(&payload);
            let missing: Vec<Digest> = missing.iter().filter(|digest| !listed.contains(digest)).cloned().collect();
            if self.adopt(repo, &missing).await?.len() < missing.len() {
                ended = self.put(repo, &reference, Vec::new(), &payload).await;
            }
        }
        match ended {
            Ok(()) => Ok(Taken::Stored),
            Err(RegistryError::ContentMissing(missing)) => Ok(Taken::Lacks(missing)),
            Err(error) => match refusal(&error) {
                Some(why) => {
                    self.skip(format!("{repo}: manifest {digest}: {why}"));
                    Ok(Taken::Skipped)
                }
                None => Err(error.into()),
            },
        }
    }

    /// The manifests that an index lists.
    fn listed(&self, payload: &[u8]) -> HashSet<Digest> {
        let limits = self.registry.limits();
        let limits = ManifestLimits {
            depth_max: limits.manifest_depth_max,
            descriptors_max: limits.manifest_descriptors_max,
            annotations_max: limits.manifest_annotations_max,
        };
        let manifest = Manifest::parse(payload, None, &limits);
        manifest.map(|manifest| manifest.manifests.into_iter().map(|child| child.digest).collect()).unwrap_or_default()
    }

    async fn put(
        &self,
        repo: &RepoName,
        reference: &Reference,
        tags: Vec<Tag>,
        payload: &Bytes,
    ) -> std::result::Result<(), RegistryError> {
        let put = PutManifest {
            reference: reference.clone(),
            tags,
            content_type: None,
            payload: payload.clone(),
            precondition: Precondition::None,
        };
        self.registry.put_manifest(repo, put, &Actor::command_line()).await.map(drop)
    }

    async fn find_manifest(&self, repo: &RepoName, reference: &Reference) -> Result<Option<(Digest, Bytes)>> {
        match self.registry.find_manifest(repo, reference).await {
            Ok(found) => Ok(Some((found.digest, found.payload))),
            Err(RegistryError::ManifestUnknown(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Sets every tag that is not set yet and whose manifest was taken.
    async fn take_tags(&mut self, repo: &RepoName) -> Result<()> {
        let links = self.links(repo, "_manifests/tags").await?;
        let names: HashSet<String> = links.into_iter().filter_map(Link::into_tag).collect();
        let mut by_digest: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for name in names {
            match self.tag_target(repo, &name).await? {
                Ok((tag, digest)) => by_digest.entry(digest).or_default().push(tag),
                Err(why) => self.skip(format!("{repo}: tag {name}: {why}")),
            }
        }
        for (digest, tags) in by_digest {
            let reference = Reference::Digest(digest.clone());
            let Some((_, payload)) = self.find_manifest(repo, &reference).await? else {
                for tag in tags {
                    self.skip(format!("{repo}: tag {tag}: manifest {digest} was not taken over"));
                }
                continue;
            };
            let mut fresh = Vec::new();
            for tag in tags {
                match self.find_manifest(repo, &Reference::Tag(tag.clone())).await? {
                    None => fresh.push(tag),
                    Some((current, _)) if current == digest => self.report.tags += 1,
                    Some((current, _)) => {
                        self.skip(format!("{repo}: tag {tag}: it points to {current} by now and stays there"));
                    }
                }
            }
            if !fresh.is_empty() {
                self.report.tags += fresh.len() as u64;
                self.put(repo, &reference, fresh, &payload).await?;
            }
        }
        Ok(())
    }

    /// What a tag of the other registry points to.
    async fn tag_target(&self, repo: &RepoName, name: &str) -> Result<std::result::Result<(Tag, Digest), String>> {
        let tag = match name.parse::<Tag>() {
            Ok(tag) => tag,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Some(key) = self.layout.tag(repo.as_str(), name) else { return Ok(Err("it has no place".to_owned())) };
        let link = match self.read_small(&key, LINK_BYTES_MAX).await? {
            Ok(link) => link,
            Err(why) => return Ok(Err(format!("its link {why}"))),
        };
        let digest = std::str::from_utf8(&link).ok().and_then(|text| text.trim().parse().ok());
        Ok(digest.map(|digest| (tag, digest)).ok_or_else(|| "its link is no digest".to_owned()))
    }

    /// The bytes of a small object, or why it cannot be taken.
    async fn read_small(&self, key: &Key, bytes_max: u64) -> Result<std::result::Result<Bytes, String>> {
        let read = match self.stores.storage.read(key, None).await {
            Err(StorageError::NotFound { .. }) => return Ok(Err("is not there".to_owned())),
            other => other?,
        };
        if read.size > bytes_max {
            return Ok(Err(format!("has {} bytes, more than {bytes_max}", read.size)));
        }
        let (mut stream, mut bytes) = (read.into_stream(READ_CHUNK_BYTES), BytesMut::new());
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(StorageError::Corrupt { reason, .. }) => return Ok(Err(reason)),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Ok(bytes.freeze()))
    }
}

/// What became of a manifest.
enum Taken {
    Stored,
    Skipped,
    /// Some of what it names is not there, or not yet.
    Lacks(Vec<Digest>),
}

impl Link {
    fn into_layer(self) -> Option<Digest> {
        match self {
            Self::Layer(digest) => Some(digest),
            _ => None,
        }
    }

    fn into_revision(self) -> Option<Digest> {
        match self {
            Self::Revision(digest) => Some(digest),
            _ => None,
        }
    }

    fn into_tag(self) -> Option<String> {
        match self {
            Self::Tag(tag) => Some(tag),
            _ => None,
        }
    }
}

/// Why the registry does not want a manifest, when that is the manifest's fault.
fn refusal(error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::ManifestInvalid(why) => Some(why.clone()),
        RegistryError::ManifestTooLarge { .. } => Some(error.to_string()),
        RegistryError::DigestMismatch { actual, .. } => Some(format!("has the bytes of {actual}")),
        _ => None,
    }
}

/// A blob in its place.
async fn find_blob(stores: &Stores, digest: Digest, key: Key, rehash: bool) -> Result<Found> {
    let size = match stores.storage.stat(&key).await {
        Err(StorageError::NotFound { .. }) => return Ok(Err((digest, "has a link and no bytes".to_owned()))),
        other => other?,
    };
    if rehash {
        let read = stores.storage.read(&key, None).await?;
        let (actual, _) = hash(read.into_stream(READ_CHUNK_BYTES), &digest).await?;
        if actual != digest {
            return Ok(Err((digest, format!("has the bytes of {actual}"))));
        }
    }
    Ok(Ok((digest, Some((key, size)))))
}
