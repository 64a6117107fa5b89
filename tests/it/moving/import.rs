//! `store import`: what distribution left is served from where it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bonded::registry::Purge;
use bonded::storage::Key;
use bonded::storage::fs::{Durability, FsOptions, FsStore};
use bonded::transfer::TransferError;
use bonded::transfer::import::{ImportOptions, ImportReport, ROOT, import};
use serde_json::json;
use tempfile::TempDir;

use super::{Seen, Side, digest, name};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, NOBODY, bytes, index, sha256};

/// Another registry's folder.
struct Old {
    folder: TempDir,
}

impl Old {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn write(&self, path: &str, data: &[u8]) {
        let path = self.folder.path().join(ROOT).join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, data).expect("written");
    }

    fn blob(&self, data: &[u8]) -> String {
        let digest = sha256(data);
        self.write(&blob_path(&digest), data);
        digest
    }

    fn link(&self, repo: &str, folder: &str, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        self.write(&format!("repositories/{repo}/{folder}/sha256/{hex}/link"), digest.as_bytes());
    }

    fn layer(&self, repo: &str, data: &[u8]) {
        let digest = self.blob(data);
        self.link(repo, "_layers", &digest);
    }

    fn manifest(&self, repo: &str, tag: Option<&str>, payload: &[u8]) -> String {
        let digest = self.blob(payload);
        self.link(repo, "_manifests/revisions", &digest);
        if let Some(tag) = tag {
            self.write(&format!("repositories/{repo}/_manifests/tags/{tag}/current/link"), digest.as_bytes());
            self.link(repo, &format!("_manifests/tags/{tag}/index"), &digest);
        }
        digest
    }

    fn image(&self, repo: &str, tag: Option<&str>, image: &ImageBuilder) -> Vec<u8> {
        image.blobs().iter().for_each(|blob| self.layer(repo, blob));
        self.manifest(repo, tag, &image.manifest());
        image.manifest()
    }

    async fn opened(&self) -> Side {
        let root = self.folder.path().to_owned();
        let options = FsOptions { root, durability: Durability::Relaxed, boot_id: "one".to_owned() };
        Side::over(Arc::new(FsStore::open(options).await.expect("a store"))).await
    }

    fn has(&self, digest: &str) -> bool {
        self.folder.path().join(ROOT).join(blob_path(digest)).exists()
    }
}

fn blob_path(digest: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    format!("blobs/sha256/{}/{hex}/data", &hex[..2])
}

fn options() -> ImportOptions {
    ImportOptions { root: Key::parse(ROOT).expect("a key"), read_only: false, rehash: false }
}

async fn run(side: &Side, options: ImportOptions) -> (ImportReport, Vec<String>) {
    let seen = Seen::new();
    let report = import(&side.stores, &side.registry, options, &seen.watch()).await.expect("imported");
    assert_eq!(report.skipped, seen.findings().len() as u64);
    (report, seen.findings())
}

/// A Docker image (schema 2), an OCI image, and an index of both.
fn sound(old: &Old) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (config, layer) = (b"{\"docker\":1}".to_vec(), bytes(30_000, 1));
    let docker = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": sha256(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": sha256(&layer), "size": layer.len()}],
    }))
    .expect("JSON");
    old.layer("library/app", &config);
    old.layer("library/app", &layer);
    old.manifest("library/app", Some("docker"), &docker);
    let oci = old.image("library/app", Some("oci"), &ImageBuilder::new().layer(&bytes(20_000, 2)));
    let both = index(&[docker.clone(), oci.clone()]);
    old.manifest("library/app", Some("latest"), &both);
    (docker, oci, both)
}

