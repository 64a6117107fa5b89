//! Only signed images: whoever deploys is refused, whoever releases signs with real cosign, and whoever deploys is let in
//! with the next request, without a restart.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::servers::SigningLab;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cosign::{Cosign, IDENTITY, ISSUER, Release};
use super::matrix::{Case, Format, Signer, Witness};
use crate::clients::login::PRIVATE;
use crate::clients::login::town::{ADMIN, MEMBER, Person, STRANGER, Town};
use crate::clients::{Tool, image, last_manifest, write_layout};
use crate::runner::Context;
use crate::wire::{Answer, Wire};

/// Where the policies are.
const DOCUMENT: &str = "/v2/_trust/policy/document";
/// Longest time until every node has other policies.
const NOTICED_MAX: Duration = Duration::from_secs(15);

/// How images are signed here; each once.
const CASES: [Case; 4] = [
    Case { format: Format::Bundle, signer: Signer::Key, witness: Witness::Nobody },
    Case { format: Format::Tag, signer: Signer::Key, witness: Witness::Nobody },
    Case { format: Format::Referrer, signer: Signer::Key, witness: Witness::Timestamps },
    Case { format: Format::Bundle, signer: Signer::Keyless, witness: Witness::Rekor1 },
];

pub(super) async fn run(context: &Context) -> Result<()> {
    let lab = SigningLab::start()?;
    let releasing = Cosign::prepare(context, Release::V3, &lab, None).await?;
    let deploying = releasing.verifier(context)?;
    let grant = ["ns", "grant", PRIVATE, STRANGER.name, "read"];
    let town = Town::found_with(context, &[&grant]).await?;
    let host = town.host();
    enforce(&town, &policy(&releasing.key()?), &releasing.trusted_root()).await?;
    let owner = Crane::of(context, &host, &MEMBER).await?;
    let node = Crane::of(context, &host, &STRANGER).await?;
    releasing.log_in(&host, MEMBER.name, MEMBER.password).await?;
    deploying.log_in(&host, STRANGER.name, STRANGER.password).await?;
    let puller = Puller {
        wire: Wire::new(&format!("http://{host}"))?,
        token: town.token_of(&STRANGER, &format!("{PRIVATE}/**:pull")).await?,
    };
    for (at, case) in CASES.into_iter().enumerate() {
        let release = Released { name: format!("{PRIVATE}/app-{at}"), host: &host };
        let result = release.go(context, case, [&releasing, &deploying], [&owner, &node], &puller).await;
        result.with_context(|| case.to_string())?;
    }
    town.close().await
}

