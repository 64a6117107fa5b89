//! `bonded publisher`: whose jobs may publish without a secret of this registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::team::done;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{Audience, ClaimRules, NamespacePath, PublisherName, Role};
use crate::auth::{Auth, PublisherWish};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::PublisherRecord;

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(super) enum PublisherVerb {
    /// Makes a rule: whoever shows a token of the issuer with these claims has a role in the namespace for some minutes.
    Add(AddArgs),
    /// Lists the rules of a namespace.
    Ls {
        /// The namespace.
        namespace: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Ends a rule, and the tokens that came of it.
    Rm {
        /// The namespace.
        namespace: String,
        /// The rule.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// The rule.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The namespace, such as `team/app`.
    namespace: String,
    /// What the rule is called in the namespace, such as `github`.
    name: String,
    /// Who signs the tokens, such as `https://token.actions.githubusercontent.com`.
    #[arg(long)]
    issuer: String,
    /// For whom the tokens have to be [default: the host of `public_url`, or `bonded`].
    #[arg(long)]
    audience: Option<String>,
    /// A claim and the glob that its value has to match, such as `repository=acme/app` or `ref=refs/tags/*`; repeat it.
    #[arg(long = "claim", value_name = "NAME=GLOB", required = true)]
    claims: Vec<String>,
    /// What it gives: read, write or admin.
    #[arg(long, default_value = "write")]
    role: String,
    /// Takes the same token any number of times, and tokens without a `jti`.
    #[arg(long)]
    reuse: bool,
    /// A file with the issuer's keys (a JWK set), for one that cannot be asked for them.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &PublisherVerb) -> Result<ExitCode, Failure> {
    match verb {
        PublisherVerb::Add(args) => add(args),
        PublisherVerb::Ls { namespace, data } => {
            let namespace: NamespacePath = parsed("a namespace", namespace)?;
            with_auth(data.load()?.config, async |auth| list(auth, &namespace).await)
        }
        PublisherVerb::Rm { namespace, name, data } => {
            let namespace: NamespacePath = parsed("a namespace", namespace)?;
            let name: PublisherName = parsed("the name of a rule", name)?;
            with_auth(data.load()?.config, async |auth| {
                let ended = auth.end_publisher(&namespace, &name, &Actor::command_line()).await;
                let why_not = format!("there is no rule `{name}` in `{namespace}`");
                done(ended.map_err(Failure::failed)?, &format!("removed {name} of {namespace}"), why_not)
            })
        }
    }
}

fn add(args: &AddArgs) -> Result<ExitCode, Failure> {
    let namespace: NamespacePath = parsed("a namespace", &args.namespace)?;
    let jwks = args.jwks.as_ref().map(|path| {
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    });
    let audience = args.audience.as_deref().map(|audience| parsed::<Audience>("an audience", audience)).transpose()?;
    let wish = PublisherWish {
        name: parsed("the name of a rule", &args.name)?,
        issuer: parsed("an issuer", &args.issuer)?,
        audience,
        claims: claims(&args.claims)?,
        role: parsed::<Role>("a role", &args.role)?,
        reuse: args.reuse,
        jwks: jwks.transpose()?,
    };
    with_auth(args.data.load()?.config, async |auth| {
        let name = wish.name.clone();
        auth.add_publisher(&namespace, wish, &Actor::command_line()).await.map_err(Failure::failed)?;
        print(format_args!("added {name} of {namespace}\n"));
        Ok(())
    })
}

fn claims(given: &[String]) -> Result<ClaimRules, Failure> {
    let mut patterns = BTreeMap::new();
    for claim in given {
        let (name, pattern) = claim.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{claim}` is not a claim with its glob, such as `ref=refs/tags/*`"))
        })?;
        if patterns.insert(name.to_owned(), pattern.to_owned()).is_some() {
            return Err(Failure::usage(format!("claim `{name}` is there twice; make a rule for each")));
        }
    }
    ClaimRules::parse(patterns).map_err(Failure::usage)
}

async fn list(auth: &Auth, namespace: &NamespacePath) -> Result<(), Failure> {
    let rules = auth.publishers(namespace).await.map_err(Failure::failed)?;
    let rules = rules.ok_or_else(|| Failure::failed(format!("there is no namespace `{namespace}`")))?;
    for PublisherRecord { name, issuer, audience, claims, role, reuse, .. } in rules {
        let claims: Vec<String> = claims.patterns().iter().map(|(name, pattern)| format!("{name}={pattern}")).collect();
        let reuse = if reuse { "\treuse" } else { "" };
        print(format_args!("{name}\t{role}\t{issuer}\t{audience}\t{}{reuse}\n", claims.join(" ")));
    }
    Ok(())
}
