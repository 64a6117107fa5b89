//! The little ASN.1 (X.690, DER) that certificates with embedded timestamps and timestamp answers need.

use anyhow::{Context as _, Result, ensure};

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]` around something, or instead of the tag of a SET.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// One value: its tag, its length, its content.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut bytes = vec![tag];
    if content.len() >= 128 {
        bytes.push(0x80 | u8::try_from(length.len()).expect("a length has eight bytes at most"));
    }
    bytes.extend_from_slice(length);
    bytes.extend_from_slice(content);
    bytes
}

/// A SEQUENCE of values.
pub(super) fn sequence<const N: usize>(values: [&[u8]; N]) -> Vec<u8> {
    value(SEQUENCE, &values.concat())
}

/// A value that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length as well.
    pub(super) whole: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads the value with which `bytes` begin; gives what stands behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let [tag, first, rest @ ..] = bytes else { anyhow::bail!("DER that ends too early") };
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let digits = usize::from(first & 0x7f);
            ensure!((1..=4).contains(&digits) && digits <= rest.len(), "a length that DER does not have");
            let (length, rest) = rest.split_at(digits);
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        };
        let (content, behind) = rest.split_at_checked(length).context("DER that ends too early")?;
        let whole = &bytes[..bytes.len() - behind.len()];
        Ok((Self { tag: *tag, content, whole }, behind))
    }

    /// The values in this one.
    pub(super) fn items(self) -> Result<Vec<Self>> {
        let (mut items, mut rest) = (Vec::new(), self.content);
        while !rest.is_empty() {
            let (item, behind) = Self::read(rest)?;
            items.push(item);
            rest = behind;
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = value(OCTETS, &vec![7; length]);
            let (item, behind) = Item::read(&bytes).unwrap();
            assert_eq!((item.tag, item.content.len(), item.whole), (OCTETS, length, &bytes[..]));
            assert!(behind.is_empty() && Item::read(&bytes[..bytes.len() - 1]).is_err());
        }
        let bytes = sequence([&value(INTEGER, &[1]), &value(UTF8, b"a")]);
        let items = Item::read(&bytes).unwrap().0.items().unwrap();
        assert_eq!(items.iter().map(|item| item.tag).collect::<Vec<_>>(), [INTEGER, UTF8]);
    }
}
