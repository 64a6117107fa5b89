//! `Range` of a GET (RFC 9110, section 14) and `Content-Range` of a chunk (distribution-spec, "Pushing a blob in chunks").
//!
//! Parts come out in the order they were asked for and are never joined: clients that read several at once count them.

use std::ops::Range;

/// One `ranges-specifier` entry. Numbers beyond 64 bits are cut to the largest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-last`, both included; `last` may be smaller than `first`, and is then satisfied by nothing.
    Bounded {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// `first-`.
    From {
        /// First byte.
        first: u64,
    },
    /// `-len`.
    Suffix {
        /// How many bytes from the end.
        len: u64,
    },
}

impl RangeSpec {
    fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Bounded { first, last } if first <= last => first..last.saturating_add(1).min(size),
            Self::Bounded { .. } => return None,
            Self::From { first } => first..size,
            Self::Suffix { len } => size.saturating_sub(len)..size,
        };
        (range.start < range.end).then_some(range)
    }

    /// Whether it asks for the beginning or the end of an empty content: all there is of it.
    fn takes_empty(self) -> bool {
        match self {
            Self::Bounded { first, .. } | Self::From { first } => first == 0,
            Self::Suffix { len } => len > 0,
        }
    }
}

/// A `Range` header in bytes; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<RangeSpec>);

/// A `Range` header names more ranges than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {max} ranges")]
pub struct TooManyRanges {
    /// The limit.
    pub max: usize,
}

/// What a `Range` header means for a content of known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: 200. Only for an empty content, of which `Content-Range` cannot name a part.
    Whole,
    /// These parts, in this order, ends excluded: 206. Never empty.
    Parts(Vec<Range<u64>>),
    /// Nothing: 416.
    Unsatisfiable,
}

impl Ranges {
    /// Reads the header. `None`: another unit, or malformed, so it is to be ignored (RFC 9110, section 14.2).
    pub fn parse(header: &str, max: usize) -> Result<Option<Self>, TooManyRanges> {
        let Some((unit, set)) = header.split_once('=') else { return Ok(None) };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Ok(None);
        }
        let mut specs = Vec::new();
        let entries = set.split(',').map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty());
        for entry in entries {
            if specs.len() == max {
                return Err(TooManyRanges { max });
            }
            let Some(spec) = parse_spec(entry) else { return Ok(None) };
            specs.push(spec);
        }
        Ok((!specs.is_empty()).then_some(Self(specs)))
    }

    /// What it means for `size` bytes. Ranges that cannot be satisfied are left out while another can.
    pub fn select(&self, size: u64) -> Selection {
        let parts: Vec<_> = self.0.iter().filter_map(|spec| spec.resolve(size)).collect();
        if !parts.is_empty() {
            Selection::Parts(parts)
        } else if size == 0 && self.0.iter().any(|spec| spec.takes_empty()) {
            Selection::Whole
        } else {
            Selection::Unsatisfiable
        }
    }
}

/// `Content-Range` of a part (RFC 9110, section 14.4). The part must not be empty.
pub fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// `Content-Range` of a 416.
pub fn content_range_unsatisfied(size: u64) -> String {
    format!("bytes */{size}")
}

fn parse_spec(text: &str) -> Option<RangeSpec> {
    match text.split_once('-')? {
        ("", len) => Some(RangeSpec::Suffix { len: number(len)? }),
        (first, "") => Some(RangeSpec::From { first: number(first)? }),
        (first, last) => Some(RangeSpec::Bounded { first: number(first)?, last: number(last)? }),
    }
}

/// `1*DIGIT`; what does not fit is larger than any content.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `Content-Range` of a chunk: both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub start: u64,
    /// Last byte; not before `start`.
    pub end: u64,
}

/// The `Content-Range` of a chunk is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Content-Range of a chunk is written start-end, both included")]
pub struct ContentRangeError;

impl ContentRange {
    /// Reads `start-end`, and the HTTP spellings `bytes start-end/total` and `bytes=start-end` that some clients send.
    pub fn parse(header: &str) -> Result<Self, ContentRangeError> {
        let text = header.trim();
        let text = match text.split_at_checked(5) {
            Some((unit, rest)) if unit.eq_ignore_ascii_case("bytes") => {
                rest.strip_prefix([' ', '=']).ok_or(ContentRangeError)?.trim_start()
            }
            _ => text,
        };
        let (range, total) = text.split_once('/').unwrap_or((text, "*"));
        if total != "*" && number(total).is_none() {
            return Err(ContentRangeError);
        }
        let (start, end) = range.split_once('-').ok_or(ContentRangeError)?;
        let start = offset(start).ok_or(ContentRangeError)?;
        let end = offset(end).ok_or(ContentRangeError)?;
        if start <= end { Ok(Self { start, end }) } else { Err(ContentRangeError) }
    }
}

