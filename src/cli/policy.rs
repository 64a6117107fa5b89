//! `bonded policy`: signature policies read from a file: whether they can be used, and what they would change.

mod dry_run;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Format, count};
use super::{Failure, parsed, print};
use crate::app::read_policies;
use crate::oci::name::{RepoName, Tag};
use crate::verify::policy::{Faults, Finding, Gate, Loaded, Mode, Policy, Severity, schema};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyVerb {
    /// Reads a document and the files that it names, and says everything that is wrong with it or odd about it.
    ///
    /// Ends with 0 when it can be used, 1 when it cannot, 2 when there is no such file.
    Check(CheckArgs),
    /// Says which policies apply to a repository, and what they ask for.
    Test(TestArgs),
    /// Says what would change for those who pull if this document held, and changes nothing.
    ///
    /// Judges what is stored: manifests to which a tag leads, by itself or through an index. Ends with 0 when nothing that is
    /// given today would be refused, 1 when something would be, 2 when the document cannot be used or nobody can be asked.
    DryRun(dry_run::DryRunArgs),
    /// Prints the JSON Schema of a document.
    Schema,
}

/// Which document.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The document, YAML or JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For a registry without accounts, where everybody may push.
    #[arg(long)]
    without_accounts: bool,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Which document, and for what.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The document, YAML or JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The repository.
    #[arg(long, value_name = "REPO")]
    repository: String,
    /// The tag that is made or moved; reads are judged by digest, whatever tag leads there.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Does it.
pub(super) fn run(verb: &PolicyVerb) -> Result<ExitCode, Failure> {
    match verb {
        PolicyVerb::Check(args) => check(args),
        PolicyVerb::Test(args) => test(args),
        PolicyVerb::DryRun(args) => dry_run::run(args),
        PolicyVerb::Schema => {
            print(format_args!("{:#}\n", schema()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let loaded = load(&args.file, None)?;
    let findings = match &loaded {
        Ok(loaded) => {
            let void = if args.without_accounts { loaded.policies.void_without_accounts() } else { Vec::new() };
            void.into_iter().chain(loaded.warnings.clone()).collect()
        }
        Err(Faults(findings)) => findings.clone(),
    };
    for finding in &findings {
        args.output.line(|| finding.to_string(), || finding.to_json());
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    match loaded {
        Ok(loaded) if errors == 0 => {
            summarize(&loaded, &findings, args.output);
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let sentence = || format!("{} cannot be used: {}", args.file.display(), count(errors as u64, "error"));
            args.output.line(sentence, || json!({ "ok": false, "errors": errors }));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn summarize(loaded: &Loaded, findings: &[Finding], format: Format) {
    let names: Vec<_> = loaded.policies.iter().map(|policy| policy.name.as_str()).collect();
    let (revision, warnings) = (loaded.policies.revision(), findings.len());
    format.line(
        || {
            let policies = if names.len() == 1 { "1 policy".to_owned() } else { format!("{} policies", names.len()) };
            format!("ok: {policies}, {}, revision {revision}", count(warnings as u64, "warning"))
        },
        || json!({ "ok": true, "policies": names, "warnings": warnings, "revision": revision }),
    );
}

fn test(args: &TestArgs) -> Result<ExitCode, Failure> {
    let repository: RepoName = parsed("a repository", &args.repository)?;
    let tag = args.tag.as_deref().map(|tag| parsed::<Tag>("a tag", tag)).transpose()?;
    let loaded = load(&args.file, None)?.map_err(|_| {
        let file = args.file.display();
        Failure::failed(format!("{file} cannot be used; `bonded policy check {file}` says why"))
    })?;
    let covering: Vec<_> = loaded.policies.iter().filter(|policy| policy.scope.covers(&repository)).collect();
    for policy in &covering {
        let gates = gates(policy, &repository, tag.as_ref());
        args.output.line(|| text(policy, &gates), || object(policy, &gates));
    }
    if covering.is_empty() {
        args.output
            .line(|| format!("no policy is about {repository}"), || json!({ "repository": repository.as_str() }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a policy has to be satisfied.
fn gates(policy: &Policy, repository: &RepoName, tag: Option<&Tag>) -> Vec<&'static str> {
    let applies = |gate: &Gate| policy.applies(repository, *gate, tag);
    Gate::ALL.into_iter().filter(applies).map(Gate::as_str).collect()
}

fn text(policy: &Policy, gates: &[&str]) -> String {
    let at = match (policy.mode, gates) {
        (Mode::Off, _) => "off".to_owned(),
        (mode, []) => format!("{} nothing of this", mode.as_str()),
        (mode, gates) => format!("{} at {}", mode.as_str(), gates.join(", ")),
    };
    let mut lines = vec![format!("{}: {at}", policy.name)];
    lines.extend(policy.asks().iter().map(|ask| format!("  {ask}")));
    lines.extend(policy.authorities.iter().map(|authority| format!("    {authority}")));
    lines.join("\n")
}

fn object(policy: &Policy, gates: &[&str]) -> Value {
    let authorities: Vec<_> = policy.authorities.iter().map(ToString::to_string).collect();
    json!({
        "policy": policy.name, "mode": policy.mode.as_str(), "gates": gates, "asks": policy.asks(), "authorities": authorities,
    })
}

/// Reads a document; files that it names lie beside it. A trusted root that is given stands for every one of those.
pub(super) fn load(path: &Path, root: Option<&[u8]>) -> Result<Result<Loaded, Faults>, Failure> {
    read_policies(path, root).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
