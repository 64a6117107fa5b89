//! Attestations by real cosign, as bundles and under the `.att` tag: an image that is signed is refused until whoever signs
//! also attests who built it, and that is who the policy names. `bonded verify` says so by its exit code, and what
//! `cosign verify-attestation` says of the same demand (in CUE) is the same.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use conformance::servers::SigningLab;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bonded::{NOT_ATTESTED, PASSES, UNSIGNED, Verifier};
use super::cosign::{Cosign, IDENTITY, ISSUER, Release};
use super::gate::{Crane, enforce};
use super::matrix::{Case, Format, Signer, Witness};
use super::registry::{DOCUMENT, write_policies};
use crate::clients::login::PRIVATE;
use crate::clients::login::town::{MEMBER, STRANGER, Town};
use crate::clients::{image, last_manifest, write_layout};
use crate::runner::Context;
use crate::wire::{Call, Wire};

/// How images are signed and attested here; each once.
const CASES: [Case; 4] = [
    Case { format: Format::Bundle, signer: Signer::Key, witness: Witness::Nobody },
    Case { format: Format::Tag, signer: Signer::Key, witness: Witness::Nobody },
    Case { format: Format::Bundle, signer: Signer::Keyless, witness: Witness::Rekor1 },
    Case { format: Format::Tag, signer: Signer::Keyless, witness: Witness::Rekor1 },
];

/// What cosign calls the predicate that is asked for, and what it is called in a statement.
const PROVENANCE: &str = "slsaprovenance1";
const PROVENANCE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// The builder that has to have built what is released.
const BUILDER: &str = "https://ci.example.com/builder";
/// Files in the home of who attests: provenance by that builder and by another, and a list of contents.
const BUILT: &str = "built.json";
const BUILT_ELSEWHERE: &str = "built-elsewhere.json";
const CONTENTS: &str = "contents.json";
/// What the policy asks for, as cosign is asked for it.
const DEMAND: &str = "demand.cue";

pub(super) async fn run(context: &Context, release: Release) -> Result<()> {
    let lab = SigningLab::start()?;
    let releasing = Cosign::prepare(context, release, &lab, None).await?;
    let deploying = releasing.verifier(context)?;
    let grant = ["ns", "grant", PRIVATE, STRANGER.name, "read"];
    let town = Town::found_with(context, &[&grant]).await?;
    let (host, root) = (town.host(), releasing.trusted_root());
    let policy = policy(&releasing.key()?);
    enforce(&town, &policy, &root).await?;
    let folder = tempfile::Builder::new().prefix("bonded-policy-").tempdir()?;
    write_policies(folder.path(), &[policy], &root)?;
    for (file, predicate) in [
        (BUILT, provenance(BUILDER)),
        (BUILT_ELSEWHERE, provenance("https://example.com/laptop")),
        (CONTENTS, json!({ "spdxVersion": "SPDX-2.3", "name": "app" })),
    ] {
        releasing.write(file, &predicate.to_string())?;
    }
    deploying.write(DEMAND, &format!("predicate: runDetails: builder: id: \"{BUILDER}\"\n"))?;
    releasing.log_in(&host, MEMBER.name, MEMBER.password).await?;
    deploying.log_in(&host, STRANGER.name, STRANGER.password).await?;
    let verifier = Verifier::of(context)?;
    verifier.log_in(&host, &STRANGER)?;
    let node = Node {
        wire: Wire::new(&format!("http://{host}"))?,
        token: town.token_of(&STRANGER, &format!("{PRIVATE}/**:pull")).await?,
        deploying,
        verifier,
        document: folder,
    };
    let owner = Crane::of(context, &host, &MEMBER).await?;
    impossible(&releasing, &push(context, &owner, &host).await?).await?;
    for case in CASES {
        let image = push(context, &owner, &host).await?;
        attested(&releasing, &node, case, &image).await.with_context(|| format!("{case}: attested"))?;
        let image = push(context, &owner, &host).await?;
        otherwise(&releasing, &node, case, &image).await.with_context(|| format!("{case}: attested otherwise"))?;
    }
    town.close().await
}

/// A signature of one key or one identity, and provenance by the same that names the builder.
fn policy(key: &str) -> Value {
    let identity = json!({ "issuer": ISSUER, "subject": IDENTITY });
    let condition = json!({ "pointer": "/runDetails/builder/id", "equals": BUILDER });
    json!({
        "name": "release", "mode": "enforce", "on": ["push", "pull"],
        "match": { "repositories": [format!("{PRIVATE}/**")] },
        "authorities": [
            { "name": "key", "key": { "pem": key } },
            { "name": "ci", "keyless": { "trustRoot": "lab", "identities": [identity] } },
        ],
        "signature": { "threshold": 1 },
        "attestations": [{ "predicateType": PROVENANCE_TYPE, "of": ["key", "ci"], "conditions": [condition] }],
        "unverifiedReaders": "pushers",
    })
}

