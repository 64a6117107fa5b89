//! Real clients where there are accounts: on a public and a private repository of one server, with and without a login.

mod programs;
pub(super) mod town;

use anyhow::{Context as _, Result, bail};

use self::programs::{Crane, Docker, Helm, OrasGo, Podman, Regctl, Skopeo};
use self::town::{MEMBER, STRANGER, Town};
use super::docker::with_daemon;
use crate::runner::{Context, Scenario, scenario};

const GROUP: &str = "login";

/// A namespace from which everybody may pull.
const PUBLIC: &str = "open";

/// A namespace that is not there for strangers.
pub(super) const PRIVATE: &str = "closed";

/// A client that can log in. Each works on one image or chart of its own, in whatever namespace.
trait Client {
    /// Takes credentials and keeps them.
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()>;

    /// Forgets them.
    async fn log_out(&self, host: &str) -> Result<()>;

    /// Pushes to a namespace.
    async fn push(&self, host: &str, namespace: &str) -> Result<()>;

    /// Pulls from a namespace, over the network.
    async fn pull(&self, host: &str, namespace: &str) -> Result<()>;
}

/// The scenarios.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "docker", async |context: &Context| {
            with_daemon(context, async |tool| exercise(context, &Docker::prepare(context, tool)?).await).await
        }),
        scenario(GROUP, "podman", async |context: &Context| exercise(context, &Podman::prepare(context)?).await),
        scenario(GROUP, "skopeo", async |context: &Context| exercise(context, &Skopeo::prepare(context)?).await),
        scenario(GROUP, "crane", async |context: &Context| exercise(context, &Crane::prepare(context)?).await),
        scenario(GROUP, "regctl", async |context: &Context| exercise(context, &Regctl::prepare(context)?).await),
        scenario(GROUP, "oras-go", async |context: &Context| exercise(context, &OrasGo::prepare(context).await?).await),
        scenario(GROUP, "helm", async |context: &Context| exercise(context, &Helm::prepare(context).await?).await),
    ]
}

async fn exercise(context: &Context, client: &impl Client) -> Result<()> {
    let town = Town::found(context).await?;
    let host = town.host();
    refused("nobody pushed", &client.push(&host, PUBLIC).await)?;
    let wrong = async {
        client.log_in(&host, MEMBER.name, "not her password").await?;
        client.pull(&host, PRIVATE).await
    };
    refused("a wrong password was taken", &wrong.await)?;

    client.log_in(&host, MEMBER.name, MEMBER.password).await.context("log in as a member")?;
    for namespace in [PUBLIC, PRIVATE] {
        client.push(&host, namespace).await.with_context(|| format!("a member pushes to {namespace}"))?;
        client.pull(&host, namespace).await.with_context(|| format!("a member pulls from {namespace}"))?;
    }
    client.log_out(&host).await.context("log out")?;

    client.pull(&host, PUBLIC).await.context("nobody in particular pulls what is public")?;
    refused("nobody in particular pulled what is private", &client.pull(&host, PRIVATE).await)?;

    client.log_in(&host, STRANGER.name, STRANGER.password).await.context("log in as a stranger")?;
    client.pull(&host, PUBLIC).await.context("a stranger pulls what is public")?;
    refused("a stranger pulled what is private", &client.pull(&host, PRIVATE).await)?;
    // To a place where nothing is yet: some clients push nothing where the image is there already.
    refused("a stranger pushed", &client.push(&host, &format!("{PUBLIC}/other")).await)?;
    client.log_out(&host).await.context("log out")?;

    let token = town.token(&format!("{PRIVATE}/**:pull")).await?;
    client.log_in(&host, "token", &token).await.context("log in by a token")?;
    client.pull(&host, PRIVATE).await.context("pull by a token")?;
    refused("a token that may pull pushed", &client.push(&host, &format!("{PRIVATE}/other")).await)?;
    client.log_out(&host).await.context("log out")?;
    town.close().await
}

fn refused(what: &str, result: &Result<()>) -> Result<()> {
    if result.is_ok() {
        bail!("{what}")
    }
    Ok(())
}
