//! What is refused of DER before a parser sees it.

use super::lab::der;
use crate::verify::der::check;
use crate::verify::limits::{DER_DEPTH_MAX, DER_SET_MAX};
use crate::verify::verdict::ReasonCode;

const NULL: [u8; 2] = [5, 0];

fn fault(bytes: &[u8]) -> Option<ReasonCode> {
    check(bytes, "the value").err().map(|failure| failure.code)
}

fn nested(depth: usize, tag: u8) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| der(tag, &inner))
}

#[test]
fn a_set_has_few_members_and_a_sequence_any_number() {
    let many = |count: usize, tag: u8| der(0x30, &der(tag, &NULL.repeat(count)));
    for tag in [0x31, 0xa0, 0xa3, 0x24, 0x61] {
        assert_eq!(fault(&many(DER_SET_MAX, tag)), None, "{tag:x}");
        assert_eq!(fault(&many(DER_SET_MAX + 1, tag)), Some(ReasonCode::LimitExceeded), "{tag:x}");
    }
    assert_eq!(fault(&many(7000, 0x30)), None);
}

#[test]
fn strings_are_looked_into_where_they_hold_values() {
    let long = der(0x30, &der(0x31, &NULL.repeat(DER_SET_MAX + 1)));
    assert_eq!(fault(&der(4, &long)), Some(ReasonCode::LimitExceeded));
    assert_eq!(fault(&der(0x30, &der(4, &der(4, &long)))), None, "nobody parses a string in a string");
    // A hash that happens to begin as a value does, and a long SET in front of what is no value.
    assert_eq!(fault(&der(4, &[0x30, 0x82, 1, 2, 3])), None);
    assert_eq!(fault(&der(4, &[&long[..], &[0xff]].concat())), Some(ReasonCode::LimitExceeded));
    assert_eq!(fault(&der(3, &long)), None, "a BIT STRING holds a key or a signature");
}

#[test]
fn values_are_not_deep() {
    for tag in [0x30, 0x31, 0xa0, 0x04] {
        assert_eq!(fault(&nested(DER_DEPTH_MAX - 1, tag)), None, "{tag:x}");
    }
    for tag in [0x30, 0x31, 0xa0] {
        assert_eq!(fault(&nested(DER_DEPTH_MAX + 1, tag)), Some(ReasonCode::LimitExceeded), "{tag:x}");
    }
    assert_eq!(fault(&nested(4000, 0x30)), Some(ReasonCode::LimitExceeded));
}

#[test]
fn lengths_are_definite_and_short() {
    for good in [&[5, 0][..], &[0x30, 0], &der(4, &[7; 127]), &der(4, &[7; 128]), &der(4, &vec![7; 70_000])] {
        assert_eq!(fault(good), None);
    }
    for bad in [
        &[][..],
        &[5],
        &[0x30, 0x80, 0, 0],
        &[0x30, 0x81, 2, 5, 0],
        &[0x30, 0x82, 0, 2, 5, 0],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0x30, 0x81],
        &[0x1f, 1, 0],
        &[0x30, 3, 5, 0],
        &[0x30, 3, 5, 0, 5],
        &[5, 0, 5, 0],
    ] {
        assert_eq!(fault(bad), Some(ReasonCode::Malformed), "{bad:?}");
    }
}
