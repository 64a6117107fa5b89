//! The groups of the suite that need no content: ping, and a repository that does not exist.

use anyhow::{Result, ensure};

use crate::content::Algorithm;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::data_sets::INDEX;

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario("suite", "ping", ping), scenario("suite", "empty", empty)]
}

async fn ping(context: &Context) -> Result<()> {
    let answer = context.wire.get("/v2/").expect(200).await?;
    answer.expect_header("docker-distribution-api-version", "registry/2.0")?;
    Ok(())
}

async fn empty(context: &Context) -> Result<()> {
    let repo = context.repo("empty");
    context.wire.get(&format!("/v2/{repo}/tags/list")).send().await?.expect_any(&[200, 404])?;
    let digest = Algorithm::Sha256.digest(repo.as_bytes());
    let answer = context.wire.get(&format!("/v2/{repo}/referrers/{digest}")).expect(200).await?;
    answer.expect_header("content-type", INDEX)?;
    let index = answer.json()?;
    ensure!(index["schemaVersion"] == 2 && index["mediaType"] == INDEX, "not an OCI index: {index}");
    ensure!(index["manifests"].as_array().is_some_and(Vec::is_empty), "not an empty index: {index}");
    Ok(())
}
