//! Error bodies: each condition has its status and its code, and never an empty message.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::push::{self, Way, blob_path};
use crate::wire::with_query;

const GROUP: &str = "error bodies";

/// Name, method, target, status, code. `REPO` is a repository that holds one blob, `DIGEST` a digest of nothing.
const REQUESTS: [(&str, Method, &str, u16, &str); 27] = [
    ("blob unknown", Method::GET, "/v2/REPO/blobs/DIGEST", 404, "BLOB_UNKNOWN"),
    ("blob to delete unknown", Method::DELETE, "/v2/REPO/blobs/DIGEST", 404, "BLOB_UNKNOWN"),
    ("blob digest malformed", Method::GET, "/v2/REPO/blobs/sha256:short", 400, "DIGEST_INVALID"),
    ("blob digest in upper case", Method::GET, "/v2/REPO/blobs/UPPER", 400, "DIGEST_INVALID"),
    ("digest algorithm unknown", Method::GET, "/v2/REPO/blobs/md5:00", 400, "DIGEST_INVALID"),
    ("manifest unknown by tag", Method::GET, "/v2/REPO/manifests/none", 404, "MANIFEST_UNKNOWN"),
    ("manifest unknown by digest", Method::GET, "/v2/REPO/manifests/DIGEST", 404, "MANIFEST_UNKNOWN"),
    ("manifest of a tag that cannot be", Method::GET, "/v2/REPO/manifests/a+b", 404, "MANIFEST_UNKNOWN"),
    ("tag to delete unknown", Method::DELETE, "/v2/REPO/manifests/none", 404, "MANIFEST_UNKNOWN"),
    ("manifest to delete unknown", Method::DELETE, "/v2/REPO/manifests/DIGEST", 404, "MANIFEST_UNKNOWN"),
    ("tags of nothing", Method::GET, "/v2/conformance/no-such-repository/tags/list", 404, "NAME_UNKNOWN"),
    ("tags of a repository without manifests", Method::GET, "/v2/REPO/tags/list", 404, "NAME_UNKNOWN"),
    ("name in upper case", Method::GET, "/v2/Upper/tags/list", 400, "NAME_INVALID"),
    ("name with an encoded slash", Method::GET, "/v2/a%2Fb/tags/list", 400, "NAME_INVALID"),
    ("name to push to malformed", Method::POST, "/v2/a..b/blobs/uploads/", 400, "NAME_INVALID"),
    ("referrers of no digest", Method::GET, "/v2/REPO/referrers/sha256:short", 400, "DIGEST_INVALID"),
    ("n is no number", Method::GET, "/v2/REPO/tags/list?n=ten", 400, "UNSUPPORTED"),
    ("n is negative", Method::GET, "/v2/_catalog?n=-1", 400, "UNSUPPORTED"),
    ("session unknown to GET", Method::GET, "/v2/REPO/blobs/uploads/0123", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("session unknown to PATCH", Method::PATCH, "/v2/REPO/blobs/uploads/0123", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("session unknown to PUT", Method::PUT, "/v2/REPO/blobs/uploads/0123?digest=DIGEST", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("session unknown to DELETE", Method::DELETE, "/v2/REPO/blobs/uploads/0123", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("digest of a POST malformed", Method::POST, "/v2/REPO/blobs/uploads/?digest=sha256:1", 400, "DIGEST_INVALID"),
    ("digest-algorithm unknown", Method::POST, "/v2/REPO/blobs/uploads/?digest-algorithm=md5", 400, "DIGEST_INVALID"),
    ("tag to set malformed", Method::PUT, "/v2/REPO/manifests/a+b", 400, "MANIFEST_INVALID"),
    ("method not of this path", Method::POST, "/v2/REPO/blobs/DIGEST", 405, "UNSUPPORTED"),
    ("path of nothing", Method::GET, "/v2/REPO/nonsense", 404, "UNSUPPORTED"),
];

pub(crate) fn all() -> Vec<Scenario> {
    let make = |(name, method, target, status, code): (&'static str, Method, &'static str, u16, &'static str)| {
        scenario(GROUP, name, async move |context: &Context| refused(context, &method, target, status, code).await)
    };
    let mut scenarios: Vec<Scenario> = REQUESTS.into_iter().map(make).collect();
    scenarios.extend([
        scenario(GROUP, "PUT of a session without a digest", put_without_digest),
        scenario(GROUP, "chunk out of order", chunk_out_of_order),
        scenario(GROUP, "Content-Range malformed", content_range_malformed),
        scenario(GROUP, "range not satisfiable", range_not_satisfiable),
        scenario(GROUP, "HEAD has no body", head_without_body),
    ]);
    scenarios
}

async fn refused(context: &Context, method: &Method, target: &str, status: u16, code: &str) -> Result<()> {
    let repo = context.repo("errors");
    push::push(&context.wire, &repo, &Blob::random(&context.random, 64), Way::PostOnly).await?;
    let digest = Algorithm::Sha256.digest(context.random.word().as_bytes());
    let upper = format!("sha256:{}", "A".repeat(64));
    let target = target.replace("REPO", &repo).replace("DIGEST", &digest).replace("UPPER", &upper);
    let answer = context.wire.call(method.clone(), &target).body("").expect_error(status, code).await?;
    if status == 405 {
        let allow = answer.header("allow")?;
        ensure!(!allow.contains(method.as_str()), "{}: Allow is {allow:?}", answer.describe());
    }
    Ok(())
}

async fn put_without_digest(context: &Context) -> Result<()> {
    let location = push::begin(&context.wire, &context.repo("errors")).await?;
    context.wire.put(&location).body("abc").expect_error(400, "DIGEST_INVALID").await?;
    let target = with_query(&location, "digest=sha256:short");
    context.wire.put(&target).body("abc").expect_error(400, "DIGEST_INVALID").await?;
    context.wire.get(&location).expect(204).await?;
    Ok(())
}

/// The 416 says where the session stands, so that a client needs no second request.
async fn chunk_out_of_order(context: &Context) -> Result<()> {
    let location = push::begin(&context.wire, &context.repo("errors")).await?;
    let blob = Blob::random(&context.random, 300);
    let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, 0..100).await?.expect(202)?;
    let location = answer.location()?;
    let refused = push::chunk(&context.wire, Method::PATCH, &location, &blob, 200..300).await?;
    refused.check_error(416, "BLOB_UPLOAD_INVALID")?;
    refused.expect_header("range", "0-99")?;
    Ok(())
}

async fn content_range_malformed(context: &Context) -> Result<()> {
    let location = push::begin(&context.wire, &context.repo("errors")).await?;
    for range in ["one-two", "5", "9-0"] {
        let call = context.wire.patch(&location).header("content-range", range).body("abc");
        let answer = call.send().await?.expect_any(&[400, 416])?;
        answer.check_error(answer.status, "BLOB_UPLOAD_INVALID").with_context(|| format!("Content-Range: {range}"))?;
    }
    context.wire.get(&location).expect(204).await?;
    Ok(())
}

async fn range_not_satisfiable(context: &Context) -> Result<()> {
    let repo = context.repo("errors");
    let blob = Blob::random(&context.random, 100);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    let call = context.wire.get(&blob_path(&repo, &blob.digest)).header("range", "bytes=100-");
    let answer = call.expect_error(416, "SIZE_INVALID").await?;
    answer.expect_header("content-range", "bytes */100")?;
    Ok(())
}

async fn head_without_body(context: &Context) -> Result<()> {
    let repo = context.repo("errors");
    let digest = Algorithm::Sha256.digest(b"nothing");
    for target in [format!("/v2/{repo}/manifests/none"), blob_path(&repo, &digest)] {
        let answer = context.wire.head(&target).expect(404).await?;
        ensure!(answer.body.is_empty(), "{} has a body", answer.describe());
    }
    Ok(())
}