/// A predicate of SLSA provenance 1.
fn provenance(builder: &str) -> Value {
    let build =
        json!({ "buildType": "https://example.com/build", "externalParameters": {}, "resolvedDependencies": [] });
    json!({ "buildDefinition": build, "runDetails": { "builder": { "id": builder } } })
}

/// An image in the registry.
struct Image {
    repo: String,
    digest: String,
    /// `host:port/repository@digest`.
    reference: String,
}

/// Pushes an image that nobody has signed.
async fn push(context: &Context, owner: &Crane, host: &str) -> Result<Image> {
    let (repo, set) = (format!("{PRIVATE}/{}", context.random.word()), image(context));
    let layout = owner.0.path(&context.random.word());
    write_layout(Path::new(&layout), &set, "v1")?;
    owner.0.run(&["push", &layout, &format!("{host}/{repo}:v1")]).await?;
    let digest = last_manifest(&set)?.digest.clone();
    let reference = format!("{host}/{repo}@{digest}");
    Ok(Image { repo, digest, reference })
}

/// No release attests as a referrer in the old form, though it signs so.
async fn impossible(releasing: &Cosign<'_>, image: &Image) -> Result<()> {
    let case = Case { format: Format::Referrer, signer: Signer::Key, witness: Witness::Nobody };
    let attested = releasing.attest(case, PROVENANCE, BUILT, &image.reference).await;
    let Err(error) = attested else { bail!("{case}: cosign attests after all") };
    let text = format!("{error:#}");
    ensure!(text.contains("unknown flag: --registry-referrers-mode"), "{case}: another reason: {text}");
    Ok(())
}

/// An image about which the right thing is said in the end, and others before it.
async fn attested(releasing: &Cosign<'_>, node: &Node<'_>, case: Case, image: &Image) -> Result<()> {
    node.is_refused(case, image, "unsigned", UNSIGNED).await.context("not signed")?;
    releasing.sign(case, &image.reference).await?;
    node.is_refused(case, image, MISSING, NOT_ATTESTED).await.context("signed")?;
    releasing.attest(case, "spdxjson", CONTENTS, &image.reference).await?;
    node.is_refused(case, image, MISSING, NOT_ATTESTED).await.context("with an attestation of another type")?;
    releasing.attest(case, PROVENANCE, BUILT, &image.reference).await?;
    node.is_let_in(case, image).await.context("with the attestation that is asked for")
}

/// An image about which the wrong thing is said.
async fn otherwise(releasing: &Cosign<'_>, node: &Node<'_>, case: Case, image: &Image) -> Result<()> {
    releasing.sign(case, &image.reference).await?;
    releasing.attest(case, PROVENANCE, BUILT_ELSEWHERE, &image.reference).await?;
    node.is_refused(case, image, "attestation_condition", NOT_ATTESTED).await
}

const MISSING: &str = "attestation_missing";

/// Whoever may only pull, on the wire and with both programs.
struct Node<'a> {
    wire: Wire,
    token: String,
    deploying: Cosign<'a>,
    verifier: Verifier<'a>,
    document: TempDir,
}

impl Node<'_> {
    async fn is_refused(&self, case: Case, image: &Image, reason: &str, code: i32) -> Result<()> {
        let answer = self.pull(image).expect(403).await?;
        answer.check_error(403, "DENIED")?;
        answer.expect_header("x-signature-reason", reason)?;
        self.is_told(image, code).await?;
        ensure!(self.ask_cosign(case, image).await.is_err(), "cosign verifies it");
        Ok(())
    }

    async fn is_let_in(&self, case: Case, image: &Image) -> Result<()> {
        let answer = self.pull(image).expect(200).await?;
        let verdict = answer.header("x-signature-verdict")?;
        ensure!(verdict.starts_with("pass;policy=\"release\""), "{verdict}");
        self.is_told(image, PASSES).await?;
        self.ask_cosign(case, image).await.context("cosign does not verify")
    }

    fn pull(&self, image: &Image) -> Call {
        let path = format!("/v2/{}/manifests/{}", image.repo, image.digest);
        self.wire.get(&path).header("authorization", format!("Bearer {}", self.token))
    }

    /// What `bonded verify` says, when it asks and when it judges by itself.
    async fn is_told(&self, image: &Image, code: i32) -> Result<()> {
        let document = self.document.path().join(DOCUMENT).display().to_string();
        self.verifier.ends_with(&image.reference, &["--server"], code).await?;
        self.verifier.ends_with(&image.reference, &["--policy", &document], code).await
    }

    async fn ask_cosign(&self, case: Case, image: &Image) -> Result<()> {
        self.deploying.verify_attestation(case, PROVENANCE, DEMAND, &image.reference).await
    }
}
