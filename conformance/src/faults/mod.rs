//! What happens when the server is killed, stopped, started twice or damaged, and how much memory it takes.

mod kill;
pub(crate) mod memory;
mod process;
mod pusher;
mod races;

use crate::runner::{Scenario, scenario};

const GROUP: &str = "faults";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "kill", kill::run),
        scenario(GROUP, "graceful stop", process::graceful_stop),
        scenario(GROUP, "refused starts", process::refused_starts),
        scenario(GROUP, "damage heals", process::damage_heals),
        scenario(GROUP, "races", races::run),
        scenario(GROUP, "memory", memory::run_small),
    ]
}
