//! What happens when the server is killed, and how much memory it takes.

mod kill;
pub(crate) mod memory;
mod pusher;

use crate::runner::{Scenario, scenario};

const GROUP: &str = "faults";

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario(GROUP, "kill", kill::run), scenario(GROUP, "memory", memory::run_small)]
}
