//! `bonded robot`: accounts of machines.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Format;
use super::user::refused;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{NamespacePath, Role, UserName};
use crate::auth::Auth;
use crate::metadata::model::accounts::{Actor, UserChange};

/// Robots read at once.
const PAGE: u32 = 500;

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
    /// Lists the robots of a namespace: name, role, and whether it is disabled.
    Ls {
        /// The namespace, such as `team/app`.
        namespace: String,
        /// `text` for people, `json` for one object a line.
        #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Format,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lets a robot do nothing any more; its tokens end within seconds, for good.
    Disable(RobotArgs),
    /// Takes that back, but for the tokens.
    Enable(RobotArgs),
    /// Ends a robot, with its tokens.
    Rm(RobotArgs),
}

/// Which robot.
#[derive(Debug, Args)]
pub(super) struct RobotArgs {
    /// Its whole name, such as `team/app+ci`.
    name: String,
    #[command(flatten)]
    data: DataArgs,
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
        RobotVerb::Ls { namespace, output, data } => {
            let namespace: NamespacePath = parsed("a namespace", namespace)?;
            with_auth(data.load()?.config, async |auth| list(auth, &namespace, *output).await)
        }
        RobotVerb::Disable(args) => disable(args, true),
        RobotVerb::Enable(args) => disable(args, false),
        RobotVerb::Rm(args) => {
            let name = robot(&args.name)?;
            with_auth(args.data.load()?.config, async |auth| {
                auth.delete_user(&name, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("removed {name}\n"));
                Ok(())
            })
        }
    }
}

/// The name of a robot; people have a verb of their own.
fn robot(text: &str) -> Result<UserName, Failure> {
    let name: UserName = parsed("the name of a robot", text)?;
    if !name.is_robot() {
        return Err(Failure::usage(format!("`{name}` is no robot; see `bonded user`")));
    }
    Ok(name)
}

fn disable(args: &RobotArgs, disabled: bool) -> Result<ExitCode, Failure> {
    let name = robot(&args.name)?;
    with_auth(args.data.load()?.config, async |auth| {
        let (change, by) = (UserChange::Disabled(disabled), Actor::command_line());
        auth.change_user(&name, &change, &by).await.map_err(|error| refused(&error))?;
        print(format_args!("{name} is {}\n", if disabled { "disabled" } else { "enabled" }));
        Ok(())
    })
}

async fn list(auth: &Auth, namespace: &NamespacePath, format: Format) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let robots = auth.accounts().robot_list(namespace, after.as_deref(), PAGE).await.map_err(Failure::failed)?;
        let robots = robots.ok_or_else(|| Failure::failed(format!("there is no namespace `{namespace}`")))?;
        let Some(last) = robots.last() else { return Ok(()) };
        after = Some(last.name.to_string());
        for robot in &robots {
            let (role, disabled) = (robot.role.map(Role::as_str), robot.disabled_at.is_some());
            let state = if disabled { "\tdisabled" } else { "" };
            let object = json!({"name": robot.name.as_str(), "role": role, "disabled": disabled});
            format.line(|| format!("{}\t{}{state}", robot.name, role.unwrap_or("no role")), || object);
        }
    }
}
