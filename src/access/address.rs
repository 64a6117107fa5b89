//! Who counts as one client when nothing else is known of him.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address of version 4, or the 64 bits of one of version 6 that a network is given (RFC 4291, section 2.5.1, RFC 6177):
/// whoever has one of those addresses has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressBlock {
    /// A connection without an address.
    Unknown,
    /// The first address of the block.
    Of(IpAddr),
}

/// Bits of an address of version 6 that tell networks apart.
const V6_NETWORK: u128 = !0 << 64;

impl From<Option<IpAddr>> for AddressBlock {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V6(v6)) => Self::Of(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & V6_NETWORK))),
            Some(v4) => Self::Of(v4),
        }
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Of(v4 @ IpAddr::V4(_)) => write!(f, "{v4}"),
            Self::Of(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_version_6_is_one_client() {
        for (address, block) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(AddressBlock::from(Some(address)).to_string(), block);
        }
        assert_eq!(AddressBlock::from(None).to_string(), "unknown");
    }
}
