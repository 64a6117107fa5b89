//! The groups of the official suite that push one blob, each in its own way, with the right digest and with a wrong one.

use anyhow::Result;

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::push::{self, Chunked, Way};

/// Blobs that span three chunks, the last one shorter.
const CHUNKED_BYTES: usize = 3 * 1024 - 5;

/// Pushes with the right digest.
pub(crate) fn good(group: &'static str, algorithm: Algorithm) -> Vec<Scenario> {
    let three = |put_last, out_of_order| Way::Chunked(Chunked { chunks: 3, put_last, out_of_order });
    let cases = [
        ("post only", Way::PostOnly, 512),
        ("post+put", Way::PostPut, 512),
        ("chunked single", Way::Chunked(Chunked::plain(1)), 512),
        ("stream", Way::Stream, 512),
        ("chunked multi", three(false, false), CHUNKED_BYTES),
        ("chunked multi and put chunk", three(true, false), CHUNKED_BYTES),
        ("chunked out-of-order", three(false, true), CHUNKED_BYTES),
        ("chunked out-of-order and put chunk", three(true, true), CHUNKED_BYTES),
    ];
    let make = |(name, way, size)| {
        scenario(group, name, async move |context: &Context| push_good(context, algorithm, way, size).await)
    };
    cases.into_iter().map(make).collect()
}

/// Pushes whose bytes are not those of the digest.
pub(crate) fn bad(group: &'static str, algorithm: Algorithm) -> Vec<Scenario> {
    let put_last = Chunked { chunks: 3, put_last: true, out_of_order: false };
    let cases = [
        ("bad digest post only", Way::PostOnly),
        ("bad digest post+put", Way::PostPut),
        ("bad digest chunked", Way::Chunked(Chunked::plain(3))),
        ("bad digest chunked and put chunk", Way::Chunked(put_last)),
        ("bad digest stream", Way::Stream),
    ];
    let make =
        |(name, way)| scenario(group, name, async move |context: &Context| push_bad(context, algorithm, way).await);
    cases.into_iter().map(make).collect()
}

async fn push_good(context: &Context, algorithm: Algorithm, way: Way, size: usize) -> Result<()> {
    let repo = context.repo("layers");
    let blob = Blob::new(algorithm, context.random.bytes(size));
    push::push(&context.wire, &repo, &blob, way).await?;
    push::read_back(&context.wire, &repo, &blob).await?;
    push::delete(&context.wire, &repo, &blob.digest).await
}

async fn push_bad(context: &Context, algorithm: Algorithm, way: Way) -> Result<()> {
    let blob = Blob::new(algorithm, context.random.bytes(CHUNKED_BYTES)).spoiled();
    push::push_bad(&context.wire, &context.repo("layers"), &blob, way).await
}
