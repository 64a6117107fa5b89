//! `bonded ns`: namespaces, and who may do what in them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::quota::{self, QuotaArgs};
use super::team::done;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{NamespacePath, Role, UserName};
use crate::auth::Auth;
use crate::metadata::model::accounts::{Actor, Granted, Member, NamespaceAdded, NamespaceRecord};

/// Namespaces read at once.
const PAGE: u32 = 500;

/// What to do with namespaces.
#[derive(Debug, Subcommand)]
pub(super) enum NamespaceVerb {
    /// Makes a namespace: every repository whose path begins with it belongs to it, unless a longer one does.
    Create {
        /// Its path: one to three components, such as `team/app`.
        path: String,
        /// The account that owns it.
        #[arg(long)]
        owner: String,
        /// Anybody may pull its repositories, unless one says something else.
        #[arg(long)]
        public: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Gives an account or a team a role.
    Grant {
        /// The namespace.
        path: String,
        /// The account, or `team:NAME`.
        member: String,
        /// read, write, admin or owner.
        role: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Takes the role of an account or a team.
    Revoke {
        /// The namespace.
        path: String,
        /// The account, or `team:NAME`.
        member: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists namespaces, or the members of one with their roles.
    Ls {
        /// The namespace.
        path: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Shows what a namespace may hold and what it holds, or changes the former.
    Quota(QuotaArgs),
    /// Lets anybody pull its repositories, unless one says something else.
    Publish(NamespaceArgs),
    /// Takes that back.
    Hide(NamespaceArgs),
    /// Ends a namespace with its roles and robots. Its repositories stay, for those who may do everything.
    Rm(NamespaceArgs),
}

/// Which namespace.
#[derive(Debug, Args)]
pub(super) struct NamespaceArgs {
    /// Its path.
    path: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &NamespaceVerb) -> Result<ExitCode, Failure> {
    match verb {
        NamespaceVerb::Create { path, owner, public, data } => create(path, owner, *public, data),
        NamespaceVerb::Grant { path, member, role, data } => {
            set_role(path, member, Some(parsed("a role", role)?), data)
        }
        NamespaceVerb::Revoke { path, member, data } => set_role(path, member, None, data),
        NamespaceVerb::Ls { path: None, data } => with_auth(data.load()?.config, async |auth| list(auth).await),
        NamespaceVerb::Ls { path: Some(path), data } => {
            let path = namespace(path)?;
            with_auth(data.load()?.config, async |auth| members(auth, &path).await)
        }
        NamespaceVerb::Quota(args) => quota::run(args),
        NamespaceVerb::Publish(args) => set_public(args, true),
        NamespaceVerb::Hide(args) => set_public(args, false),
        NamespaceVerb::Rm(args) => {
            let path = namespace(&args.path)?;
            with_auth(args.data.load()?.config, async |auth| {
                let (now, by) = (auth.now(), Actor::command_line());
                let ended = auth.accounts().namespace_delete(&path, now, &by).await.map_err(Failure::failed)?;
                done(ended, &format!("removed namespace {path}"), unknown(&path))
            })
        }
    }
}

fn create(path: &str, owner: &str, public: bool, data: &DataArgs) -> Result<ExitCode, Failure> {
    let (path, owner) = (namespace(path)?, parsed::<UserName>("the name of an account", owner)?);
    with_auth(data.load()?.config, async |auth| {
        let new = NamespaceRecord { path: path.clone(), public, created_at: auth.now() };
        let added = auth.accounts().namespace_add(&new, &owner, &Actor::command_line()).await;
        match added.map_err(Failure::failed)? {
            NamespaceAdded::Added => done(true, &format!("added namespace {path}"), String::new()),
            NamespaceAdded::Taken => Err(Failure::failed(format!("there is a namespace `{path}` already"))),
            NamespaceAdded::OwnerUnknown => Err(Failure::failed(format!("there is no account `{owner}`"))),
        }
    })
}

fn set_role(path: &str, member: &str, role: Option<Role>, data: &DataArgs) -> Result<ExitCode, Failure> {
    let path = namespace(path)?;
    let who = match member.strip_prefix("team:") {
        Some(team) => Member::Team(parsed("the name of a team", team)?),
        None => Member::User(parsed("the name of an account", member)?),
    };
    with_auth(data.load()?.config, async |auth| {
        let (now, by) = (auth.now(), Actor::command_line());
        let granted = auth.accounts().role_set(&path, &who, role, now, &by).await.map_err(Failure::failed)?;
        let why = match granted {
            Granted::Done => {
                let role = role.map_or("no role", Role::as_str);
                print(format_args!("{member} has {role} in {path}\n"));
                return Ok(());
            }
            Granted::NamespaceUnknown => unknown(&path),
            Granted::MemberUnknown => format!("there is no `{member}`"),
            Granted::LastOwner => format!("`{member}` is the last owner of {path}; make another one first"),
        };
        Err(Failure::failed(why))
    })
}

fn set_public(args: &NamespaceArgs, public: bool) -> Result<ExitCode, Failure> {
    let path = namespace(&args.path)?;
    with_auth(args.data.load()?.config, async |auth| {
        let (now, by) = (auth.now(), Actor::command_line());
        let set = auth.accounts().namespace_public(&path, public, now, &by).await.map_err(Failure::failed)?;
        let is = if public { "public" } else { "private" };
        done(set, &format!("the repositories of {path} are {is}, unless one says something else"), unknown(&path))
    })
}

async fn list(auth: &Auth) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let found = auth.accounts().namespace_list(after.as_deref(), PAGE).await.map_err(Failure::failed)?;
        let Some(last) = found.last() else { return Ok(()) };
        after = Some(last.path.to_string());
        for namespace in &found {
            let is = if namespace.public { "public" } else { "private" };
            print(format_args!("{}\t{is}\n", namespace.path));
        }
    }
}

async fn members(auth: &Auth, path: &NamespacePath) -> Result<(), Failure> {
    let roles = auth.accounts().role_list(path).await.map_err(Failure::failed)?;
    for (member, role) in roles.ok_or_else(|| Failure::failed(unknown(path)))? {
        match member {
            Member::User(name) => print(format_args!("{name}\t{role}\n")),
            Member::Team(name) => print(format_args!("team:{name}\t{role}\n")),
        }
    }
    Ok(())
}

fn namespace(text: &str) -> Result<NamespacePath, Failure> {
    parsed("a namespace", text)
}

fn unknown(path: &NamespacePath) -> String {
    format!("there is no namespace `{path}`; `bonded ns ls` lists them")
}
