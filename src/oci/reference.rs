//! What stands behind `/manifests/`: a tag or a digest.

use std::fmt;
use std::str::FromStr;

use crate::oci::digest::{Digest, DigestError};
use crate::oci::name::{NameError, Tag};

/// Why a text is neither a tag nor a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has a colon, so it was meant as a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It has no colon, so it was meant as a tag.
    #[error(transparent)]
    Tag(#[from] NameError),
}

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that can be moved.
    Tag(Tag),
    /// Content that cannot.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_it_a_digest() {
        assert!(matches!("latest".parse(), Ok(Reference::Tag(_))));
        assert!(matches!("sha256:x".parse::<Reference>(), Err(ReferenceError::Digest(DigestError::Value))));
        assert!(matches!("".parse::<Reference>(), Err(ReferenceError::Tag(NameError::Tag))));
        let digest = Digest::of(crate::oci::digest::Algorithm::Sha512, b"x").to_string();
        assert_eq!(digest.parse::<Reference>().map(|r| r.to_string()), Ok(digest));
    }
}
