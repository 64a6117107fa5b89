//! `bonded policy dry-run`: what a document would change, told by a running registry or found out from its stores.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::server::{Server, Told};
use crate::app::{App, AppBuilder, read_policies_inlined};
use crate::cli::output::{Format, count, plain};
use crate::cli::verify::AccessArgs;
use crate::cli::{DataArgs, Failure, failed, parsed, runtime};
use crate::oci::glob::RepoGlob;
use crate::oci::route::DryRun;
use crate::registry::gate::{Compared, DRY_RUN_TIME_MAX};
use crate::verify::policy::{Faults, Finding, Inlined, Policies, Severity};

/// Which document, and where it would hold.
#[derive(Debug, Args)]
pub(in crate::cli) struct DryRunArgs {
    /// The document, YAML or JSON; files that it names lie beside it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Asks a running registry, such as `https://registry.example.com`. Without it, the stores of the configuration are
    /// read, beside a server that may be running.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "config"])]
    server: Option<String>,
    /// Only this repository, or those that match a pattern such as `prod/**`.
    #[arg(long, value_name = "REPO")]
    repository: Option<String>,
    /// Tells also of manifests for which nothing changes.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    data: DataArgs,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What was told so far.
#[derive(Default)]
struct Tally {
    checked: u64,
    refused: u64,
    given: u64,
    otherwise: u64,
    warnings: Vec<Value>,
    revision: Value,
    compared: Value,
}

/// How it ended.
enum Ended {
    /// Everything was looked at.
    Told(Tally),
    /// The document cannot be used.
    Faulty(Vec<String>, Vec<Value>),
}

/// Does it.
pub(super) fn run(args: &DryRunArgs) -> Result<ExitCode, Failure> {
    if let Some(repository) = &args.repository {
        parsed::<Pattern>("a repository, or a pattern over repositories", repository)?;
    }
    let AccessArgs { username, password_stdin, plain_http } = &args.access;
    if args.server.is_none() && (username.is_some() || *password_stdin || *plain_http) {
        return Err(Failure::usage("who asks is told to a registry only; give --server"));
    }
    let read = read_policies_inlined(&args.file);
    let read = read.map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    let ended = match read {
        Err(faults) => faulty(&faults),
        Ok(document) => runtime()?.block_on(async {
            match &args.server {
                Some(address) => asked(args, &Server::new(address, &args.access)?, &document.document).await,
                None => found_out(args, document).await,
            }
        })?,
    };
    Ok(match ended {
        Ended::Told(tally) => summarize(args, &tally),
        Ended::Faulty(sentences, findings) => refuse(args, &sentences, &findings),
    })
}

/// A repository, or a pattern.
struct Pattern;

impl std::str::FromStr for Pattern {
    type Err = crate::oci::glob::GlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        RepoGlob::parse(text).map(|_| Self)
    }
}

fn faulty(Faults(findings): &Faults) -> Ended {
    let sentences = findings.iter().map(ToString::to_string).collect();
    Ended::Faulty(sentences, findings.iter().map(Finding::to_json).collect())
}

fn wanted(args: &DryRunArgs) -> DryRun {
    DryRun { repositories: args.repository.clone(), all: args.all, ..DryRun::default() }
}

/// By a running registry, page for page.
async fn asked(args: &DryRunArgs, server: &Server, document: &str) -> Result<Ended, Failure> {
    let (mut tally, mut target) = (Tally::default(), wanted(args).target());
    loop {
        let page = match server.ask(&target, document).await? {
            Told::Page(page) => page,
            Told::Faulty(findings) => return Ok(Ended::Faulty(findings.iter().map(sentence).collect(), findings)),
        };
        tally.revision = page["revision"].clone();
        tally.compared = page["compared"].clone();
        tally.warnings = page["warnings"].as_array().cloned().unwrap_or_default();
        tally.checked += page["checked"].as_u64().unwrap_or_default();
        for manifest in page["manifests"].as_array().into_iter().flatten() {
            tally.tell(args, manifest);
        }
        match page["next"].as_str() {
            None => return Ok(Ended::Told(tally)),
            Some(next) if next == target => return Err(Failure::usage("the registry does not get on")),
            Some(next) => next.clone_into(&mut target),
        }
    }
}

/// A finding that a registry told, as it is told here.
fn sentence(finding: &Value) -> String {
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let is_warning = text("severity") == Severity::Warning.as_str();
    let severity = if is_warning { Severity::Warning } else { Severity::Error };
    let line = finding["line"].as_u64().and_then(|line| usize::try_from(line).ok());
    plain(&Finding { severity, place: text("at"), line, message: text("message") }.to_string())
}

/// From the stores, beside a server that may be running.
async fn found_out(args: &DryRunArgs, document: Inlined) -> Result<Ended, Failure> {
    let app = AppBuilder::new(args.data.load()?.config).open_beside().await.map_err(Failure::usage)?;
    let done = looked_at(args, &app, document).await;
    app.close().await;
    done
}

