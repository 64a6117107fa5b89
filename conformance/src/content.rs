//! What scenarios push: random bytes from a printed seed, digests, and the smallest tar, gzip and base64 that real clients
//! accept.
//!
//! Everything is derived from one seed, so a failed run can be repeated byte for byte.

use bytes::Bytes;
pub(crate) use conformance::random::Random;
use sha2::{Digest as _, Sha256, Sha512};

/// The digest algorithms of the image specification that a registry has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// The canonical one.
    Sha256,
    /// The longer one.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// `algorithm:hex` of these bytes.
    pub(crate) fn digest(self, bytes: &[u8]) -> String {
        let hex = match self {
            Self::Sha256 => hex::encode(Sha256::digest(bytes)),
            Self::Sha512 => hex::encode(Sha512::digest(bytes)),
        };
        format!("{}:{hex}", self.name())
    }
}

/// Bytes under the digest that is declared for them, which a scenario may have made wrong on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// The declared digest.
    pub(crate) digest: String,
    /// The bytes that are sent.
    pub(crate) bytes: Bytes,
}

impl Blob {
    /// Bytes under their own digest.
    pub(crate) fn new(algorithm: Algorithm, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: algorithm.digest(&bytes), bytes }
    }

    /// Random bytes under their own sha256 digest.
    pub(crate) fn random(random: &Random, length: usize) -> Self {
        Self::new(Algorithm::Sha256, random.bytes(length))
    }

    /// The same digest over bytes that are not the ones it was made of.
    pub(crate) fn spoiled(mut self) -> Self {
        let mut bytes = self.bytes.to_vec();
        bytes.extend_from_slice(b"not what was promised");
        self.bytes = Bytes::from(bytes);
        self
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A tar archive of one file (POSIX ustar).
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; TAR_BLOCK];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(TAR_BLOCK) + 2 * TAR_BLOCK, 0);
    archive
}

const TAR_BLOCK: usize = 512;

/// A gzip member that stores instead of compressing (RFC 1951 section 3.2.4, RFC 1952).
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let pieces: Vec<&[u8]> = if content.is_empty() { vec![content] } else { content.chunks(0xffff).collect() };
    for (at, piece) in pieces.iter().enumerate() {
        let length = u16::try_from(piece.len()).expect("a piece has at most 65535 bytes");
        out.push(u8::from(at + 1 == pieces.len()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&crc32(content).to_le_bytes());
    let size = u32::try_from(content.len()).expect("test content stays far below 4 GiB");
    out.extend_from_slice(&size.to_le_bytes());
    out
}

fn crc32(content: &[u8]) -> u32 {
    !content.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Standard base64 with padding (RFC 4648 section 4).
pub(crate) fn base64(content: &[u8]) -> String {
    let mut out = String::with_capacity(content.len().div_ceil(3) * 4);
    for piece in content.chunks(3) {
        let word = piece.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let sextet = (word >> (18 - 6 * at)) & 0x3f;
            let letter = BASE64[usize::try_from(sextet).expect("six bits fit")];
            out.push(if at <= piece.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_like_the_rfc() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }

    #[test]
    fn crc_is_the_one_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
