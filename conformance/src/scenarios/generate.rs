//! Images, artifacts and indexes of random content, in the shapes of the official suite's data sets.
//!
//! A [`Set`] holds what has to be pushed, in an order in which a strict registry accepts it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::content::{Algorithm, Blob, Random, base64, gzip, tar};
use crate::scenarios::data_sets::{CONFIG, INDEX, LAYER, LAYER_GZIP, MANIFEST};

/// A manifest or index and how to push it.
#[derive(Clone)]
pub(crate) struct Manifest {
    /// Its digest.
    pub(crate) digest: String,
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// The digest of its subject.
    pub(crate) subject: Option<String>,
}

/// Content that belongs together.
#[derive(Default)]
pub(crate) struct Set {
    /// Blobs, each once.
    pub(crate) blobs: Vec<Blob>,
    /// Manifests; what is named stands before what names it.
    pub(crate) manifests: Vec<Manifest>,
    /// Tag and digest.
    pub(crate) tags: Vec<(String, String)>,
    /// Subject and the descriptor that the referrers list has to hold.
    pub(crate) referrers: Vec<(String, Value)>,
}

/// What the layers of an image are.
#[derive(Clone)]
pub(crate) enum Layer {
    /// A tar archive, compressed.
    Gzip,
    /// A tar archive.
    Tar,
    /// Random bytes of this type.
    Random(&'static str),
    /// These bytes of this type.
    Fixed(&'static str, &'static [u8]),
}

/// What is common to images and indexes.
#[derive(Clone)]
pub(crate) struct Common {
    /// Algorithm of every digest.
    pub(crate) algorithm: Algorithm,
    /// `artifactType`.
    pub(crate) artifact_type: Option<&'static str>,
    /// `annotations`.
    pub(crate) annotations: Map<String, Value>,
    /// `subject`, a descriptor.
    pub(crate) subject: Option<Value>,
    /// Whether there is a field that no specification knows.
    pub(crate) extra: bool,
    /// Whether descriptors carry their content in `data`.
    pub(crate) data: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            artifact_type: None,
            annotations: Map::new(),
            subject: None,
            extra: false,
            data: false,
        }
    }
}

/// An image or an artifact.
#[derive(Clone)]
pub(crate) struct Image {
    /// What it shares with indexes.
    pub(crate) common: Common,
    /// Type and bytes of a config that is not an image config.
    pub(crate) config: Option<(&'static str, &'static [u8])>,
    /// Number of layers.
    pub(crate) layers: usize,
    /// What the layers are.
    pub(crate) layer: Layer,
    /// Descriptors of layers that are not pushed, before the others.
    pub(crate) foreign: Vec<Value>,
    /// `architecture` of the platform.
    pub(crate) architecture: &'static str,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            common: Common::default(),
            config: None,
            layers: 2,
            layer: Layer::Gzip,
            foreign: Vec::new(),
            architecture: "amd64",
        }
    }
}

impl Set {
    /// Adds an image with its blobs and gives its descriptor.
    pub(crate) fn image(&mut self, random: &Random, image: &Image) -> Value {
        let common = &image.common;
        let mut layers = image.foreign.clone();
        let mut diffs: Vec<Value> = layers.iter().map(|layer| layer["digest"].clone()).collect();
        for _ in 0..image.layers {
            let (layer, diff) = self.layer(random, image);
            layers.push(layer);
            diffs.push(diff);
        }
        let config = if let Some((media_type, bytes)) = image.config {
            self.blob(common, media_type, bytes)
        } else {
            let mut config = json!({
                "author": "conformance", "os": "linux", "architecture": image.architecture,
                "rootfs": {"type": "layers", "diff_ids": diffs}, "config": {"Labels": {"unique": random.word()}},
            });
            add_extra(&mut config, random, common);
            self.blob(common, CONFIG, config.to_string().into_bytes())
        };
        let referrer_type = common.artifact_type.map_or_else(|| config["mediaType"].clone(), Value::from);
        let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.manifest(random, common, MANIFEST, body, Some(referrer_type))
    }

    /// Adds an index over these descriptors and gives its own.
    pub(crate) fn index(&mut self, random: &Random, common: &Common, children: &[Value]) -> Value {
        let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        self.manifest(random, common, INDEX, body, common.artifact_type.map(Value::from))
    }

    /// Adds an index over images of two platforms.
    pub(crate) fn index_of_images(&mut self, random: &Random, image: &Image) -> Value {
        let children: Vec<Value> = ["amd64", "arm64"]
            .into_iter()
            .map(|architecture| {
                let mut child = self.image(random, &Image { architecture, ..image.clone() });
                child["platform"] = json!({"os": "linux", "architecture": architecture});
                child
            })
            .collect();
        self.index(random, &image.common, &children)
    }

    /// Gives a tag to the content of a descriptor.
    pub(crate) fn tag(&mut self, name: impl Into<String>, descriptor: &Value) {
        self.tags.push((name.into(), descriptor["digest"].as_str().unwrap_or_default().to_owned()));
    }

    /// A layer's descriptor, and the digest that it has uncompressed.
    fn layer(&mut self, random: &Random, image: &Image) -> (Value, Value) {
        let archive = tar("hello.txt", random.word().as_bytes());
        let diff = Value::from(image.common.algorithm.digest(&archive));
        let layer = match image.layer {
            Layer::Gzip => self.blob(&image.common, LAYER_GZIP, gzip(&archive)),
            Layer::Tar => self.blob(&image.common, LAYER, archive),
            Layer::Random(media_type) => self.blob(&image.common, media_type, random.bytes(2048)),
            Layer::Fixed(media_type, bytes) => self.blob(&image.common, media_type, bytes),
        };
        (layer, diff)
    }

    fn blob(&mut self, common: &Common, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let blob = Blob::new(common.algorithm, bytes);
        let mut descriptor = json!({"mediaType": media_type, "digest": blob.digest, "size": blob.len()});
        if common.data {
            descriptor["data"] = base64(&blob.bytes).into();
        }
        if self.blobs.iter().all(|known| known.digest != blob.digest) {
            self.blobs.push(blob);
        }
        descriptor
    }

    fn manifest(
        &mut self,
        random: &Random,
        common: &Common,
        media_type: &'static str,
        mut body: Value,
        referrer_type: Option<Value>,
    ) -> Value {
        // Two equal indexes of nothing would be one manifest.
        let mut annotations = common.annotations.clone();
        annotations.insert(format!("org.example.{}", random.word()), random.word().into());
        body["annotations"] = annotations.clone().into();
        if let Some(artifact_type) = common.artifact_type {
            body["artifactType"] = artifact_type.into();
        }
        if let Some(subject) = &common.subject {
            body["subject"] = subject.clone();
        }
        add_extra(&mut body, random, common);
        let bytes = Bytes::from(body.to_string());
        let digest = common.algorithm.digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let subject = common.subject.as_ref().and_then(|subject| subject["digest"].as_str()).map(str::to_owned);
        if let Some(subject) = &subject {
            let mut entry = descriptor.clone();
            entry["annotations"] = annotations.into();
            if let Some(referrer_type) = referrer_type {
                entry["artifactType"] = referrer_type;
            }
            self.referrers.push((subject.clone(), entry));
        }
        self.manifests.push(Manifest { digest, bytes, media_type, subject });
        descriptor
    }
}

fn add_extra(body: &mut Value, random: &Random, common: &Common) {
    if common.extra {
        body[format!("org.{}", random.word())] = random.word().into();
    }
}
