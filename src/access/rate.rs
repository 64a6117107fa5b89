//! How many requests and logins somebody may send.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Largest number of requests in a rate.
const REQUESTS_MAX: u32 = 1_000_000;

/// Most rates that hold at once.
const RATES_MAX: usize = 4;

/// How no limit is written.
const NONE: &str = "none";

/// Spans of time by the letter behind the number, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// So many requests in a span of time: as many at once, and so many more as time passes. Written `600/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: u32,
    per: Duration,
}

/// Rates that all hold, such as `50/h,200/d`; `none`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<Rate>);

/// A text that is no list of rates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate; write it like \"600/m\" or \"50/h,200/d\" (1 to {REQUESTS_MAX} requests in a s, m, h or d, \
     {RATES_MAX} rates at most), or \"none\""
)]
pub struct RateError(String);

/// The rates of every class of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// `/v2`, without an account: by address.
    pub v2_anonymous: Rates,
    /// `/v2`, by account.
    pub v2_authenticated: Rates,
    /// `/api/v1`, without an account: by address.
    pub api_anonymous: Rates,
    /// `/api/v1`, by account.
    pub api_authenticated: Rates,
}

/// Everything that bounds clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests.
    pub rates: RateLimits,
    /// Logins.
    pub logins: LoginLimits,
    /// Whether other nodes let requests through by the same limits.
    pub shared: bool,
}

/// How many logins by password may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// Of one account, from one address.
    pub per_account: u32,
    /// From one address, of whatever accounts.
    pub per_address: u32,
    /// Of one account, from all addresses from which nobody has logged in to it of late.
    pub per_account_everywhere: u32,
    /// In what time, counted from the first.
    pub window: Duration,
}

impl Default for LoginLimits {
    fn default() -> Self {
        let window = Duration::from_mins(15);
        Self { per_account: 10, per_address: 50, per_account_everywhere: 100, window }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        let rates =
            |list: &[(u32, Duration)]| Rates(list.iter().map(|&(requests, per)| Rate { requests, per }).collect());
        Self {
            v2_anonymous: Rates::default(),
            v2_authenticated: Rates::default(),
            api_anonymous: rates(&[(50, Duration::from_hours(1)), (200, Duration::from_hours(24))]),
            api_authenticated: rates(&[(1_000, Duration::from_mins(1))]),
        }
    }
}

impl Rate {
    /// How many requests.
    pub const fn requests(self) -> u32 {
        self.requests
    }

    /// In what time.
    pub const fn per(self) -> Duration {
        self.per
    }
}

impl Rates {
    /// Each of them.
    pub fn all(&self) -> &[Rate] {
        &self.0
    }

    /// Whether there is no limit.
    pub fn is_unlimited(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError(text.to_owned());
        let (requests, unit) = text.trim().split_once('/').ok_or_else(error)?;
        let requests = requests.trim();
        let digits = requests.bytes().all(|byte| byte.is_ascii_digit());
        let requests = requests.parse().ok().filter(|_| digits).ok_or_else(error)?;
        let seconds = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?.1;
        let fits = (1..=REQUESTS_MAX).contains(&requests);
        fits.then_some(Self { requests, per: Duration::from_secs(seconds) }).ok_or_else(error)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.requests)
    }
}

impl FromStr for Rates {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text.trim() == NONE {
            return Ok(Self::default());
        }
        let mut rates: Vec<Rate> = Vec::new();
        for rate in text.split(',') {
            let rate = rate.parse().map_err(|_| RateError(text.to_owned()))?;
            // Twice the same is one.
            if !rates.contains(&rate) {
                rates.push(rate);
            }
        }
        if rates.len() <= RATES_MAX { Ok(Self(rates)) } else { Err(RateError(text.to_owned())) }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str(NONE);
        }
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for (text, written) in [
            ("600/m", "600/m"),
            (" 50/h , 200/d ", "50/h,200/d"),
            ("none", "none"),
            ("1/s,1/s", "1/s"),
            ("1000000/d", "1000000/d"),
        ] {
            assert_eq!(text.parse::<Rates>().expect(text).to_string(), written);
        }
        for bad in
            ["", "600", "600/", "/m", "0/m", "-1/m", "+1/m", "1000001/s", "1/week", "1/m,", "1/m;2/h", "none,1/m"]
        {
            assert!(bad.parse::<Rates>().is_err(), "{bad}");
        }
        assert!("1/s,2/s,3/s,4/s,5/s".parse::<Rates>().is_err(), "too many");
    }

    #[test]
    fn by_default_only_the_interface_is_limited() {
        let limits = RateLimits::default();
        assert!(limits.v2_anonymous.is_unlimited() && limits.v2_authenticated.is_unlimited());
        assert_eq!(limits.api_anonymous.to_string(), "50/h,200/d");
        assert_eq!(limits.api_authenticated.to_string(), "1000/m");
    }
}
