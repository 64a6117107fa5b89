//! What the driver remembers of an unfinished upload, as bytes in its row.
//!
//! The state names the multipart upload and every stored part by number and `ETag`. Part numbers are never used twice: a
//! writer that lost the session may still be sending a part, which would replace ours unnoticed until the upload is
//! completed. So a new writer leaves out as many numbers as the writers before it may have begun and not recorded:
//! [`NUMBERS_LEFT_OUT`] for each that took the session since the state was written, and for the one that wrote it, unless
//! that one had nothing on its way any more. (S3 wants ascending numbers, not consecutive ones.)

use crate::storage::DriverState;
use crate::storage::s3::options::PARTS_PARALLEL_LIMIT;

/// Numbers that one writer may have begun beyond the last recorded part.
const NUMBERS_LEFT_OUT: u16 = PARTS_PARALLEL_LIMIT;

/// First byte of every state.
const FORMAT: u8 = 1;

/// Flags: the writer may have parts on their way; there is a multipart upload; every part has a checksum; there is an
/// object, and no multipart upload.
const OPEN: u8 = 1;
const BEGUN: u8 = 2;
const CHECKED: u8 = 4;
const WHOLE: u8 = 8;

/// A stored part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its number, ascending.
    pub(super) number: u16,
    /// Its `ETag` as the store gave it.
    pub(super) etag: String,
    /// Its CRC-32 as the store gave it, where checksums are kept: all of them are named when the upload is completed.
    pub(super) checksum: Option<String>,
}

/// An unfinished upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Fencing number of the writer that wrote this; 0 when nobody has.
    writer: u64,
    /// Whether that writer may have parts on their way that are not recorded here.
    open: bool,
    /// The number of the next part, less one.
    last: u16,
    /// The one size of all parts, where the store wants one.
    pub(super) equal: Option<u64>,
    /// Every byte before this one is in `parts`, or in the object.
    pub(super) stored: u64,
    /// Whether an object holds what is stored.
    pub(super) whole: bool,
    /// The multipart upload, once there is one.
    pub(super) upload: Option<String>,
    /// Stored parts in ascending order.
    pub(super) parts: Vec<Part>,
}

impl State {
    /// Makes the state the `writer`'s; says whether another writer may have been at work since it was written.
    pub(super) fn take(&mut self, writer: u64) -> bool {
        let others = if self.writer == 0 { 0 } else { writer.saturating_sub(self.writer).saturating_sub(1) };
        let others = others + u64::from(self.open);
        let left_out = others.saturating_mul(u64::from(NUMBERS_LEFT_OUT));
        self.last = self.last.saturating_add(u16::try_from(left_out).unwrap_or(u16::MAX));
        self.writer = writer.max(self.writer);
        self.open = false;
        others > 0
    }

    /// The number of the next part; may be beyond what S3 takes.
    pub(super) fn next_number(&self) -> u16 {
        self.last.saturating_add(1)
    }

    /// Records a stored part, which ends at byte `end`.
    pub(super) fn push(&mut self, part: Part, end: u64) {
        self.last = part.number;
        self.parts.push(part);
        self.stored = end;
    }

    /// As bytes. `open`: the writer may have begun parts that are not recorded.
    pub(super) fn encode(&self, open: bool) -> DriverState {
        let checked = !self.parts.is_empty() && self.parts.iter().all(|part| part.checksum.is_some());
        let flags = [(open, OPEN), (self.upload.is_some(), BEGUN), (checked, CHECKED), (self.whole, WHOLE)];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        let mut out = vec![FORMAT, flags];
        for number in [self.writer, u64::from(self.last), self.equal.unwrap_or(0), self.stored] {
            put_number(&mut out, number);
        }
        if let Some(upload) = &self.upload {
            put_text(&mut out, upload);
            let mut before = 0;
            for part in &self.parts {
                put_number(&mut out, u64::from(part.number - before));
                put_etag(&mut out, &part.etag);
                if let Some(checksum) = part.checksum.as_ref().filter(|_| checked) {
                    put_text(&mut out, checksum);
                }
                before = part.number;
            }
        }
        DriverState(out)
    }