/// An offset that both databases can hold.
fn offset(text: &str) -> Option<u64> {
    number(text).filter(|offset| i64::try_from(*offset).is_ok_and(|offset| offset < i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(header: &str, size: u64) -> Option<Selection> {
        Ranges::parse(header, 1_024).expect("few ranges").map(|ranges| ranges.select(size))
    }

    #[test]
    fn single_ranges() {
        let part = |range| Some(Selection::Parts(vec![range]));
        let none = Some(Selection::Unsatisfiable);
        let cases = [
            ("bytes=500-1499", 2_048, part(500..1_500)),
            ("bytes=500-", 2_048, part(500..2_048)),
            ("bytes=-500", 2_048, part(1_548..2_048)),
            ("bytes=2000-5000", 2_048, part(2_000..2_048)),
            ("bytes=500-0", 2_048, none.clone()),
            ("bytes=5000-10000", 2_048, none.clone()),
            ("bytes=2048-", 2_048, none.clone()),
            ("bytes=-0", 2_048, none.clone()),
            ("bytes=-5000", 2_048, part(0..2_048)),
            ("bytes=0-0", 2_048, part(0..1)),
            ("Bytes=0-0", 2_048, part(0..1)),
            ("bytes=0-18446744073709551615", 2_048, part(0..2_048)),
            ("bytes=99999999999999999999999-", 2_048, none.clone()),
            ("bytes=0-99999999999999999999999", 2_048, part(0..2_048)),
            ("bytes=0-", 0, Some(Selection::Whole)),
            ("bytes=-5", 0, Some(Selection::Whole)),
            ("bytes=5-", 0, none.clone()),
            ("bytes=-0", 0, none),
        ];
        for (header, size, expected) in cases {
            assert_eq!(select(header, size), expected, "{header} of {size}");
        }
    }

    #[test]
    fn several_ranges_stay_apart_and_in_order() {
        let parts = vec![10..20, 0..5, 3..8, 3..8, 95..100];
        assert_eq!(select("bytes=10-19, 0-4,3-7,,3-7 ,\t-5,900-", 100), Some(Selection::Parts(parts)));
    }

    #[test]
    fn other_units_and_malformed_headers_are_ignored() {
        for header in ["", "bytes", "bytes=", "bytes=,", "lines=0-1", "bytes=a-b", "bytes=0-1,x", "bytes=-", "bytes=1"]
        {
            assert_eq!(select(header, 100), None, "{header}");
        }
        for header in ["bytes=+0-1", "bytes=0--1", "bytes=0 - 1", "bytes 0-1"] {
            assert_eq!(select(header, 100), None, "{header}");
        }
    }

    #[test]
    fn the_number_of_ranges_is_limited() {
        let header = |n: usize| format!("bytes={}", vec!["0-0"; n].join(","));
        assert!(Ranges::parse(&header(1_024), 1_024).is_ok());
        assert_eq!(Ranges::parse(&header(1_025), 1_024), Err(TooManyRanges { max: 1_024 }));
    }

    #[test]
    fn chunks_are_written_in_three_ways() {
        for header in ["5-9", "bytes 5-9/100", "bytes 5-9/*", "bytes=5-9", " 5-9 ", "Bytes 5-9/10"] {
            assert_eq!(ContentRange::parse(header), Ok(ContentRange { start: 5, end: 9 }), "{header}");
        }
        let bad = ["", "5", "9-5", "-5", "5-", "a-b", "bytes5-9", "bytes */100", "5-9/x", "0-9223372036854775807"];
        for header in bad {
            assert_eq!(ContentRange::parse(header), Err(ContentRangeError), "{header}");
        }
    }

    #[test]
    fn content_ranges_include_their_end() {
        assert_eq!(content_range(&(0..10), 100), "bytes 0-9/100");
        assert_eq!(content_range_unsatisfied(0), "bytes */0");
    }

    fn render(specs: &[RangeSpec]) -> String {
        let texts: Vec<String> = specs
            .iter()
            .map(|spec| match spec {
                RangeSpec::Bounded { first, last } => format!("{first}-{last}"),
                RangeSpec::From { first } => format!("{first}-"),
                RangeSpec::Suffix { len } => format!("-{len}"),
            })
            .collect();
        format!("bytes={}", texts.join(","))
    }

    fn spec() -> impl Strategy<Value = RangeSpec> {
        prop_oneof![
            (any::<u64>(), any::<u64>()).prop_map(|(first, last)| RangeSpec::Bounded { first, last }),
            (0_u64..300, 0_u64..300).prop_map(|(first, last)| RangeSpec::Bounded { first, last }),
            (0_u64..300).prop_map(|first| RangeSpec::From { first }),
            (0_u64..300).prop_map(|len| RangeSpec::Suffix { len }),
        ]
    }

    proptest! {
        #[test]
        fn parse_and_render_are_inverse(specs in proptest::collection::vec(spec(), 1..20)) {
            prop_assert_eq!(Ranges::parse(&render(&specs), 20), Ok(Some(Ranges(specs))));
        }

        #[test]
        fn parts_lie_within_the_content(specs in proptest::collection::vec(spec(), 1..20), size in 0_u64..400) {
            if let Selection::Parts(parts) = Ranges(specs.clone()).select(size) {
                prop_assert!(!parts.is_empty() && parts.len() <= specs.len());
                for part in parts {
                    prop_assert!(part.start < part.end && part.end <= size);
                }
            }
        }

        #[test]
        fn parsing_never_panics(header in ".*", size: u64) {
            let _ = Ranges::parse(&header, 3).map(|ranges| ranges.map(|ranges| ranges.select(size)));
            let _ = ContentRange::parse(&header);
        }

        #[test]
        fn near_misses_never_panic(header in "(bytes)?[ =]?[0-9,/* -]{0,40}", size: u64) {
            let _ = Ranges::parse(&header, 3).map(|ranges| ranges.map(|ranges| ranges.select(size)));
            let _ = ContentRange::parse(&header);
        }

        #[test]
        fn chunk_ranges_round_trip(start in 0..i64::MAX as u64, len in 0_u64..1 << 40) {
            let end = start.saturating_add(len).min(i64::MAX as u64 - 1);
            prop_assert_eq!(ContentRange::parse(&format!("{start}-{end}")), Ok(ContentRange { start, end }));
        }
    }
}
