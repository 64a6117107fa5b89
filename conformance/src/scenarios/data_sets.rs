//! The data sets of the official suite: each is pushed, listed, read by HEAD and GET, asked for referrers, and deleted.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::content::{Algorithm, Random};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::generate::{Common, Image, Layer, Manifest, Set};
use crate::scenarios::push::{self, WAYS};
use crate::wire::{Wire, with_query};

/// Media types of the image specification.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const LAYER_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// Types of artifacts that nobody knows.
pub(crate) const EXAMPLE: &str = "application/vnd.example.conformance.v1";
const EXAMPLE_2: &str = "application/vnd.example.conformance.v2";

/// Makes a set.
type Make = fn(&Random) -> Set;

pub(crate) fn all() -> Vec<Scenario> {
    let plain: [(&'static str, Make); 17] = [
        ("image", image),
        ("image-uncompressed", image_uncompressed),
        ("large-manifest", large_manifest),
        ("index", index),
        ("nested-index", nested_index),
        ("empty-index", empty_index),
        ("artifact", artifact),
        ("artifact-index", artifact_index),
        ("artifact-without-layers", artifact_without_layers),
        ("artifacts-with-subject", artifacts_with_subject),
        ("index-with-subject", index_with_subject),
        ("missing-subject", missing_subject),
        ("data-field", data_field),
        ("non-distributable-layers", non_distributable_layers),
        ("custom-fields", custom_fields),
        ("no-layers", no_layers),
        ("sha512", sha512),
    ];
    let mut scenarios: Vec<Scenario> = plain
        .into_iter()
        .map(|(name, make)| {
            scenario("data sets", name, async move |c: &Context| {
                check(c, &c.repo("data"), &make(&c.random), false).await
            })
        })
        .collect();
    scenarios.extend([
        scenario("data sets", "sparse", check_sparse),
        scenario("data sets", "tag-param-sha256", async |c: &Context| check_tag_params(c, Algorithm::Sha256).await),
        scenario("data sets", "tag-param-sha512", async |c: &Context| check_tag_params(c, Algorithm::Sha512).await),
        scenario("data sets", "bad-digest-image", check_bad_digest),
    ]);
    scenarios
}

fn image(random: &Random) -> Set {
    tagged_image(random, &Image::default())
}

fn image_uncompressed(random: &Random) -> Set {
    tagged_image(random, &Image { layer: Layer::Tar, ..Image::default() })
}

/// 3.9 MB of annotations: above the body limit that many frameworks set, below the 4 MiB every registry has to take.
fn large_manifest(random: &Random) -> Set {
    let annotations = (0..390).map(|at| (format!("large-annotation-{at}"), "A".repeat(10_000).into())).collect();
    tagged_image(random, &Image { common: Common { annotations, ..Common::default() }, ..Image::default() })
}

fn index(random: &Random) -> Set {
    tagged_index(random, &Image::default())
}

fn nested_index(random: &Random) -> Set {
    let mut set = Set::default();
    let children = [(); 2].map(|()| set.index_of_images(random, &Image::default()));
    let top = set.index(random, &Common::default(), &children);
    set.tag("index-of-index", &top);
    set
}

fn empty_index(random: &Random) -> Set {
    let mut set = Set::default();
    let index = set.index(random, &Common::default(), &[]);
    set.tag("empty-index", &index);
    set
}

fn artifact(random: &Random) -> Set {
    tagged_image(random, &example(EXAMPLE, None))
}

fn artifact_index(random: &Random) -> Set {
    tagged_index(random, &example(EXAMPLE, None))
}

fn artifact_without_layers(random: &Random) -> Set {
    tagged_image(random, &Image { layer: Layer::Fixed(EMPTY, b"{}"), ..example(EXAMPLE, None) })
}

/// An image without an artifact type and two artifacts, all with one subject.
fn artifacts_with_subject(random: &Random) -> Set {
    let mut set = Set::default();
    let subject = set.image(random, &Image::default());
    set.tag("image", &subject);
    let common = Common { subject: Some(subject.clone()), ..Common::default() };
    set.image(random, &Image { common, ..Image::default() });
    for (tag, artifact_type) in [("tagged-artifact1", EXAMPLE), ("tagged-artifact2", EXAMPLE_2)] {
        let artifact = set.image(random, &example(artifact_type, Some(subject.clone())));
        set.tag(tag, &artifact);
    }
    set
}

/// An index with a subject, whose children name the same subject and are referrers too.
fn index_with_subject(random: &Random) -> Set {
    let mut set = Set::default();
    let subject = set.index_of_images(random, &Image::default());
    set.tag("index", &subject);
    let artifact = set.index_of_images(random, &example(EXAMPLE, Some(subject)));
    set.tag("tagged-artifact", &artifact);
    set
}

fn missing_subject(random: &Random) -> Set {
    let digest = Algorithm::Sha256.digest(random.word().as_bytes());
    tagged_image(random, &example(EXAMPLE, Some(json!({"mediaType": MANIFEST, "digest": digest, "size": 123}))))
}

fn data_field(random: &Random) -> Set {
    tagged_image(random, &Image { common: Common { data: true, ..Common::default() }, ..Image::default() })
}

/// Two layers that are fetched elsewhere and never pushed, and one that is.
fn non_distributable_layers(random: &Random) -> Set {
    let foreign = ["+gzip", ""].map(|suffix| {
        let digest = Algorithm::Sha256.digest(random.word().as_bytes());
        let url = format!("https://store.example.com/blobs/{digest}");
        json!({"mediaType": format!("{LAYER_FOREIGN}{suffix}"), "digest": digest, "size": 123_456, "urls": [url]})
    });
    tagged_image(random, &Image { foreign: foreign.to_vec(), layers: 1, ..Image::default() })
}

fn custom_fields(random: &Random) -> Set {
    tagged_index(random, &Image { common: Common { extra: true, ..Common::default() }, ..Image::default() })
}

fn no_layers(random: &Random) -> Set {
    tagged_image(random, &Image { layers: 0, ..Image::default() })
}

/// Only by digest: a tag alone says nothing about the algorithm.
fn sha512(random: &Random) -> Set {
    let mut set = Set::default();
    set.index_of_images(random, &of_algorithm(Algorithm::Sha512));
    set
}

fn of_algorithm(algorithm: Algorithm) -> Image {
    Image { common: Common { algorithm, ..Common::default() }, ..Image::default() }
}

fn tagged_image(random: &Random, image: &Image) -> Set {
    let mut set = Set::default();
    let descriptor = set.image(random, image);
    set.tag("image", &descriptor);
    set
}

fn tagged_index(random: &Random, image: &Image) -> Set {
    let mut set = Set::default();
    let descriptor = set.index_of_images(random, image);
    set.tag("index", &descriptor);
    set
}

/// An artifact of one layer with the empty config.
pub(crate) fn example(artifact_type: &'static str, subject: Option<Value>) -> Image {
    let annotations = Map::from_iter([("org.opencontainers.conformance".to_owned(), "hello".into())]);
    let common = Common { artifact_type: Some(artifact_type), annotations, subject, ..Common::default() };
    Image { common, config: Some((EMPTY, b"{}")), layers: 1, layer: Layer::Random(EXAMPLE), ..Image::default() }
}

/// One layer of an image is missing, and one child of an index.
async fn check_sparse(context: &Context) -> Result<()> {
    let mut set = Set::default();
    let image = set.image(&context.random, &Image::default());
    set.tag("sparse-image", &image);
    set.blobs.remove(0);
    let child = set.image(&context.random, &Image::default());
    let absent = Algorithm::Sha256.digest(&context.random.bytes(1024));
    let absent = json!({"mediaType": MANIFEST, "digest": absent, "size": 1024});
    let index = set.index(&context.random, &Common::default(), &[child, absent]);
    set.tag("sparse-index", &index);
    check(context, &format!("sparse/{}", context.repo("data")), &set, false).await
}

/// Every manifest is pushed by digest with its tags as parameters, the index with two.
async fn check_tag_params(context: &Context, algorithm: Algorithm) -> Result<()> {
    let mut set = Set::default();
    let top = set.index_of_images(&context.random, &of_algorithm(algorithm));
    set.tag("tag-param", &top);
    for (at, manifest) in set.manifests.iter().enumerate() {
        set.tags.push((format!("tag-param-{at}"), manifest.digest.clone()));
    }
    check(context, &context.repo("data"), &set, true).await
}

/// White space at the end keeps the JSON valid and spoils the digest.
async fn check_bad_digest(context: &Context) -> Result<()> {
    let repo = context.repo("data");
    let mut set = Set::default();
    set.image(&context.random, &Image::default());
    push_blobs(&context.wire, &repo, &set).await?;
    let manifest = &set.manifests[0];
    let path = manifest_path(&repo, &manifest.digest);
    let bytes = [manifest.bytes.as_ref(), b"  "].concat();
    context.wire.put(&path).header("content-type", MANIFEST).body(bytes).expect_error(400, "DIGEST_INVALID").await?;
    context.wire.get(&path).expect(404).await?;
    for blob in &set.blobs {
        push::delete(&context.wire, &repo, &blob.digest).await?;
    }
    Ok(())
}

/// The whole life of a set in a repository.
async fn check(context: &Context, repo: &str, set: &Set, tag_params: bool) -> Result<()> {
    let wire = &context.wire;
    push_blobs(wire, repo, set).await.context("push")?;
    for manifest in &set.manifests {
        let tags = set.tags.iter().filter(|(_, digest)| tag_params && *digest == manifest.digest);
        let tags: Vec<&str> = tags.map(|(name, _)| name.as_str()).collect();
        push_manifest(wire, repo, &manifest.digest, manifest, &tags).await.context("push by digest")?;
    }
    for (name, digest) in set.tags.iter().filter(|_| !tag_params) {
        push_manifest(wire, repo, name, find(set, digest)?, &[]).await.context("push by tag")?;
    }
    check_tag_list(wire, repo, set).await.context("tag-list")?;
    for (reference, manifest) in references(set)? {
        read_manifest(wire, repo, reference, manifest).await.context("head and pull")?;
    }
    for blob in &set.blobs {
        push::read_back(wire, repo, blob).await.context("head and pull")?;
    }
    check_referrers(wire, repo, set).await.context("referrers")?;
    delete(wire, repo, set).await.context("delete")
}

/// Pushes the blobs of a set, each in another way.
pub(crate) async fn push_blobs(wire: &Wire, repo: &str, set: &Set) -> Result<()> {
    for (blob, way) in set.blobs.iter().zip(WAYS.into_iter().cycle()) {
        push::push(wire, repo, blob, way).await?;
    }
    Ok(())
}

/// Pushes a manifest under a tag or its digest and checks the 201 and its `Location`.
pub(crate) async fn push_manifest(
    wire: &Wire,
    repo: &str,
    reference: &str,
    manifest: &Manifest,
    tags: &[&str],
) -> Result<()> {
    let mut target = manifest_path(repo, reference);
    for tag in tags {
        target = with_query(&target, &format!("tag={tag}"));
    }
    let call = wire.put(&target).header("content-type", manifest.media_type).body(manifest.bytes.clone());
    let answer = call.expect(201).await?;
    answer.expect_header("docker-content-digest", &manifest.digest)?;
    if let Some(subject) = &manifest.subject {
        answer.expect_header("oci-subject", subject)?;
    }
    let named = answer.headers.get_all("oci-tag").iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    for tag in tags {
        ensure!(named.contains(tag), "{}: OCI-Tag {named:?} lacks {tag}", answer.describe());
    }
    let got = wire.get(&answer.location()?).expect(200).await?;
    got.expect_header("content-type", manifest.media_type)?;
    got.expect_body(&manifest.bytes)?;
    Ok(())
}

/// Reads a manifest by HEAD and GET, with the two `Accept` lines that the suite sends.
pub(crate) async fn read_manifest(wire: &Wire, repo: &str, reference: &str, manifest: &Manifest) -> Result<()> {
    let path = manifest_path(repo, reference);
    let head = wire.head(&path).header("accept", INDEX).header("accept", MANIFEST).expect(200).await?;
    head.expect_header("content-length", &manifest.bytes.len().to_string())?;
    let got = wire.get(&path).header("accept", INDEX).header("accept", MANIFEST).expect(200).await?;
    got.expect_body(&manifest.bytes)?;
    for answer in [head, got] {
        answer.expect_header("content-type", manifest.media_type)?;
        answer.expect_header("docker-content-digest", &manifest.digest)?;
    }
    Ok(())
}

/// The path of a manifest.
pub(crate) fn manifest_path(repo: &str, reference: &str) -> String {
    format!("/v2/{repo}/manifests/{reference}")
}

async fn check_tag_list(wire: &Wire, repo: &str, set: &Set) -> Result<()> {
    let path = format!("/v2/{repo}/tags/list");
    let listed = tags_of(&wire.get(&path).expect(200).await?.json()?)?;
    let mut wanted: Vec<String> = set.tags.iter().map(|(name, _)| name.clone()).collect();
    wanted.sort();
    ensure!(listed == wanted, "the list is {listed:?}, expected {wanted:?}");
    if listed.len() >= 2 {
        let middle = listed.len() / 2;
        let target = with_query(&path, &format!("last={}", listed[middle - 1]));
        let rest = tags_of(&wire.get(&target).expect(200).await?.json()?)?;
        ensure!(rest == wanted[middle..], "after {} comes {rest:?}", listed[middle - 1]);
    }
    Ok(())
}

/// The `tags` of a tag list.
pub(crate) fn tags_of(list: &Value) -> Result<Vec<String>> {
    serde_json::from_value(list["tags"].clone()).with_context(|| format!("not a tag list: {list}"))
}

async fn check_referrers(wire: &Wire, repo: &str, set: &Set) -> Result<()> {
    for (subject, descriptor) in &set.referrers {
        let path = format!("/v2/{repo}/referrers/{subject}");
        let all = referrers_at(wire, &path).await?;
        ensure!(all.contains(descriptor), "the referrers of {subject} are {all:?}; {descriptor} is missing");
        let Some(artifact_type) = descriptor["artifactType"].as_str() else { continue };
        let path = with_query(&path, &format!("artifactType={}", artifact_type.replace('+', "%2B")));
        wire.get(&path).expect(200).await?.expect_header("oci-filters-applied", "artifactType")?;
        let some = referrers_at(wire, &path).await?;
        ensure!(some.contains(descriptor), "filtered by {artifact_type}, {descriptor} is missing");
        ensure!(some.iter().all(|it| it["artifactType"] == artifact_type), "filtered by {artifact_type}: {some:?}");
    }
    Ok(())
}

/// The descriptors of one page of referrers.
pub(crate) async fn referrers_at(wire: &Wire, path: &str) -> Result<Vec<Value>> {
    let answer = wire.get(path).expect(200).await?;
    answer.expect_header("content-type", INDEX)?;
    let index = answer.json()?;
    ensure!(index["schemaVersion"] == 2 && index["mediaType"] == INDEX, "not an OCI index: {index}");
    index["manifests"].as_array().cloned().context("an index without manifests")
}

async fn delete(wire: &Wire, repo: &str, set: &Set) -> Result<()> {
    let tags = set.tags.iter().map(|(name, _)| name);
    let digests = set.manifests.iter().rev().map(|manifest| &manifest.digest);
    for reference in tags.chain(digests) {
        let path = manifest_path(repo, reference);
        wire.delete(&path).expect(202).await?;
        wire.head(&path).expect(404).await?;
    }
    for blob in &set.blobs {
        push::delete(wire, repo, &blob.digest).await?;
    }
    Ok(())
}

fn references(set: &Set) -> Result<Vec<(&str, &Manifest)>> {
    let mut references: Vec<_> = set.manifests.iter().map(|it| (it.digest.as_str(), it)).collect();
    for (name, digest) in &set.tags {
        references.push((name, find(set, digest)?));
    }
    Ok(references)
}

fn find<'a>(set: &'a Set, digest: &str) -> Result<&'a Manifest> {
    set.manifests.iter().find(|manifest| manifest.digest == digest).context("a tag of nothing")
}
