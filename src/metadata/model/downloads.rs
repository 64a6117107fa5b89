//! Who downloaded what, as the store gives and takes it.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;

/// Whose downloads of what are counted together. The order is that in which rows are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Download {
    /// When the hour began.
    pub hour: Timestamp,
    /// The repository.
    pub repo: RepoName,
    /// The manifest.
    pub digest: Digest,
    /// The account; `None`: nobody in particular.
    pub actor: Option<String>,
    /// The address, or the first one of its network; `None`: of many.
    pub address: Option<IpAddr>,
}

/// A [`Download`] with its row and how many there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadRecord {
    /// The row.
    pub id: i64,
    /// What.
    pub download: Download,
    /// How many.
    pub pulls: u64,
}