#[tokio::test]
async fn images_are_pulled_by_tag_and_digest_from_where_they_are() {
    let old = Old::new();
    let (docker, oci, both) = sound(&old);
    let side = old.opened().await;
    let (report, said) = run(&side, options()).await;
    assert_eq!(said, Vec::<String>::new());
    assert_eq!((report.repositories, report.manifests, report.tags, report.blobs.blobs), (1, 3, 3, 4));
    assert_eq!(report.unnamed.blobs, 3, "the manifests' own objects");
    for (tag, payload) in [("docker", &docker), ("oci", &oci), ("latest", &both)] {
        assert_eq!(side.manifest("library/app", tag).await.as_ref(), Some(payload));
        assert_eq!(side.manifest("library/app", &sha256(payload)).await.as_ref(), Some(payload));
    }
    let pulled = side.pull("library/app", &digest(&bytes(30_000, 1))).await.expect("a layer");
    assert_eq!(pulled, bytes(30_000, 1));
    let docker_type = side.registry.find_manifest(&name("library/app"), &"docker".parse().expect("a tag")).await;
    assert_eq!(docker_type.expect("there").media_type, "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(side.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn running_again_changes_nothing_and_finishes_what_was_begun() {
    let old = Old::new();
    sound(&old);
    let side = old.opened().await;
    run(&side, options()).await;
    let before = side.facts().await;
    let (again, said) = run(&side, ImportOptions { rehash: true, ..options() }).await;
    assert_eq!((again.manifests, again.tags, again.blobs.blobs, said), (3, 3, 0, Vec::new()));
    assert_eq!(side.facts().await["manifests"], before["manifests"]);
    assert_eq!(side.facts().await["tag_events"], before["tag_events"]);

    let moved = side.push_image("library/app", "oci", &ImageBuilder::new().layer(b"pushed since")).await;
    old.image("library/late", Some("v1"), &ImageBuilder::new().layer(&bytes(10_000, 5)));
    let (third, said) = run(&side, options()).await;
    assert_eq!((third.repositories, third.skipped), (2, 1));
    assert!(said[0].contains("library/app: tag oci: it points to") && said[0].contains("stays there"), "{said:?}");
    assert_eq!(side.manifest("library/app", "oci").await, Some(moved));
    assert!(side.manifest("library/late", "v1").await.is_some());
}

#[tokio::test]
async fn whatever_is_left_out_is_said() {
    let old = Old::new();
    sound(&old);
    let lost = ImageBuilder::new().layer(b"this layer was lost");
    old.layer("broken/app", b"{}");
    old.link("broken/app", "_layers", &sha256(b"this layer was lost"));
    old.manifest("broken/app", Some("lost"), &lost.manifest());
    old.manifest("broken/app", Some("list"), &index(&[lost.manifest()]));
    let schema1 = br#"{"schemaVersion":1,"name":"broken/app","tag":"one","fsLayers":[],"history":[]}"#;
    old.manifest("broken/app", Some("one"), schema1);
    let swapped = old.manifest("broken/app", None, &ImageBuilder::new().layer(b"whole").manifest());
    old.write(&blob_path(&swapped), &ImageBuilder::new().layer(b"other").manifest());
    old.link("broken/app", "_manifests/revisions", &sha256(b"never written"));
    old.write("repositories/broken/app/_manifests/tags/empty/current/link", b"");
    old.write("repositories/broken/app/_manifests/tags/-bad-/current/link", sha256(schema1).as_bytes());
    old.write("repositories/broken/app/_uploads/1/data", b"half a blob");
    old.image("Broken_Name", Some("v1"), &ImageBuilder::new());
    // Distribution would not serve this layer, which has no link; its bytes are there all the same.
    let unlinked = ImageBuilder::new().layer(b"without a link");
    old.blob(b"without a link");
    old.layer("broken/app", b"{}");
    old.manifest("broken/app", Some("unlinked"), &unlinked.manifest());

    let side = old.opened().await;
    let (report, said) = run(&side, options()).await;
    let said = said.join("\n");
    let lost_digest = sha256(&lost.manifest());
    for expected in [
        format!("broken/app: blob {} has a link and no bytes", sha256(b"this layer was lost")),
        format!(
            "broken/app: manifest {lost_digest} names content that is not there: {}",
            sha256(b"this layer was lost")
        ),
        format!(
            "broken/app: manifest {} names content that is not there: {lost_digest}",
            sha256(&index(&[lost.manifest()]))
        ),
        format!("broken/app: manifest {}: ", sha256(schema1)),
        format!("broken/app: manifest {swapped}: has the bytes of sha256:"),
        format!("broken/app: manifest {} is not there", sha256(b"never written")),
        "broken/app: tag empty: its link is no digest".to_owned(),
        "broken/app: tag -bad-: ".to_owned(),
        format!("broken/app: tag lost: manifest {lost_digest} was not taken over"),
        "repository Broken_Name: ".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}\n---\n{said}");
    }
    assert_eq!(report.skipped, 12, "{said}");
    assert_eq!((report.repositories, report.uploads), (2, 1));
    assert!(side.manifest("broken/app", "unlinked").await.is_some());
    assert_eq!(side.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn garbage_goes_unless_the_store_is_only_read() {
    for read_only in [false, true] {
        let old = Old::new();
        let (docker, ..) = sound(&old);
        old.layer("library/app", b"named by nobody");
        let side = old.opened().await;
        run(&side, ImportOptions { read_only, ..options() }).await;
        assert_eq!(
            side.pull("library/app", &digest(b"named by nobody")).await.expect("it has a link"),
            b"named by nobody"
        );
        side.registry.delete_repository(&name("library/app"), Purge::Later, &NOBODY).await.expect("deleted");
        side.sweep().await;
        for gone in [sha256(&bytes(30_000, 1)), sha256(b"named by nobody")] {
            assert_eq!(old.has(&gone), read_only, "{gone}, read only: {read_only}");
        }
        assert!(old.has(&sha256(&docker)), "a manifest's object is nobody's to remove");
        assert!(side.registry.open_blob(&name("library/app"), &digest(&bytes(30_000, 1))).await.is_err());
        assert_eq!(side.findings().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_rehash_leaves_out_wrong_bytes() {
    let old = Old::new();
    sound(&old);
    let layer = sha256(&bytes(30_000, 1));
    old.write(&blob_path(&layer), &bytes(30_000, 9));
    let side = old.opened().await;
    let (_, said) = run(&side, ImportOptions { rehash: true, ..options() }).await;
    assert!(said[0].contains(&format!("blob {layer} has the bytes of sha256:")), "{said:?}");
    assert!(side.manifest("library/app", "docker").await.is_none());
    assert!(side.manifest("library/app", "oci").await.is_some());
}

#[tokio::test]
async fn pushes_go_on_over_adopted_blobs() {
    let old = Old::new();
    sound(&old);
    let side = old.opened().await;
    run(&side, options()).await;
    let again = ImageBuilder::new().layer(&bytes(20_000, 2)).layer(b"and one more");
    let manifest = side.push_image("library/app", "next", &again).await;
    assert_eq!(side.manifest("library/app", "next").await, Some(manifest));
    side.put("library/app", "moved", IMAGE_MANIFEST, &again.manifest()).await;
    side.sweep().await;
    assert!(old.has(&sha256(&bytes(20_000, 2))), "the adopted object is the blob's");
    assert_eq!(side.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_without_another_registry_is_refused() {
    let side = Old::new().opened().await;
    let nothing = import(&side.stores, &side.registry, options(), &Seen::new().watch()).await;
    assert!(matches!(&nothing, Err(TransferError::Refused(why)) if why.contains(ROOT)), "{nothing:?}");
}

#[tokio::test]
async fn a_linked_folder_serves_as_well() {
    let (old, ours) = (Old::new(), tempfile::tempdir().expect("a folder"));
    let (docker, ..) = sound(&old);
    std::os::unix::fs::symlink(old.folder.path().join("docker"), ours.path().join("docker")).expect("a link");
    let root = ours.path().to_owned();
    let options_of = FsOptions { root, durability: Durability::Relaxed, boot_id: "one".to_owned() };
    let side = Side::over(Arc::new(FsStore::open(options_of).await.expect("a store"))).await;
    let (report, _) = run(&side, options()).await;
    assert_eq!((report.manifests, report.skipped), (3, 0));
    assert_eq!(side.manifest("library/app", "docker").await, Some(docker));
    assert!(is_empty(&old.folder.path().join("blobs")), "our own folders are ours");
}

fn is_empty(folder: &Path) -> bool {
    !folder.exists()
}
