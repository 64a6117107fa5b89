//! `Warning` headers: a sentence for each policy that only warns, and one bound on all of them.
//!
//! Whatever goes in is made of visible ASCII and escaped, since names of signers come from certificates that anybody may
//! have got. Who is told less than there is to tell is told so.

use super::verdict::Verdict;

/// Most bytes of all `Warning` headers of an answer (distribution-spec, "Warnings").
const WARNING_BYTES_MAX: usize = 4096;
/// Most of them.
const WARNINGS_MAX: usize = 4;
/// What stands around a sentence: the form that distribution-spec takes from RFC 7234, section 5.5.
const OPENING: &str = "299 - \"";
const CLOSING: &str = "\"";
/// What a sentence ends with that was cut.
const CUT: &str = "...";
/// What the last one ends with when there is more to tell.
const MORE: &str = "; more was left out";

/// The values of `Warning` for an answer that is given although these verdicts are no passes.
pub fn warning_headers(verdicts: &[Verdict]) -> Vec<String> {
    let texts: Vec<String> = verdicts.iter().take(WARNINGS_MAX).map(|verdict| escaped(&sentence(verdict))).collect();
    let mut room = WARNING_BYTES_MAX - texts.len() * (OPENING.len() + CLOSING.len());
    let is_short = verdicts.len() > texts.len() || bytes(&texts) > room;
    if is_short {
        room -= MORE.len();
    }
    let mut headers = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        // An equal part of what is left, and what those behind it do not need.
        let share = (room / (texts.len() - at)).max(room.saturating_sub(bytes(&texts[at + 1..])));
        let (part, end) = if text.len() <= share { (&**text, "") } else { (cut(text, share - CUT.len()), CUT) };
        room -= part.len() + end.len();
        let more = if is_short && at + 1 == texts.len() { MORE } else { "" };
        headers.push(format!("{OPENING}{part}{end}{more}{CLOSING}"));
    }
    headers
}

/// What a verdict says, and why.
fn sentence(verdict: &Verdict) -> String {
    let mut sentence = verdict.message();
    for reason in &verdict.reasons {
        sentence.push_str("; ");
        sentence.push_str(&reason.message);
    }
    sentence
}

fn bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

/// A text as it may stand between quotes.
fn escaped(sentence: &str) -> String {
    let mut text = String::with_capacity(sentence.len());
    for c in sentence.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text
}

/// As much of an escaped text as there is room for, without half an escape at its end.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = 0;
    while let Some(byte) = text.as_bytes().get(end) {
        let next = end + if *byte == b'\\' { 2 } else { 1 };
        if next > bytes_max {
            break;
        }
        end = next;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verify::verdict::{Outcome, Reason, ReasonCode};

    fn failed(policy: &str, messages: &[&str]) -> Verdict {
        let code = ReasonCode::BadSignature;
        let reason = |message: &&str| Reason { authority: None, artifact: None, code, message: (*message).to_owned() };
        let reasons = messages.iter().map(reason).collect();
        Verdict { policy: policy.to_owned(), reasons, ..Verdict::without_policy(Outcome::Fail) }
    }

    #[test]
    fn a_sentence_stands_in_quotes() {
        let headers = warning_headers(&[failed("prod", &["a \"b\" \\ ü\r\n", "c"])]);
        let told = r#"299 - "signature policy 'prod' not satisfied: bad_signature; a \"b\" \\ ???; c""#;
        assert_eq!(headers, [told]);
        assert_eq!(warning_headers(&[]), [""; 0]);
    }

    #[test]
    fn who_needs_little_room_leaves_it_to_others() {
        let (long, short) = ("x".repeat(3900), failed("s", &["y"]));
        let headers = warning_headers(&[failed("l", &[&long]), short.clone()]);
        assert!(headers[0].contains(&long) && !headers[1].contains(MORE), "{headers:?}");
        let longer = "x".repeat(5000);
        let headers = warning_headers(&[failed("l", &[&longer]), short.clone(), failed("l", &[&longer]), short]);
        assert!(headers[0].ends_with("xxx...\"") && headers[2].len() > 2000, "{headers:?}");
        assert!(headers[1].ends_with("; y\"") && headers[2].ends_with("xxx...\""), "{headers:?}");
        assert!(headers[3].ends_with("; y; more was left out\""), "{headers:?}");
    }

    #[test]
    fn policies_that_are_not_named_are_said_to_be_there() {
        let all = ["a", "b", "c", "d", "e"].map(|name| failed(name, &[]));
        assert!(!warning_headers(&all[..4])[3].contains(MORE));
        let headers = warning_headers(&all);
        assert!(headers.len() == 4 && headers[3].ends_with("; more was left out\""), "{headers:?}");
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_a_header_or_the_bound(
            texts in prop::collection::vec((any::<String>(), 1_usize..2000), 0..7),
        ) {
            let verdicts: Vec<_> = texts.iter().map(|(text, times)| failed("prod", &[&text.repeat(*times)])).collect();
            let headers = warning_headers(&verdicts);
            prop_assert!(headers.len() == verdicts.len().min(WARNINGS_MAX) && bytes(&headers) <= WARNING_BYTES_MAX);
            for header in headers {
                prop_assert!(header.bytes().all(|b| matches!(b, b' '..=b'~')));
                let inner = header.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).expect("quoted");
                let mut chars = inner.chars();
                while let Some(c) = chars.next() {
                    prop_assert!(c != '"');
                    if c == '\\' {
                        prop_assert!(matches!(chars.next(), Some('"' | '\\')), "a quote stays escaped");
                    }
                }
            }
        }
    }
}