async fn looked_at(args: &DryRunArgs, app: &App, document: Inlined) -> Result<Ended, Failure> {
    let accounts = app.auth().refresh().await.map_err(Failure::usage)?.accounts;
    app.take_policies().await.map_err(Failure::usage)?;
    let loaded = if accounts { Ok(document.loaded) } else { document.loaded.without_accounts() };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => return Ok(faulty(&faults)),
    };
    let (registry, mut wanted) = (app.registry(), wanted(args));
    let source = if registry.policies_are_a_file() { "file" } else { "database" };
    let proposed: Arc<Policies> = Arc::new(loaded.policies);
    let mut tally = Tally { warnings: loaded.warnings.iter().map(Finding::to_json).collect(), ..Tally::default() };
    tally.revision = Value::from(proposed.revision());
    loop {
        let page = registry.dry_run(&proposed, &wanted, DRY_RUN_TIME_MAX).await;
        let page = page.map_err(|error| Failure::usage(failed(&error).sentence))?;
        tally.compared = json!({"source": source, "revision": page.holds, "on": "pull"});
        tally.checked += u64::from(page.checked);
        for manifest in page.manifests.iter().map(Compared::to_json) {
            tally.tell(args, &manifest);
        }
        if page.next.is_none() {
            return Ok(Ended::Told(tally));
        }
        wanted.after = page.next;
    }
}

impl Tally {
    /// Counts and prints one manifest.
    fn tell(&mut self, args: &DryRunArgs, manifest: &Value) {
        let refused = |side: &str| manifest[side]["refused"] == json!(true);
        match (refused("now"), refused("then")) {
            (false, true) => self.refused += 1,
            (true, false) => self.given += 1,
            _ if side(&manifest["now"]) != side(&manifest["then"]) => self.otherwise += 1,
            _ => {}
        }
        args.output.line(|| line(manifest), || manifest.clone());
    }
}

/// `prod/app:v1@sha256:...: pass -> fail (no_trusted_signer)`.
fn line(manifest: &Value) -> String {
    let text = |name: &str| manifest[name].as_str().unwrap_or_default();
    let tags: Vec<&str> = manifest["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tags = if tags.is_empty() { String::new() } else { format!(":{}", tags.join(",")) };
    let (now, then) = (side(&manifest["now"]), side(&manifest["then"]));
    let change = if now == then { now } else { format!("{now} -> {then}") };
    plain(&format!("{}{tags}@{}: {change}", text("repository"), text("digest")))
}

/// What is answered, in few words.
fn side(told: &Value) -> String {
    let verdict = told["verdict"].as_str().unwrap_or_default();
    let reason = told["reason"].as_str().filter(|reason| *reason != verdict);
    let shown = reason.map_or_else(|| verdict.to_owned(), |reason| format!("{verdict} ({reason})"));
    let warns = told["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
    if warns && told["refused"] == json!(false) { format!("{shown}, with a warning") } else { shown }
}

fn summarize(args: &DryRunArgs, tally: &Tally) -> ExitCode {
    let Tally { checked, refused, given, otherwise, warnings, revision, compared } = tally;
    let text = || {
        let looked = format!("looked at {}", count(*checked, "manifest"));
        let counts = format!("{refused} given today would be refused, {given} refused today would be given");
        let odd = match warnings.len() {
            0 => String::new(),
            number => format!("; {} that `bonded policy check` shows", count(number as u64, "warning")),
        };
        format!("{looked}: {counts}, {otherwise} would change otherwise{odd}")
    };
    let object = || {
        json!({
            "checked": checked, "wouldBeRefused": refused, "wouldBeGiven": given, "wouldChange": otherwise,
            "revision": revision, "compared": compared, "warnings": warnings,
        })
    };
    args.output.line(text, object);
    if *refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn refuse(args: &DryRunArgs, sentences: &[String], findings: &[Value]) -> ExitCode {
    for (sentence, finding) in sentences.iter().zip(findings) {
        args.output.line(|| sentence.clone(), || finding.clone());
    }
    let is_error = |finding: &&Value| finding["severity"] == json!(Severity::Error.as_str());
    let errors = findings.iter().filter(is_error).count();
    let sentence = || format!("{} cannot be used: {}", args.file.display(), count(errors as u64, "error"));
    args.output.line(sentence, || json!({"ok": false, "errors": errors}));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let told = |verdict: &str, refused: bool, reason: Value, warnings: Value| json!({"verdict": verdict, "refused": refused, "reason": reason, "warnings": warnings});
        let pass = told("pass", false, Value::Null, json!([]));
        let fail = told("fail", true, json!("no_trusted_signer"), json!([]));
        let warned = told("unsigned", false, json!("unsigned"), json!([{"policy": "p", "reason": "unsigned"}]));
        for (tags, now, then, expected) in [
            (json!(["v1"]), &pass, &fail, "prod/app:v1@sha256:ab: pass -> fail (no_trusted_signer)"),
            (json!(["v1", "v2"]), &fail, &pass, "prod/app:v1,v2@sha256:ab: fail (no_trusted_signer) -> pass"),
            (json!([]), &pass, &warned, "prod/app@sha256:ab: pass -> unsigned, with a warning"),
            (json!([]), &pass, &pass, "prod/app@sha256:ab: pass"),
        ] {
            let manifest =
                json!({"repository": "prod/app", "digest": "sha256:ab", "tags": tags, "now": now, "then": then});
            assert_eq!(line(&manifest), expected);
        }
    }

    #[test]
    fn findings_of_a_registry_are_told_as_those_from_here() {
        for finding in [
            Finding {
                severity: Severity::Error,
                place: "policies[0].mode".to_owned(),
                line: Some(6),
                message: "a".to_owned(),
            },
            Finding { severity: Severity::Error, place: "a.b".to_owned(), line: None, message: "b".to_owned() },
            Finding { severity: Severity::Warning, place: String::new(), line: Some(2), message: "c".to_owned() },
            Finding { severity: Severity::Error, place: String::new(), line: None, message: "d".to_owned() },
        ] {
            assert_eq!(sentence(&finding.to_json()), finding.to_string());
        }
    }
}
