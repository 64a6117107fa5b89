//! A registry with a policy, and what it says of its images.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bonded::Verifier;
use crate::clients::{image, last_manifest};
use crate::deployment::Deployment;
use crate::runner::Context;
use crate::scenarios::data_sets::{push_blobs, push_manifest};
use crate::wire::Wire;

/// The file of the policies.
pub(super) const DOCUMENT: &str = "policy.json";

/// An image in the registry.
pub(super) struct Image {
    /// Its repository.
    pub(super) repo: String,
    /// Its digest.
    pub(super) digest: String,
    /// `host:port/repository@digest`.
    pub(super) reference: String,
}

/// The registry.
pub(super) struct Registry<'a> {
    deployment: Deployment,
    pub(super) wire: Wire,
    pub(super) verifier: Verifier<'a>,
    policy: TempDir,
}

impl<'a> Registry<'a> {
    /// Starts an empty one with these policies, in which the trusted root is called `lab`.
    pub(super) async fn start(context: &'a Context, policies: &[Value], root: &Value) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bonded-policy-").tempdir()?;
        let config = write_policies(folder.path(), policies, root)?;
        let deployment = context.start_registry(&config).await?;
        let wire = Wire::new(&deployment.url())?;
        Ok(Self { deployment, wire, verifier: Verifier::of(context)?, policy: folder })
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.deployment.stop().await
    }

    /// Pushes an image that nobody has signed.
    pub(super) async fn push(&self, context: &Context, repo: &str) -> Result<Image> {
        let set = image(context);
        push_blobs(&self.wire, repo, &set).await?;
        let manifest = last_manifest(&set)?;
        push_manifest(&self.wire, repo, &manifest.digest, manifest, &[]).await?;
        let (repo, digest) = (repo.to_owned(), manifest.digest.clone());
        let reference = format!("{}/{repo}@{digest}", self.wire.authority());
        Ok(Image { repo, digest, reference })
    }

    /// Demands what the registry says of an image, and that this is among its reasons; and that `bonded verify` says the
    /// same, both when it asks and when it judges by the same policies.
    pub(super) async fn expect(&self, image: &Image, outcome: &str, reason: Option<&str>) -> Result<()> {
        self.expect_apart(image, [(outcome, reason); 2]).await
    }

    /// The same where the registry (first) and who reads its signatures from outside (second) say different things.
    pub(super) async fn expect_apart(&self, image: &Image, expected: [(&str, Option<&str>); 2]) -> Result<()> {
        let [(outcome, reason), (here, reason_here)] = expected;
        let path = format!("/v2/{}/_trust/verify/verdict?ref={}", image.repo, image.digest);
        let verdict = self.wire.get(&path).expect(200).await?.json()?;
        let mut reasons = verdict["reasons"].as_array().into_iter().flatten();
        let is_so = reason.is_none_or(|reason| reasons.any(|it| it["code"] == reason));
        ensure!(verdict["verdict"] == outcome && is_so, "the registry says {verdict}, expected {outcome} {reason:?}");
        self.verifier.agrees(&image.reference, &["--server"], outcome, reason).await?;
        let document = self.policy.path().join(DOCUMENT).display().to_string();
        self.verifier.agrees(&image.reference, &["--policy", &document], here, reason_here).await
    }
}

/// Writes policies into a folder, in which the trusted root is called `lab`; gives the configuration (TOML) that names them.
pub(super) fn write_policies(folder: &Path, policies: &[Value], root: &Value) -> Result<String> {
    let document = json!({
        "apiVersion": "trust/v1", "trustRoots": { "lab": { "file": "root.json" } }, "policies": policies,
    });
    let file = folder.join(DOCUMENT);
    std::fs::write(&file, document.to_string())?;
    std::fs::write(folder.join("root.json"), root.to_string())?;
    Ok(format!("trust.policy = \"{}\"\n", file.display()))
}
