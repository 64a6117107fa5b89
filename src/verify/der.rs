//! A look at DER (ITU-T X.690) before it is parsed.
//!
//! The parsers of timestamps and certificates sort every SET as they read it, each member against all before it, so that a
//! SET as long as the limits on bytes allow would cost the square of its length. This walk costs a step per value, and what
//! it lets pass is cheap to parse. It says nothing of what the values mean.

use super::failure::Failure;
use super::limits::{DER_DEPTH_MAX, DER_SET_MAX};

const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;

/// The number in a tag that says that the number stands in the bytes behind it.
const LONG_TAG: u8 = 0x1f;

/// What is wrong with a text of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is not DER.
    Form,
    /// Values stand in values too deeply.
    Depth,
    /// A SET has too many members.
    Members,
}

/// Checks that `der` is one value, neither deep nor with a long SET in it. `what` it is begins the message.
///
/// # Errors
/// `malformed` for what is not DER with definite lengths, `limit_exceeded`.
pub(super) fn check(der: &[u8], what: &str) -> Result<(), Failure> {
    let form = || Failure::malformed(format!("{what} is not DER (X.690)"));
    match value(der).map(|(_, _, behind)| behind) {
        Some([]) => {}
        Some([_, ..]) => return Err(Failure::malformed(format!("bytes stand behind {what}"))),
        None => return Err(form()),
    }
    walk(der, 1, usize::MAX).map_err(|fault| match fault {
        Fault::Form => form(),
        Fault::Depth => Failure::limit(format!("{what}: values nested deeper than {DER_DEPTH_MAX}")),
        Fault::Members => Failure::limit(format!("{what}: a SET of more than {DER_SET_MAX} members")),
    })
}

/// Looks at every value of `rest`, of which there are `members_max` at most.
fn walk(mut rest: &[u8], depth: usize, members_max: usize) -> Result<(), Fault> {
    if depth > DER_DEPTH_MAX {
        return Err(Fault::Depth);
    }
    let mut members = 0;
    while !rest.is_empty() {
        let (tag, content, behind) = value(rest).ok_or(Fault::Form)?;
        rest = behind;
        members += 1;
        if members > members_max {
            return Err(Fault::Members);
        }
        match tag {
            SEQUENCE => walk(content, depth + 1, usize::MAX)?,
            // What is no SEQUENCE is a SET, or a tag that may stand in place of one (`[0] IMPLICIT SET OF`).
            _ if tag & CONSTRUCTED != 0 => walk(content, depth + 1, DER_SET_MAX)?,
            // Extensions, and what a timestamp says, are DER within a string. Other strings are hashes and signatures,
            // which mean nothing as DER, and nobody parses them.
            OCTET_STRING if content.first().is_some_and(|tag| tag & CONSTRUCTED != 0) => {
                match walk(content, depth + 1, usize::MAX) {
                    Ok(()) | Err(Fault::Form) => {}
                    Err(fault) => return Err(fault),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first value: its tag, its content, and what stands behind it. Lengths are definite and as short as they can be.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = der.split_first_chunk::<2>()?;
    if tag & LONG_TAG == LONG_TAG {
        return None;
    }
    let len = if first < 0x80 {
        usize::from(first)
    } else {
        let (length, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = behind;
        let is_shortest = length.first()? != &0 && (length.len() > 1 || length[0] >= 0x80);
        if !is_shortest || length.len() > size_of::<u32>() {
            return None;
        }
        length.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
    };
    let (content, behind) = rest.split_at_checked(len)?;
    Some((tag, content, behind))
}
