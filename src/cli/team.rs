//! `bonded team`: accounts that are given roles together.

use std::process::ExitCode;

use clap::Subcommand;

use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{TeamName, UserName};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;

/// Teams read at once.
const PAGE: u32 = 500;

/// What to do with teams.
#[derive(Debug, Subcommand)]
pub(super) enum TeamVerb {
    /// Makes a team.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Ends a team, with its roles.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Puts an account into a team.
    Join {
        /// The team.
        name: String,
        /// The account.
        user: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Takes an account out of a team.
    Leave {
        /// The team.
        name: String,
        /// The account.
        user: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists teams, or the members of one.
    Ls {
        /// The team.
        name: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Does it.
pub(super) fn run(verb: &TeamVerb) -> Result<ExitCode, Failure> {
    let by = Actor::command_line();
    match verb {
        TeamVerb::Create { name, data } => {
            let name: TeamName = parsed("the name of a team", name)?;
            with_auth(data.load()?.config, async |auth| {
                let added = auth.accounts().team_add(&name, auth.now(), &by).await.map_err(Failure::failed)?;
                done(added, &format!("added team {name}"), format!("there is a team `{name}` already"))
            })
        }
        TeamVerb::Rm { name, data } => {
            let name: TeamName = parsed("the name of a team", name)?;
            with_auth(data.load()?.config, async |auth| {
                let ended = auth.accounts().team_delete(&name, auth.now(), &by).await.map_err(Failure::failed)?;
                done(ended, &format!("removed team {name}"), format!("there is no team `{name}`"))
            })
        }
        TeamVerb::Join { name, user, data } => set(name, user, true, data),
        TeamVerb::Leave { name, user, data } => set(name, user, false, data),
        TeamVerb::Ls { name: None, data } => with_auth(data.load()?.config, async |auth| list(auth).await),
        TeamVerb::Ls { name: Some(name), data } => {
            let name: TeamName = parsed("the name of a team", name)?;
            with_auth(data.load()?.config, async |auth| {
                let members = auth.accounts().team_members(&name).await.map_err(Failure::failed)?;
                let members = members.ok_or_else(|| Failure::failed(format!("there is no team `{name}`")))?;
                for member in members {
                    print(format_args!("{member}\n"));
                }
                Ok(())
            })
        }
    }
}

fn set(name: &str, user: &str, member: bool, data: &DataArgs) -> Result<ExitCode, Failure> {
    let name: TeamName = parsed("the name of a team", name)?;
    let user: UserName = parsed("the name of an account", user)?;
    with_auth(data.load()?.config, async |auth| {
        let (now, by): (Timestamp, Actor) = (auth.now(), Actor::command_line());
        let set = auth.accounts().team_member_set(&name, &user, member, now, &by).await.map_err(Failure::failed)?;
        let is = if member { "is in" } else { "is not in" };
        done(set, &format!("{user} {is} team {name}"), format!("there is no team `{name}` or no account `{user}`"))
    })
}

async fn list(auth: &Auth) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let teams = auth.accounts().team_list(after.as_deref(), PAGE).await.map_err(Failure::failed)?;
        let Some(last) = teams.last() else { return Ok(()) };
        after = Some(last.to_string());
        for team in &teams {
            print(format_args!("{team}\n"));
        }
    }
}

/// Says what was done, or why it was not.
pub(super) fn done(done: bool, what: &str, why_not: String) -> Result<(), Failure> {
    if !done {
        return Err(Failure::failed(why_not));
    }
    print(format_args!("{what}\n"));
    Ok(())
}
