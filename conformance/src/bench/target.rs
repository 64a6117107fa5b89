//! A registry that is measured, and what it has in it.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::args::{Known, RunningTarget};
use super::payload::Payloads;
use super::peers::{Launcher, Life};
use super::seeding::{self, Seeded};
use super::workload::Seed;

/// What a target is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    /// This registry, compared with the fastest peer and with the limit.
    Own,
    /// Another registry.
    Peer,
    /// What the machine can do.
    Limit,
}

/// A registry, running.
pub(crate) struct Target {
    /// How the report calls it.
    pub(crate) name: String,
    /// What it is compared with.
    pub(crate) category: Category,
    /// The kind, if it was started here.
    pub(crate) known: Option<Known>,
    /// What its program says.
    pub(crate) version: String,
    launcher: Option<Launcher>,
    life: Life,
    seeds: Vec<(Seed, Vec<Seeded>)>,
    pushed: u64,
}

impl Target {
    /// A registry that somebody else started. Its name says what it is, as far as it is this one.
    pub(crate) fn running(running: &RunningTarget) -> Self {
        let life = Life::foreign(&running.authority, running.pid);
        let known = [Known::Bonded, Known::BondedRelaxed].into_iter().find(|known| known.name() == running.name);
        let category = if known.is_some() { Category::Own } else { Category::Peer };
        let (name, version) = (running.name.clone(), "unknown".to_owned());
        Self { name, category, known, version, launcher: None, life, seeds: Vec::new(), pushed: 0 }
    }

    /// Starts one.
    pub(crate) async fn start(launcher: Launcher) -> Result<Self> {
        let life = launcher.launch().await?;
        let known = launcher.known();
        let category = match known {
            Known::Bonded | Known::BondedRelaxed => Category::Own,
            Known::Nginx | Known::WriteHash => Category::Limit,
            _ => Category::Peer,
        };
        let (name, version) = (known.name().to_owned(), launcher.version());
        let (launcher, known) = (Some(launcher), Some(known));
        Ok(Self { name, category, known, version, launcher, life, seeds: Vec::new(), pushed: 0 })
    }

    /// `host:port` of each node.
    pub(crate) fn authorities(&self) -> &[String] {
        &self.life.authorities
    }

    /// `host:port` of the first node.
    pub(crate) fn authority(&self) -> Result<&str> {
        self.life.authorities.first().map(String::as_str).context("a target without an address")
    }

    /// Where its bytes end up, if that is known.
    pub(crate) fn data(&self) -> Option<&Path> {
        self.life.data.as_deref()
    }

    /// Makes sure that the content is there.
    pub(crate) async fn seed(&mut self, seed: Seed, payloads: &Payloads) -> Result<()> {
        self.seeds.retain(|(other, _)| *other != seed || seed != Seed::Cold);
        if self.seeds.iter().any(|(other, _)| *other == seed) {
            return Ok(());
        }
        let images = seeding::images(seed, payloads);
        match (self.known, self.data()) {
            (Some(Known::Nginx), Some(data)) => seeding::write(data, &images)?,
            _ => seeding::push(self.authority()?, &images).await?,
        }
        self.count_pushed(images.iter().map(|seeded| seeded.image.bytes()).sum());
        self.seeds.push((seed, images));
        Ok(())
    }

    /// The content of a seed.
    pub(crate) fn seeded(&self, seed: Seed) -> &[Seeded] {
        self.seeds.iter().find(|(other, _)| *other == seed).map_or(&[], |(_, images)| images)
    }

    /// Notes that so many bytes more were pushed.
    pub(crate) fn count_pushed(&mut self, bytes: u64) {
        self.pushed += bytes;
    }

    /// Bytes that were pushed since it was started, or by us.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Starts it again with nothing stored; false if somebody else started it.
    pub(crate) async fn restart_empty(&mut self) -> Result<bool> {
        let Some(launcher) = &self.launcher else { return Ok(false) };
        self.life = launcher.launch().await?;
        self.seeds.clear();
        self.pushed = 0;
        Ok(true)
    }

    /// Lets the peak of its memory begin anew, where the kernel allows that.
    pub(crate) fn reset_peak(&self) {
        for pid in &self.life.pids {
            // "5" resets VmHWM (proc(5)); a peak of a longer time is still a peak.
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// The most memory that its processes held, in bytes, if they are known.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let peaks = self.life.pids.iter().filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        peaks.reduce(|sum, peak| sum + peak).map(|kilobytes| kilobytes * 1024)
    }
}
