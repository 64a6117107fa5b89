//! A registry with accounts, made by the command line while it runs.

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::{PRIVATE, PUBLIC};
use crate::deployment::Deployment;
use crate::runner::Context;
use crate::server::Server;
use crate::wire::Wire;

/// Longest time until every node has noticed what changed.
const NOTICED_MAX: Duration = Duration::from_secs(10);

/// Somebody with an account.
pub(in crate::clients) struct Person {
    pub(in crate::clients) name: &'static str,
    pub(in crate::clients) password: &'static str,
}

pub(in crate::clients) const ADMIN: Person = Person { name: "root", password: "a stone bridge in autumn" };

/// Who owns both namespaces.
pub(in crate::clients) const MEMBER: Person = Person { name: "ann", password: "seven wet umbrellas" };

/// Who has a role nowhere.
pub(in crate::clients) const STRANGER: Person = Person { name: "bob", password: "blue kettle, no lid" };

/// The registry.
pub(in crate::clients) struct Town {
    registry: Deployment,
    _secret: TempDir,
}

impl Town {
    /// Starts one with a public and a private namespace.
    pub(super) async fn found(context: &Context) -> Result<Self> {
        Self::found_with(context, &[]).await
    }

    /// The same with commands that are run at its end.
    pub(in crate::clients) async fn found_with(context: &Context, commands: &[&[&str]]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bonded-secret-").tempdir()?;
        let secret = folder.path().join("secret");
        std::fs::write(&secret, [context.random.word(), context.random.word(), "0".repeat(32)].concat())?;
        let config = format!("auth.secret_file = \"{}\"\n", secret.display());
        let town = Self { registry: context.start_registry(&config).await?, _secret: folder };
        for (person, admin) in [(ADMIN, true), (MEMBER, false), (STRANGER, false)] {
            let arguments = ["user", "add", person.name, "--password-stdin", "--admin"];
            let arguments = if admin { &arguments[..] } else { &arguments[..4] };
            town.command(arguments, person.password).await?;
        }
        town.command(&["ns", "create", PUBLIC, "--owner", MEMBER.name, "--public"], "").await?;
        town.command(&["ns", "create", PRIVATE, "--owner", MEMBER.name], "").await?;
        for command in commands {
            town.command(command, "").await?;
        }
        town.wait_until_noticed().await?;
        Ok(town)
    }

    /// `host:port` for clients.
    pub(in crate::clients) fn host(&self) -> String {
        self.registry.url().replacen("http://", "", 1)
    }

    /// Every node of it.
    pub(in crate::clients) fn nodes(&self) -> Vec<String> {
        self.registry.nodes().iter().map(Server::url).collect()
    }

    /// A token of the member with this scope.
    pub(super) async fn token(&self, scope: &str) -> Result<String> {
        self.token_of(&MEMBER, scope).await
    }

    /// A token of somebody with this scope.
    pub(in crate::clients) async fn token_of(&self, person: &Person, scope: &str) -> Result<String> {
        let arguments = ["token", "create", "--user", person.name, "--scope", scope, "--expires", "30d"];
        self.command(&arguments, "").await
    }

    /// Ends it.
    pub(in crate::clients) async fn close(mut self) -> Result<()> {
        self.registry.stop().await
    }

    async fn command(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.registry.first().command(arguments, input).await;
        output.with_context(|| format!("bonded {}", arguments.join(" ")))
    }

    /// The private namespace and what belongs to it were made last, so a node that lets its owner in has noticed everything.
    async fn wait_until_noticed(&self) -> Result<()> {
        let token = self.token(&format!("{PRIVATE}/**:push")).await?;
        let begin = Instant::now();
        for node in self.registry.nodes() {
            while !lets_in(&node.url(), &token).await? {
                ensure!(begin.elapsed() < NOTICED_MAX, "{} does not notice accounts", node.url());
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

/// Whether a node lets a push in with a token, and nobody without.
async fn lets_in(url: &str, token: &str) -> Result<bool> {
    let wire = Wire::new(url)?;
    let uploads = format!("/v2/{PRIVATE}/app/blobs/uploads/");
    let stopped = wire.post(&uploads).send().await?.status == 401;
    let bearer = format!("Bearer {token}");
    Ok(stopped && wire.post(&uploads).header("authorization", bearer).send().await?.status == 202)
}
