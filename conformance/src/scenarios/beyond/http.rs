//! What holds for every request: names, hosts, encodings, identifiers, and the operator's pages.

use anyhow::{Result, ensure};

use crate::content::Blob;
use crate::raw::Connection;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::push_image;
use crate::scenarios::data_sets::{manifest_path, read_manifest};
use crate::scenarios::push::{self, Way, blob_path};

const GROUP: &str = "http";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "repositories called like routes", named_like_routes),
        scenario(GROUP, "nothing is encoded", nothing_encoded),
        scenario(GROUP, "host guard", host_guard),
        scenario(GROUP, "request identifiers", request_ids),
        scenario(GROUP, "without the final slash of /v2/", base_without_slash),
        scenario(GROUP, "health", health),
        scenario(GROUP, "metrics name no repository", metrics),
        scenario(GROUP, "garbage harms nobody", garbage),
    ]
}

async fn named_like_routes(context: &Context) -> Result<()> {
    let base = context.repo("http");
    for name in ["manifests", "blobs", "tags/list", "blobs/uploads", "referrers/x", "manifests/latest"] {
        let repo = format!("{base}/{name}");
        let image = push_image(context, &repo, "latest").await?;
        read_manifest(&context.wire, &repo, "latest", &image).await?;
        context.wire.get(&format!("/v2/{repo}/tags/list")).expect(200).await?;
    }
    Ok(())
}

/// A client that un-compresses loses length and digest.
async fn nothing_encoded(context: &Context) -> Result<()> {
    let repo = context.repo("http");
    let image = push_image(context, &repo, "latest").await?;
    let blob = Blob::new(crate::content::Algorithm::Sha256, vec![b'a'; 100_000]);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    let targets = [
        manifest_path(&repo, "latest"),
        blob_path(&repo, &blob.digest),
        format!("/v2/{repo}/tags/list"),
        format!("/v2/{repo}/referrers/{}", image.digest),
    ];
    for target in targets {
        let answer = context.wire.get(&target).header("accept-encoding", "zstd, gzip, br").expect(200).await?;
        ensure!(!answer.has("content-encoding"), "{} is encoded", answer.describe());
        answer.expect_header("content-length", &answer.body.len().to_string())?;
    }
    Ok(())
}

/// Without accounts only loopback names are served, so that no web page reaches the registry by DNS rebinding.
async fn host_guard(context: &Context) -> Result<()> {
    context.own_server()?;
    let (_, port) = context.wire.authority().rsplit_once(':').unwrap_or_default();
    for host in ["example.com", "localhost.example.com", "10.0.0.1", "registry.local:5000"] {
        context.wire.get("/v2/").header("host", host).expect_error(421, "DENIED").await?;
    }
    let loopback = ["localhost", "registry.localhost", "127.0.0.1", "127.1.2.3", "[::1]"];
    for host in loopback.map(|host| format!("{host}:{port}")).iter().map(String::as_str).chain(loopback) {
        context.wire.get("/v2/").header("host", host).expect(200).await?;
    }
    Ok(())
}

async fn request_ids(context: &Context) -> Result<()> {
    context.own_server()?;
    let answer = context.wire.get("/v2/").header("x-request-id", "conformance-1").expect(200).await?;
    answer.expect_header("x-request-id", "conformance-1")?;
    let first = context.wire.get("/v2/").expect(200).await?.header("x-request-id")?.to_owned();
    let second = context.wire.get("/v2/none/manifests/x").expect(404).await?.header("x-request-id")?.to_owned();
    ensure!(first != second, "two requests have one identifier, {first}");
    Ok(())
}

async fn base_without_slash(context: &Context) -> Result<()> {
    for target in ["/v2", "/v2/"] {
        context.wire.get(target).expect(200).await?.expect_header("docker-distribution-api-version", "registry/2.0")?;
        context.wire.head(target).expect(200).await?;
    }
    Ok(())
}

async fn health(context: &Context) -> Result<()> {
    context.own_server()?;
    for target in ["/health", "/health/live", "/health/ready"] {
        context.wire.get(target).expect(200).await?;
    }
    Ok(())
}

async fn metrics(context: &Context) -> Result<()> {
    context.own_server()?;
    let repo = context.repo("http");
    push_image(context, &repo, "latest").await?;
    let answer = context.wire.get("/metrics").expect(200).await?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(text.contains("# TYPE "), "{} is no Prometheus page", answer.describe());
    ensure!(!text.contains("conformance/"), "a metric names a repository");
    Ok(())
}

async fn garbage(context: &Context) -> Result<()> {
    let noise = context.random.bytes(2000);
    let requests: [&[u8]; 5] = [
        &noise,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v2/%ff%fe/manifests/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v2/a/blobs/sha256:%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ];
    for request in requests {
        let mut connection = Connection::open(context.wire.authority()).await?;
        // Hanging up is as good an answer as 400.
        if connection.send(request).await.is_ok()
            && let Ok(head) = connection.head().await
        {
            ensure!((400..500).contains(&head.status) || head.status == 505, "garbage is answered by {}", head.text);
        }
    }
    context.wire.get("/v2/").expect(200).await?;
    Ok(())
}
