//! What is measured: each workload by its name, and what it needs to be there before.

use clap::ValueEnum;

use super::flows::{Flow, MEGABYTE};

/// A way of using a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// GET of a manifest by one of 100 tags of a repository.
    ManifestGetTag,
    /// GET of one of these manifests by its digest.
    ManifestGetDigest,
    /// HEAD of a manifest by tag.
    ManifestHeadTag,
    /// HEAD of a manifest by digest.
    ManifestHeadDigest,
    /// The list of 100 tags.
    TagList,
    /// The 10 referrers of a manifest.
    Referrers,
    /// The first 100 of at least 100 repositories.
    Catalog,
    /// Push of an image with two layers of 1 KiB, as oras does it.
    PushTiny,
    /// Push of an image with one layer of 1 MB, as docker does it.
    #[value(name = "push-1mb-patch")]
    Push1Patch,
    /// Push of an image with one layer of 1 MB, as oras does it.
    #[value(name = "push-1mb-put")]
    Push1Put,
    /// Push of an image with one layer of 10 MB, as docker does it.
    #[value(name = "push-10mb-patch")]
    Push10Patch,
    /// Push of an image with one layer of 10 MB, as oras does it.
    #[value(name = "push-10mb-put")]
    Push10Put,
    /// Push of an image with one layer of 100 MB, as docker does it.
    #[value(name = "push-100mb-patch")]
    Push100Patch,
    /// Push of an image with one layer of 100 MB, as oras does it.
    #[value(name = "push-100mb-put")]
    Push100Put,
    /// Push of an image with one layer of 10 MB in chunks of 1 MB.
    PushChunked,
    /// Pull of an image (manifest by tag, config, layer) with one layer of 1 MB.
    #[value(name = "pull-1mb")]
    Pull1,
    /// Pull of an image with one layer of 10 MB.
    #[value(name = "pull-10mb")]
    Pull10,
    /// Pull of an image with one layer of 100 MB.
    #[value(name = "pull-100mb")]
    Pull100,
    /// Three pulls of an image of 1 MB, then a push of a tiny one.
    Mixed,
    /// GET of a layer of 10 MB that breaks off in the middle, and the rest by a range on a new connection.
    PullResumed,
    /// GET of 1 MB out of the middle of a layer of 10 MB.
    PullRanged,
    /// Manifests by tag while 500 clients read a layer of 10 MB at 160 kB/s.
    SlowClients,
    /// 1,000 clients that all ask for the same layer of 10 MB, which is not in the page cache.
    ColdBlob,
    /// Manifests by tag while 10,000 connections in all are open.
    IdleConnections,
}

/// Content that is there before the first round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// A repository with 100 tags of tiny images.
    Tags,
    /// A manifest with 10 referrers.
    Referrers,
    /// 100 repositories with a tiny image each.
    Catalog,
    /// Images with one layer of so many bytes.
    Images(usize),
    /// One image of 10 MB, new in each round.
    Cold,
}

/// What is pushed: lengths of layers, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    /// Lengths of the layers.
    pub(crate) layers: &'static [usize],
    /// How they are sent.
    pub(crate) flow: Flow,
}

impl Workload {
    /// Its name on the command line and in the report.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does, in a line.
    pub(crate) fn description(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Whether it does without layers of 100 MB and without crowds.
    pub(crate) fn is_small(self) -> bool {
        !matches!(
            self,
            Self::Push100Patch
                | Self::Push100Put
                | Self::Pull100
                | Self::SlowClients
                | Self::ColdBlob
                | Self::IdleConnections
        )
    }

    /// What has to be there before.
    pub(crate) fn seeds(self) -> &'static [Seed] {
        match self {
            Self::ManifestGetTag | Self::ManifestGetDigest | Self::ManifestHeadTag | Self::ManifestHeadDigest => {
                &[Seed::Tags]
            }
            Self::TagList | Self::IdleConnections => &[Seed::Tags],
            Self::Referrers => &[Seed::Referrers],
            Self::Catalog => &[Seed::Catalog],
            Self::Pull1 | Self::Mixed => &[Seed::Images(MEGABYTE)],
            Self::Pull10 | Self::PullResumed | Self::PullRanged => &[Seed::Images(10 * MEGABYTE)],
            Self::Pull100 => &[Seed::Images(100 * MEGABYTE)],
            Self::SlowClients => &[Seed::Tags, Seed::Images(10 * MEGABYTE)],
            Self::ColdBlob => &[Seed::Cold],
            _ => &[],
        }
    }

    /// What it pushes, if it does.
    pub(crate) fn push(self) -> Option<Push> {
        let push = |layers, flow| Some(Push { layers, flow });
        match self {
            Self::PushTiny | Self::Mixed => push(&[1024, 1024], Flow::Put),
            Self::Push1Patch => push(&[MEGABYTE], Flow::Patch),
            Self::Push1Put => push(&[MEGABYTE], Flow::Put),
            Self::Push10Patch => push(&[10 * MEGABYTE], Flow::Patch),
            Self::Push10Put => push(&[10 * MEGABYTE], Flow::Put),
            Self::Push100Patch => push(&[100 * MEGABYTE], Flow::Patch),
            Self::Push100Put => push(&[100 * MEGABYTE], Flow::Put),
            Self::PushChunked => push(&[10 * MEGABYTE], Flow::Chunks),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_a_name_and_says_what_it_does() {
        for workload in Workload::value_variants() {
            assert!(!workload.description().is_empty(), "{workload:?}");
            assert!(Workload::from_str(&workload.name(), false).is_ok(), "{workload:?}");
            assert!(!workload.seeds().is_empty() || workload.push().is_some(), "{workload:?}");
        }
    }
}
