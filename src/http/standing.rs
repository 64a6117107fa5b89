//! What is left of a limit, in the headers of an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::Standing;

/// How many requests somebody may send in a time, and how many of them are left, as Docker Hub tells it.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(super) const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// Tells a client how much of his limit is left.
pub fn tell_standing(headers: &mut HeaderMap, standing: Standing) {
    let Standing { limit, window, remaining } = standing;
    for (name, number) in [(RATE_LIMIT, limit), (RATE_REMAINING, remaining)] {
        if let Ok(value) = HeaderValue::from_str(&format!("{number};w={}", window.as_secs())) {
            headers.insert(name, value);
        }
    }
}
