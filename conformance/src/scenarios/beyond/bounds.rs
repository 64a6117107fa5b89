//! What bounds clients: quotas of namespaces and rates of requests, each on a server of its own.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::content::{Algorithm, Blob};
use crate::runner::{Context, Scenario, scenario};
use crate::server::Server;
use crate::wire::{Answer, Call, Wire, with_query};

const GROUP: &str = "bounds";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "a full namespace takes no session, and one in flight goes on", full_namespace),
        scenario(GROUP, "too many requests to /v2 are told to come again within a minute", too_many_requests),
    ]
}

const KIB: usize = 1 << 10;

/// Longest time until the server has noticed what the command line changed.
const NOTICED_MAX: Duration = Duration::from_secs(10);

/// A server with a namespace `team`, which may hold a MiB, and a token of somebody who may push there.
struct Bounded {
    server: Server,
    wire: Wire,
    authorization: String,
    _secret: TempDir,
}

impl Bounded {
    async fn start(context: &Context) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bonded-secret-").tempdir()?;
        let secret = folder.path().join("secret");
        std::fs::write(&secret, [context.random.word(), "0".repeat(32)].concat())?;
        let server = context.start_server(&format!("auth.secret_file = \"{}\"\n", secret.display())).await?;
        let add = ["user", "add", "root", "--admin", "--password-stdin"];
        server.command(&add, "a stone bridge in autumn").await?;
        server.command(&["ns", "create", "team", "--owner", "root"], "").await?;
        server.command(&["ns", "quota", "team", "--bytes", "1MiB"], "").await?;
        let token = ["token", "create", "--user", "root", "--scope", "team/**:pull,push", "--expires", "1d"];
        let authorization = format!("Bearer {}", server.command(&token, "").await?);
        let wire = Wire::new(&server.url())?;
        let bounded = Self { server, wire, authorization, _secret: folder };
        bounded.wait_until_noticed().await?;
        Ok(bounded)
    }

    /// The token was made last, and nobody has asked for what it may do before, so a server that takes it knows the quota.
    async fn wait_until_noticed(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let nobody = self.wire.post(UPLOADS).send().await?.status;
            let somebody = self.with_token(self.wire.post(UPLOADS)).send().await?.status;
            if (nobody, somebody) == (401, 202) {
                return Ok(());
            }
            ensure!(begin.elapsed() < NOTICED_MAX, "the server does not notice accounts: {nobody}, {somebody}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn with_token(&self, call: Call) -> Call {
        call.header("authorization", &self.authorization)
    }

    async fn begin(&self) -> Result<String> {
        self.with_token(self.wire.post(UPLOADS)).expect(202).await?.location()
    }

    async fn patch(&self, location: &str, bytes: &[u8], status: u16) -> Result<Answer> {
        self.with_token(self.wire.patch(location)).body(bytes.to_vec()).expect(status).await
    }
}

const UPLOADS: &str = "/v2/team/app/blobs/uploads/";

async fn full_namespace(context: &Context) -> Result<()> {
    let mut bounded = Bounded::start(context).await?;
    let data = Blob::random(&context.random, 700 * KIB);
    let (idle, location) = (bounded.begin().await?, bounded.begin().await?);
    let location = bounded.patch(&location, &data.bytes[..600 * KIB], 202).await?.location()?;
    let rest = Blob::random(&context.random, 424 * KIB);
    let whole = bounded.wire.post(&format!("{UPLOADS}?digest={}", rest.digest));
    bounded.with_token(whole).body(rest.bytes.clone()).expect(201).await?;

    // Now there are 1,024 KiB. What needs room is told the numbers, before it sends anything.
    let refused = bounded.with_token(bounded.wire.post(UPLOADS)).expect_error(403, "DENIED").await?;
    let error = &refused.json()?["errors"][0];
    let detail = json!({"namespace": "team", "unit": "bytes", "used": 1 << 20, "limit": 1 << 20, "asked": 1});
    ensure!(error["detail"] == detail, "{}: not the numbers {detail}", refused.describe());
    let says = error["message"].as_str().unwrap_or_default().contains("1048576 of 1048576 bytes are used");
    ensure!(says, "{}: people are not told the numbers", refused.describe());
    let empty = bounded.patch(&idle, b"more", 403).await?;
    empty.check_error(403, "DENIED")?;

    // What had received bytes goes on to its end.
    let location = bounded.patch(&location, &data.bytes[600 * KIB..], 202).await?.location()?;
    let put = bounded.wire.put(&with_query(&location, &format!("digest={}", data.digest)));
    bounded.with_token(put).expect(201).await?;
    for blob in [&data, &rest] {
        let get = bounded.wire.get(&format!("/v2/team/app/blobs/{}", blob.digest));
        bounded.with_token(get).expect(200).await?.expect_body(&blob.bytes)?;
    }
    // What is there already takes no room.
    let again = bounded.wire.post(&format!("{UPLOADS}?digest={}", rest.digest));
    bounded.with_token(again).body(rest.bytes).expect(201).await?;
    bounded.server.stop().await?;
    Ok(())
}

/// Seconds until a client may come again.
fn retry_after(answer: &Answer) -> Result<u64> {
    let text = answer.header("retry-after")?;
    text.parse().with_context(|| format!("{}: {text} is no number of seconds", answer.describe()))
}

async fn too_many_requests(context: &Context) -> Result<()> {
    let config = "limits.rate.v2_anonymous = \"5/d\"\nlimits.rate.api_anonymous = \"2/d\"\n";
    let mut server = context.start_server(config).await?;
    let wire = Wire::new(&server.url())?;
    for left in (0..5).rev() {
        let answer = wire.get("/v2/").expect(200).await?;
        answer.expect_header("ratelimit-remaining", &format!("{left};w=86400"))?;
    }
    let digest = Blob::new(Algorithm::Sha256, "{}").digest;
    // Whatever is asked for: clients of registries give up on longer waits, and nothing may be told of what is there.
    for path in ["/v2/", "/v2/team/app/manifests/v1", &format!("/v2/team/app/blobs/{digest}"), "/v2/no/such/route"] {
        let answer = wire.get(path).expect_error(429, "TOOMANYREQUESTS").await?;
        let wait = retry_after(&answer)?;
        ensure!((1..=60).contains(&wait), "{}: {wait} s are too long a wait", answer.describe());
    }
    let posted = wire.post("/v2/team/app/blobs/uploads/").expect_error(429, "TOOMANYREQUESTS").await?;
    ensure!(retry_after(&posted)? <= 60, "{}", posted.describe());

    // The interface for people and programs has a limit of its own, and says the whole wait.
    for _ in 0..2 {
        wire.get("/api/v1/repositories").expect(200).await?;
    }
    let answer = wire.get("/api/v1/repositories").expect(429).await?;
    let wait = retry_after(&answer)?;
    ensure!((40_000..=43_200).contains(&wait), "{}: half a day is the wait, not {wait} s", answer.describe());
    ensure!(answer.json()?["error"].is_string(), "{}: no reason", answer.describe());
    wire.get("/health/ready").expect(200).await?;
    server.stop().await?;
    Ok(())
}