/// Puts a policy in force, with the trusted root in the document: it is kept in the database, and so on every node.
pub(super) async fn enforce(town: &Town, policy: &Value, root: &Value) -> Result<()> {
    let document = json!({
        "apiVersion": "trust/v1", "trustRoots": { "lab": { "json": root.to_string() } }, "policies": [policy],
    });
    let wire = Wire::new(&format!("http://{}", town.host()))?;
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", ADMIN.name, ADMIN.password)));
    let put = wire.call(Method::PUT, DOCUMENT).header("authorization", &basic);
    let revision = put.body(document.to_string()).expect(200).await?.json()?["revision"].clone();
    let begin = Instant::now();
    for url in town.nodes() {
        let node = Wire::new(&url)?;
        while node.get(DOCUMENT).header("authorization", &basic).expect(200).await?.json()?["revision"] != revision {
            ensure!(begin.elapsed() < NOTICED_MAX, "{url} does not notice policies");
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// One key, or one identity.
fn policy(key: &str) -> Value {
    let identity = json!({ "issuer": ISSUER, "subject": IDENTITY });
    json!({
        "name": "release", "mode": "enforce", "on": ["push", "pull", "tag"],
        "match": { "repositories": [format!("{PRIVATE}/**")], "tags": ["v*"] },
        "authorities": [
            { "name": "key", "key": { "pem": key } },
            { "name": "ci", "keyless": { "trustRoot": "lab", "identities": [identity] } },
        ],
        "signature": { "threshold": 1 }, "unverifiedReaders": "pushers",
    })
}

/// An image on its way.
struct Released<'a> {
    name: String,
    host: &'a str,
}

impl Released<'_> {
    async fn go(
        &self,
        context: &Context,
        case: Case,
        [releasing, deploying]: [&Cosign<'_>; 2],
        [owner, node]: [&Crane; 2],
        puller: &Puller,
    ) -> Result<()> {
        let set = image(context);
        let digest = last_manifest(&set)?.digest.clone();
        let layout = owner.0.path(&context.random.word());
        write_layout(Path::new(&layout), &set, "v1")?;
        let at = format!("{}/{}", self.host, self.name);
        let (candidate, released, by_digest) =
            (format!("{at}:candidate"), format!("{at}:v1"), format!("{at}@{digest}"));

        let told = denied("a push under a guarded tag", owner.0.run(&["push", &layout, &released]).await)?;
        ensure!(told.contains("push by digest") && told.contains("then tag it"), "it says no way: {told}");
        owner.0.run(&["push", &layout, &candidate]).await.context("a push under another tag")?;
        denied("a guarded tag for what nobody signed", owner.0.run(&["tag", &by_digest, "v1"]).await)?;
        for image in [&candidate, &by_digest] {
            denied("a pull of what nobody signed", node.0.run(&["pull", image, "image.tar"]).await)?;
        }
        puller.is_refused(&self.name, &["candidate", &digest], &set.blobs[0].digest).await?;
        // By digest it would not read the image, and only say that there is no signature.
        denied("cosign verify of whoever may not pull", deploying.verify(case, &candidate).await)?;

        releasing.sign(case, &by_digest).await.context("whoever may push signs")?;

        for image in [&candidate, &by_digest] {
            node.0.run(&["pull", image, "image.tar"]).await.context("a pull of what is signed")?;
        }
        puller.is_let_in(&self.name, &["candidate", &digest], &set.blobs[0].digest).await?;
        deploying.verify(case, &by_digest).await.context("cosign verify of whoever pulls")?;
        owner.0.run(&["tag", &by_digest, "v1"]).await.context("a guarded tag for what is signed")?;
        node.0.run(&["pull", &released, "image.tar"]).await.context("a pull by the guarded tag")?;
        Ok(())
    }
}

/// crane of somebody.
pub(super) struct Crane(pub(super) Tool);

impl Crane {
    pub(super) async fn of(context: &Context, host: &str, person: &Person) -> Result<Self> {
        let tool = Tool::find(context, "crane")?;
        tool.run(&["auth", "login", "--username", person.name, "--password", person.password, host]).await?;
        Ok(Self(tool))
    }
}

/// Whoever may only pull, on the wire.
struct Puller {
    wire: Wire,
    token: String,
}

impl Puller {
    async fn ask(&self, path: &str) -> Result<[Answer; 2]> {
        let bearer = format!("Bearer {}", self.token);
        let get = self.wire.get(path).header("authorization", &bearer).send().await?;
        Ok([get, self.wire.head(path).header("authorization", &bearer).send().await?])
    }

    async fn is_refused(&self, repo: &str, references: &[&str], blob: &str) -> Result<()> {
        for reference in references {
            let [get, head] = self.ask(&format!("/v2/{repo}/manifests/{reference}")).await?;
            let message = get.check_error(403, "DENIED")?;
            ensure!(message == "signature policy 'release' not satisfied: unsigned", "{message}");
            let detail = &get.json()?["errors"][0]["detail"];
            let is_told =
                detail["verdict"] == "unsigned" && detail["help"].as_str().is_some_and(|it| it.contains("cosign sign"));
            ensure!(is_told, "{detail}");
            ensure!(head.status == 403, "{}", head.describe());
            for answer in [&get, &head] {
                let verdict = answer.header("x-signature-verdict")?;
                ensure!(verdict.starts_with("unsigned;policy=\"release\";rev=\""), "{verdict}");
                answer.expect_header("x-signature-reason", "unsigned")?;
            }
        }
        let [get, head] = self.ask(&format!("/v2/{repo}/blobs/{blob}")).await?;
        get.check_error(403, "DENIED")?;
        ensure!(head.status == 403, "{}", head.describe());
        Ok(())
    }

    async fn is_let_in(&self, repo: &str, references: &[&str], blob: &str) -> Result<()> {
        for reference in references {
            for answer in self.ask(&format!("/v2/{repo}/manifests/{reference}")).await? {
                let answer = answer.expect(200)?;
                let verdict = answer.header("x-signature-verdict")?;
                ensure!(verdict.starts_with("pass;policy=\"release\"") && verdict.contains(";signer="), "{verdict}");
                answer.expect_header("cache-control", "private, no-store")?;
            }
        }
        for answer in self.ask(&format!("/v2/{repo}/blobs/{blob}")).await? {
            answer.expect(200)?;
        }
        Ok(())
    }
}

/// Demands that a program failed by a refusal of the gate, and shows it; gives what it shows.
fn denied<T>(what: &str, result: Result<T>) -> Result<String> {
    let Err(error) = result else { bail!("{what} succeeded") };
    let text = format!("{error:#}");
    ensure!(text.contains("signature policy 'release' not satisfied"), "{what} failed for another reason: {text}");
    Ok(text)
}