    /// From bytes; `None` when they are not of this driver.
    pub(super) fn parse(state: &DriverState) -> Option<Self> {
        let (&[FORMAT, flags], rest) = state.0.split_first_chunk::<2>()? else { return None };
        let mut rest = rest;
        let writer = take_number(&mut rest)?;
        let last = u16::try_from(take_number(&mut rest)?).ok()?;
        let equal = Some(take_number(&mut rest)?).filter(|size| *size > 0);
        let stored = take_number(&mut rest)?;
        let (open, whole) = (flags & OPEN != 0, flags & WHOLE != 0);
        let mut state = Self { writer, open, last, equal, stored, whole, ..Self::default() };
        if flags & BEGUN != 0 {
            state.upload = Some(take_text(&mut rest)?);
            let mut number = 0_u16;
            while !rest.is_empty() {
                number = number.checked_add(u16::try_from(take_number(&mut rest)?).ok()?)?;
                let etag = take_etag(&mut rest)?;
                let checksum = if flags & CHECKED != 0 { Some(take_text(&mut rest)?) } else { None };
                state.parts.push(Part { number, etag, checksum });
            }
        }
        let known = flags <= OPEN | BEGUN | CHECKED || flags == WHOLE;
        (rest.is_empty() && known).then_some(state)
    }
}

/// Base 128, low digits first, as in protocol buffers.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&digit, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(digit & 0x7f).checked_shl(shift)?;
        if digit & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

/// Nearly every `ETag` is an MD5 in quotes, which takes 17 bytes instead of 35.
fn put_etag(out: &mut Vec<u8>, etag: &str) {
    if let Some(md5) = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(md5) {
        out.push(1);
        out.extend_from_slice(&md5);
    } else {
        out.push(0);
        put_text(out, etag);
    }
}

fn md5(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    // Only what is written back in the same way may be shortened.
    (hex::encode(bytes) == text).then_some(bytes)
}

fn take_etag(rest: &mut &[u8]) -> Option<String> {
    let (&kind, tail) = rest.split_first()?;
    *rest = tail;
    if kind == 0 {
        return take_text(rest);
    }
    let (md5, tail) = rest.split_first_chunk::<16>()?;
    *rest = tail;
    Some(format!("\"{}\"", hex::encode(md5)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(number: u16) -> Part {
        let etag = format!("\"{}\"", hex::encode([u8::try_from(number % 256).expect("small"); 16]));
        Part { number, etag, checksum: None }
    }

    #[test]
    fn numbers_of_writers_that_may_still_write_are_left_out() {
        let mut first = State::default();
        assert!(!first.take(5), "nobody was there before");
        assert_eq!(first.next_number(), 1);
        first.push(part(1), 10);
        let (open, closed) = (first.encode(true), first.encode(false));

        let mut next = State::parse(&closed).expect("own format");
        assert!(!next.take(6));
        assert_eq!(next.next_number(), 2, "the first writer had ended");
        let mut next = State::parse(&open).expect("own format");
        assert!(next.take(6));
        assert_eq!(next.next_number(), 18, "the first writer may have begun 2 to 17");
        let mut later = State::parse(&open).expect("own format");
        assert!(later.take(8));
        assert_eq!(later.next_number(), 50, "and two others as many each, the second of them from 18 on");
        let mut last = State::parse(&open).expect("own format");
        assert!(last.take(u64::MAX));
        assert_eq!(last.next_number(), u16::MAX, "no number is left");
    }

    #[test]
    fn ten_thousand_parts_take_little_room() {
        let mut state = State { upload: Some("x".repeat(100)), ..State::default() };
        for number in 1..=10_000 {
            state.push(part(number), u64::from(number) << 27);
        }
        let encoded = state.encode(false);
        assert!(encoded.0.len() < 185_000, "{}", encoded.0.len());
        assert_eq!(State::parse(&encoded), Some(state));
    }

    #[test]
    fn a_whole_object_is_told_from_an_upload() {
        let whole = State { writer: 1, stored: 1_000_000, whole: true, ..State::default() };
        assert_eq!(State::parse(&whole.encode(false)), Some(whole));
    }

    #[test]
    fn states_of_others_are_refused() {
        for other in
            [&b""[..], b"\0of another store", &[FORMAT], &[FORMAT, 10, 0, 0, 0, 0], &[FORMAT, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(State::parse(&DriverState(other.to_vec())), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_state_is_read_back(
            writer: u64, stored: u64, last: u16, equal in 0..3_u64, upload: Option<String>, checksum: Option<String>,
            etags in proptest::collection::vec(".*|\"[0-9a-f]{32}\"", 0..20),
        ) {
            let mut state = State { writer, last, equal: Some(equal).filter(|size| *size > 0), stored, upload, ..State::default() };
            if state.upload.is_some() {
                state.parts = (1..).zip(etags).map(|(number, etag)| Part { number: number * 3, etag, checksum: checksum.clone() }).collect();
            }
            prop_assert_eq!(State::parse(&state.encode(false)), Some(state));
        }

        #[test]
        fn junk_is_refused_or_read_but_never_a_panic(junk: Vec<u8>) {
            let _ = State::parse(&DriverState([vec![FORMAT], junk].concat()));
        }
    }
}
