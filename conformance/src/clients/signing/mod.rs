//! Real cosign, of its two releases that people use, signs in a registry that has a policy: what the registry then says of
//! the image is what `cosign verify` says, but where cosign takes what nobody should; and what `bonded verify` says, which
//! asks the registry or judges by itself.

mod attested;
mod bonded;
mod cosign;
mod gate;
mod matrix;
mod page;
mod registry;
mod stricter;

use self::cosign::Release;
use self::matrix::Witness;
use crate::runner::{Context, Scenario, scenario};

const GROUP: &str = "signatures";
const ATTESTED: &str = "attestations beside signatures";

/// The scenarios with the newest release.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "cosign", async |context: &Context| {
            matrix::run(context, &[Release::V3], &Witness::WITHOUT_REKOR2).await
        }),
        scenario(ATTESTED, "cosign", async |context: &Context| attested::run(context, Release::V3).await),
        scenario("signature gate", "cosign", gate::run),
        scenario("signature pages", "cosign", page::run),
        scenario("signatures that only cosign takes", "cosign", stricter::run),
    ]
}

/// Those with programs that take long to build, so they run only where they are named.
pub(super) fn rare() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "cosign-v2", async |context: &Context| {
            matrix::run(context, &[Release::V2], &Witness::WITHOUT_REKOR2).await
        }),
        scenario(ATTESTED, "cosign-v2", async |context: &Context| attested::run(context, Release::V2).await),
        scenario(GROUP, "rekor-2", async |context: &Context| {
            matrix::run(context, &[Release::V3, Release::V2], &[Witness::Rekor2]).await
        }),
    ]
}
