//! What a request costs before it reaches a store: routes, manifests, digests, ranges, lists, hashing.
//!
//! `cargo bench --bench pure`, or a part of it: `cargo bench --bench pure -- route`. Everything here is pure; what depends
//! on the size of the registry is in `growth`.

use std::hint::black_box;

use bonded::oci::digest::{Algorithm, Digest, Hasher};
use bonded::oci::manifest::{Manifest, ManifestLimits};
use bonded::oci::name::{RepoName, Tag};
use bonded::oci::page::PageRequest;
use bonded::oci::range::{ContentRange, Ranges, content_range};
use bonded::oci::referrers::referrers_index;
use bonded::oci::route::{Route, location_blob, target_tags};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use serde_json::{Value, json};

criterion_group!(benches, routes, manifests, digests, ranges, lists, hashing);
criterion_main!(benches);

/// The limits of a server that was not configured otherwise.
const LIMITS: ManifestLimits = ManifestLimits { depth_max: 64, descriptors_max: 1000, annotations_max: 1000 };

const RANGES_MAX: usize = 16;

fn routes(criterion: &mut Criterion) {
    let digest = digest(0);
    let cases = [
        ("manifest_by_tag", Method::GET, "/v2/library/service/manifests/v1.2.3".to_owned(), None),
        ("manifest_by_digest", Method::GET, format!("/v2/library/service/manifests/{digest}"), None),
        ("blob", Method::GET, format!("/v2/library/service/blobs/{digest}"), None),
        ("upload_start", Method::POST, "/v2/library/service/blobs/uploads/".to_owned(), None),
        (
            "upload_finish",
            Method::PUT,
            "/v2/library/service/blobs/uploads/0b4e8a5e-6d9c-4b57-8f7a-2f4f5b8c1d3e".to_owned(),
            Some(format!("digest=sha256%3A{}", digest.hex())),
        ),
        ("tags_page", Method::GET, "/v2/library/service/tags/list".to_owned(), Some("n=100&last=v1.2.3".to_owned())),
    ];
    let mut group = criterion.benchmark_group("route");
    for (name, method, path, query) in cases {
        group.bench_function(name, |b| {
            b.iter(|| Route::parse(black_box(&method), black_box(&path), black_box(query.as_deref())));
        });
    }
}

fn manifests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manifest");
    for (name, payload) in [
        ("image_3_layers", image(3)),
        ("image_100_layers", image(100)),
        ("index_20", index(20)),
        ("referrer", referrer()),
    ] {
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |b| b.iter(|| Manifest::parse(black_box(&payload), None, &LIMITS)));
    }
    let payload = referrer();
    let parsed = Manifest::parse(&payload, None, &LIMITS).expect("a manifest");
    let digest = digest(0);
    group.bench_function("referrer_descriptor", |b| {
        b.iter(|| black_box(&parsed).referrer_descriptor(&digest, payload.len() as u64));
    });
}

fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = Digest::of(algorithm, b"some content");
        let text = digest.to_string();
        group.bench_function(BenchmarkId::new("parse", algorithm), |b| b.iter(|| black_box(&text).parse::<Digest>()));
        group.bench_function(BenchmarkId::new("render", algorithm), |b| b.iter(|| black_box(&digest).to_string()));
    }
}

fn ranges(criterion: &mut Criterion) {
    const SIZE: u64 = 100 << 20;
    let mut group = criterion.benchmark_group("range");
    for (name, header) in [
        ("one", "bytes=1048576-2097151"),
        ("suffix", "bytes=-500"),
        ("eight", "bytes=0-0,2-3,5-8,100-200,1000-,-7,50-60,70-80"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let ranges = Ranges::parse(black_box(header), RANGES_MAX).ok().flatten();
                ranges.map(|ranges| ranges.select(black_box(SIZE)))
            });
        });
    }
    group.bench_function("render", |b| b.iter(|| content_range(black_box(&(1_048_576..2_097_152)), SIZE)));
    group.bench_function("of_a_chunk", |b| b.iter(|| ContentRange::parse(black_box("1048576-2097151"))));
}

fn lists(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("list");
    let parsed = Manifest::parse(&referrer(), None, &LIMITS).expect("a manifest");
    let descriptors: Vec<String> = (0..100).map(|n| parsed.referrer_descriptor(&digest(n), 700)).collect();
    let descriptors = descriptors.join(",");
    group.bench_function("referrers_100", |b| b.iter(|| referrers_index(black_box(&descriptors))));
    let names: Vec<String> = (0..100).map(|n| format!("v1.{n}.0")).collect();
    group.bench_function("tags_from_rows_100", |b| {
        b.iter(|| black_box(&names).iter().map(|name| name.parse::<Tag>()).collect::<Result<Vec<_>, _>>());
    });
    let repo: RepoName = "library/service".parse().expect("a name");
    let page = PageRequest { n: Some(100), last: Some("v1.2.3".to_owned()) };
    group.bench_function("next_page", |b| b.iter(|| target_tags(black_box(&repo), black_box(&page))));
    let digest = digest(0);
    group.bench_function("location", |b| b.iter(|| location_blob(black_box(&repo), black_box(&digest))));
}

fn hashing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    for len in [1 << 10, 64 << 10, 1 << 20] {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        group.throughput(Throughput::Bytes(data.len() as u64));
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let id = BenchmarkId::new(algorithm.as_str(), len);
            group.bench_with_input(id, &data, |b, data| b.iter(|| Digest::of(algorithm, black_box(data))));
        }
        group.bench_with_input(BenchmarkId::new("both", len), &data, |b, data| {
            b.iter(|| {
                let data = black_box(data);
                (Digest::of(Algorithm::Sha256, data), Digest::of(Algorithm::Sha512, data))
            });
        });
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"the first bytes of an upload");
    group.throughput(Throughput::Elements(1));
    group.bench_function("save_and_restore", |b| b.iter(|| Hasher::restore(&black_box(&hasher).save())));
}

fn digest(number: u32) -> Digest {
    Digest::of(Algorithm::Sha256, &number.to_le_bytes())
}

fn descriptor(media_type: &str, number: u32) -> Value {
    json!({"mediaType": media_type, "digest": digest(number).to_string(), "size": 1000 + number})
}

fn image(layers: u32) -> Vec<u8> {
    let layer = |n| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", n);
    let image = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", 0),
        "layers": (1..=layers).map(layer).collect::<Vec<_>>(),
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    });
    serde_json::to_vec_pretty(&image).expect("JSON")
}

fn index(children: u32) -> Vec<u8> {
    let child = |n| {
        let mut child = descriptor("application/vnd.oci.image.manifest.v1+json", n);
        child["platform"] = json!({"architecture": "arm64", "os": "linux", "variant": "v8"});
        child
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": (1..=children).map(child).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&index).expect("JSON")
}

fn referrer() -> Vec<u8> {
    let referrer = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.sbom.v1+json",
        "config": descriptor("application/vnd.oci.empty.v1+json", 0),
        "layers": [descriptor("application/vnd.example.sbom.v1+json", 1)],
        "subject": descriptor("application/vnd.oci.image.manifest.v1+json", 2),
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    });
    serde_json::to_vec(&referrer).expect("JSON")
}
