//! How distribution (`registry:2`, `registry:3`, Harbor's registry) names its objects.
//!
//! ```text
//! <root>/blobs/sha256/ab/<hex>/data
//! <root>/repositories/<name>/_layers/sha256/<hex>/link
//! <root>/repositories/<name>/_manifests/revisions/sha256/<hex>/link
//! <root>/repositories/<name>/_manifests/tags/<tag>/current/link
//! <root>/repositories/<name>/_uploads/...
//! ```
//!
//! A link is the digest as text. That of a layer or a revision repeats its path, so only links of tags are read.

use crate::oci::digest::Digest;
use crate::storage::Key;

/// Where distribution keeps everything, below the root of its storage.
pub const ROOT: &str = "docker/registry/v2";

/// What the key of an object below a repository says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The repository may serve this blob.
    Layer(Digest),
    /// The repository has this manifest.
    Revision(Digest),
    /// The tag, as it stands in the path, names what its link says.
    Tag(String),
    /// Bytes of an upload under way.
    Upload,
    /// Part of a tag's history, or a signature of the first manifest format.
    Other,
}

/// The layout below a root.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: String,
}

impl Layout {
    pub(super) fn new(root: &Key) -> Self {
        Self { root: root.to_string() }
    }

    /// Where the bytes of a digest are.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Key> {
        let hex = digest.hex();
        Key::parse(&format!("{}/blobs/{}/{}/{hex}/data", self.root, digest.algorithm(), &hex[..2]))
    }

    /// Folder of all blobs.
    pub(super) fn blobs(&self) -> Option<Key> {
        Key::parse(&format!("{}/blobs", self.root))
    }

    /// Folder of all repositories.
    pub(super) fn repositories(&self) -> Option<Key> {
        Key::parse(&format!("{}/repositories", self.root))
    }

    /// A folder of one repository.
    pub(super) fn folder(&self, repository: &str, folder: &str) -> Option<Key> {
        Key::parse(&format!("{}/repositories/{repository}/{folder}", self.root))
    }

    /// The link of a tag.
    pub(super) fn tag(&self, repository: &str, tag: &str) -> Option<Key> {
        self.folder(repository, &format!("_manifests/tags/{tag}/current/link"))
    }

    /// The repository of a key, and what the key says about it.
    ///
    /// The part of a name never begins with `_`, so the first one that does ends the name.
    pub(super) fn parse<'k>(&self, key: &'k Key) -> Option<(&'k str, Link)> {
        let rest = key.as_str().strip_prefix(&self.root)?.strip_prefix("/repositories/")?;
        let at = rest.find("/_")?;
        let (name, inner) = (&rest[..at], &rest[at + 1..]);
        let parts: Vec<&str> = inner.split('/').collect();
        let digest = |algorithm: &str, hex: &str| format!("{algorithm}:{hex}").parse().ok();
        let link = match parts.as_slice() {
            ["_layers", algorithm, hex, "link"] => digest(algorithm, hex).map(Link::Layer),
            ["_manifests", "revisions", algorithm, hex, "link"] => digest(algorithm, hex).map(Link::Revision),
            ["_manifests", "tags", tag, "current", "link"] => Some(Link::Tag((*tag).to_owned())),
            ["_uploads", ..] => Some(Link::Upload),
            _ => None,
        };
        Some((name, link.unwrap_or(Link::Other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parsed(rest: &str) -> Option<(String, Link)> {
        let layout = Layout::new(&Key::parse(ROOT).expect("a key"));
        let key = Key::parse(&format!("{ROOT}/repositories/{rest}")).expect("a key");
        layout.parse(&key).map(|(name, link)| (name.to_owned(), link))
    }

    #[test]
    fn keys_say_what_they_are() {
        let digest: Digest = format!("sha256:{HEX}").parse().expect("a digest");
        let cases = [
            (format!("a/b/_layers/sha256/{HEX}/link"), Link::Layer(digest.clone())),
            (format!("a/b/_manifests/revisions/sha256/{HEX}/link"), Link::Revision(digest)),
            ("a/b/_manifests/tags/v1/current/link".to_owned(), Link::Tag("v1".to_owned())),
            (format!("a/b/_manifests/tags/v1/index/sha256/{HEX}/link"), Link::Other),
            ("a/b/_uploads/1/data".to_owned(), Link::Upload),
            ("a/b/_layers/sha256/zz/link".to_owned(), Link::Other),
        ];
        for (key, link) in cases {
            assert_eq!(parsed(&key), Some(("a/b".to_owned(), link)), "{key}");
        }
        assert_eq!(parsed("stray"), None);
    }

    #[test]
    fn the_empty_blob_has_its_place() {
        let layout = Layout::new(&Key::parse(ROOT).expect("a key"));
        let digest = format!("sha256:{HEX}").parse().expect("a digest");
        let key = layout.blob(&digest).expect("a key");
        assert_eq!(key.as_str(), format!("{ROOT}/blobs/sha256/e3/{HEX}/data"));
    }
}
