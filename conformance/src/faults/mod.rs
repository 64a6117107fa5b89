//! What happens when the server is killed, stopped, started twice or damaged, and how much memory it takes.

pub(crate) mod chaos;
mod crash;
mod handover;
mod kill;
pub(crate) mod memory;
mod process;
mod pusher;
mod races;
mod scrub;

use crate::runner::{Scenario, scenario};

const GROUP: &str = "faults";

/// All of them; those of many nodes only where many nodes are driven.
pub(crate) fn all(topology: bool) -> Vec<Scenario> {
    let mut all = vec![
        scenario(GROUP, "kill", kill::run),
        scenario(GROUP, "crash", crash::run),
        scenario(GROUP, "graceful stop", process::graceful_stop),
        scenario(GROUP, "refused starts", process::refused_starts),
        scenario(GROUP, "damage heals", process::damage_heals),
        scenario(GROUP, "scrub", scrub::run),
        scenario(GROUP, "races", races::run),
        scenario(GROUP, "memory", memory::run_small),
    ];
    if topology {
        all.push(scenario(GROUP, "handover", handover::run));
        all.push(scenario(GROUP, "chaos", chaos::run_short));
    }
    all
}
