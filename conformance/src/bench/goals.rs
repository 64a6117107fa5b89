//! The goals of this registry: ratios to the fastest peer, and to what the machine can do.

use super::args::Known;
use super::workload::Workload;

/// The least ratio to the fastest peer, where there is a goal.
pub(crate) fn peer_goal(workload: Workload, known: Known, is_topology: bool) -> Option<f64> {
    if is_topology { topology_goal(workload) } else { folder_goal(workload, known == Known::BondedRelaxed) }
}

/// The least ratio to a plain write with SHA-256, where there is a goal.
pub(crate) fn limit_goal(workload: Workload, known: Known) -> Option<f64> {
    let is_large =
        matches!(workload, Workload::Push10Patch | Workload::Push10Put | Workload::Push100Patch | Workload::Push100Put);
    (is_large && known == Known::BondedRelaxed).then_some(0.85)
}

fn folder_goal(workload: Workload, is_relaxed: bool) -> Option<f64> {
    let by_mode = |relaxed: f64, strict: f64| Some(if is_relaxed { relaxed } else { strict });
    match workload {
        Workload::ManifestGetTag
        | Workload::ManifestGetDigest
        | Workload::ManifestHeadTag
        | Workload::ManifestHeadDigest
        | Workload::TagList
        | Workload::Referrers => Some(2.0),
        Workload::PushTiny => by_mode(2.0, 1.5),
        Workload::Push1Patch | Workload::Push1Put => by_mode(1.5, 1.2),
        Workload::Push10Patch | Workload::Push10Put => is_relaxed.then_some(1.1),
        Workload::Push100Patch | Workload::Push100Put => is_relaxed.then_some(0.95),
        Workload::Pull1 => Some(1.2),
        Workload::Pull10 | Workload::Pull100 => Some(0.95),
        Workload::Mixed => Some(1.5),
        _ => None,
    }
}

fn topology_goal(workload: Workload) -> Option<f64> {
    match workload {
        Workload::ManifestGetTag | Workload::ManifestGetDigest => Some(5.0),
        Workload::PushTiny => Some(10.0),
        Workload::Push1Patch | Workload::Push1Put => Some(4.0),
        Workload::Push100Patch | Workload::Push100Put => Some(1.5),
        Workload::Pull1 | Workload::Pull10 | Workload::Pull100 => Some(1.2),
        _ => None,
    }
}
