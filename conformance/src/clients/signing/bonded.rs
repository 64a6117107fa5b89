//! `bonded verify`, the third voice beside the registry's verdict and `cosign verify`: what it finds out by asking the
//! registry, and what it finds out by itself.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::clients::COMMAND_MAX;
use crate::clients::login::town::Person;
use crate::content::base64;
use crate::runner::Context;

/// Exit codes that say what was found (`docs/how-to/verify-in-ci.md`).
pub(super) const PASSES: i32 = 0;
pub(super) const UNSIGNED: i32 = 10;
pub(super) const BY_OTHERS: i32 = 12;
pub(super) const NOT_ATTESTED: i32 = 14;

/// The program, of somebody without credentials unless they are given.
pub(super) struct Verifier<'a> {
    program: &'a Path,
    home: TempDir,
}

/// What it said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) verdict: Value,
}

impl<'a> Verifier<'a> {
    /// That of the build that is driven.
    pub(super) fn of(context: &'a Context) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("bonded-client-").tempdir()?;
        Ok(Self { program: context.binary()?, home })
    }

    /// Keeps the credentials of somebody, where docker does.
    pub(super) fn log_in(&self, host: &str, person: &Person) -> Result<()> {
        let auth = base64(format!("{}:{}", person.name, person.password).as_bytes());
        let folder = self.home.path().join(".docker");
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("config.json"), json!({ "auths": { host: { "auth": auth } } }).to_string())?)
    }

    /// Verifies an image, `host:port/repository@digest`.
    pub(super) async fn verify(&self, image: &str, options: &[&str]) -> Result<Said> {
        let mut command = Command::new(self.program);
        command.args(["verify", image, "-o", "json"]).args(options).current_dir(self.home.path()).kill_on_drop(true);
        command.env("HOME", self.home.path()).env_remove("DOCKER_CONFIG").stdin(Stdio::null());
        let shown = format!("bonded verify {image} {}", options.join(" "));
        let output = timeout(COMMAND_MAX, command.output()).await;
        let output = output.with_context(|| format!("`{shown}` does not end"))??;
        let text = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().with_context(|| format!("`{shown}` ended with {}", output.status))?;
        let verdict = serde_json::from_slice(&output.stdout);
        let verdict = verdict.with_context(|| format!("`{shown}` ended with {code} and printed no object: {text}"))?;
        // Progress is for terminals, and there is none.
        ensure!(output.stderr.is_empty(), "`{shown}` printed {text}");
        Ok(Said { code, verdict })
    }

    /// Demands that it says the same as the registry does, whatever a policy does with that, and names this reason.
    pub(super) async fn agrees(
        &self,
        image: &str,
        options: &[&str],
        outcome: &str,
        reason: Option<&str>,
    ) -> Result<()> {
        let said = self.verify(image, &[options, &["--strict"]].concat()).await?;
        let mut reasons = said.verdict["reasons"].as_array().into_iter().flatten();
        let is_so = said.verdict["verdict"] == outcome && (said.code == PASSES) == (outcome == "pass");
        let is_named = reason.is_none_or(|reason| reasons.any(|it| it["code"] == reason));
        ensure!(is_so && is_named, "bonded verify {}: {said:?}, expected {outcome} {reason:?}", options.join(" "));
        Ok(())
    }

    /// Demands an exit code.
    pub(super) async fn ends_with(&self, image: &str, options: &[&str], code: i32) -> Result<()> {
        let said = self.verify(image, options).await?;
        ensure!(said.code == code, "bonded verify {}: {said:?}, expected exit code {code}", options.join(" "));
        Ok(())
    }
}
