//! `bonded robot`: accounts of machines.

use std::process::ExitCode;

use clap::Subcommand;

use super::user::refused;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{NamespacePath, Role, UserName};
use crate::metadata::model::accounts::Actor;

/// What to do with robots.
#[derive(Debug, Subcommand)]
pub(super) enum RobotVerb {
    /// Makes a robot of a namespace; it is called `NAMESPACE+NAME`.
    Add {
        /// The namespace, such as `team/app`.
        namespace: String,
        /// Its own name, such as `ci`.
        name: String,
        /// What it may do there: read, write, admin or owner.
        #[arg(long, default_value = "write")]
        role: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Ends a robot, with its tokens.
    Rm {
        /// Its whole name, such as `team/app+ci`.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Does it.
pub(super) fn run(verb: &RobotVerb) -> Result<ExitCode, Failure> {
    let by = Actor::command_line();
    match verb {
        RobotVerb::Add { namespace, name, role, data } => {
            let namespace: NamespacePath = parsed("a namespace", namespace)?;
            let name = UserName::robot(&namespace, name)
                .map_err(|error| Failure::usage(format!("`{name}` is not the name of a robot: {error}")))?;
            let role: Role = parsed("a role", role)?;
            with_auth(data.load()?.config, async |auth| {
                auth.add_robot(&name, &namespace, role, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("added {name}; `bonded token create --user {name}` gives it a token\n"));
                Ok(())
            })
        }
        RobotVerb::Rm { name, data } => {
            let name: UserName = parsed("the name of a robot", name)?;
            if !name.is_robot() {
                return Err(Failure::usage(format!("`{name}` is no robot; see `bonded user rm`")));
            }
            with_auth(data.load()?.config, async |auth| {
                auth.delete_user(&name, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("removed {name}\n"));
                Ok(())
            })
        }
    }
}
