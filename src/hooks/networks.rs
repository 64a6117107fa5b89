//! Where requests of this server's own may go, so that nobody reaches through it what he cannot reach himself.
//!
//! An address is judged when it is connected to, after the name was resolved: a name may lead elsewhere a moment later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// What stands for every public address.
const PUBLIC: &str = "public";

/// Networks that requests may go to. By default every public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    public: bool,
    listed: Vec<IpNet>,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `public` nor a network such as 10.0.0.0/8, nor an address")]
pub struct NetworksError(String);

impl Default for Networks {
    fn default() -> Self {
        Self { public: true, listed: Vec::new() }
    }
}

impl Networks {
    /// From texts: networks, addresses, and `public` for every public address. None at all allow nothing.
    ///
    /// # Errors
    /// The first one that is neither.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, NetworksError> {
        let mut networks = Self { public: false, listed: Vec::new() };
        for text in texts.iter().map(AsRef::as_ref) {
            if text == PUBLIC {
                networks.public = true;
                continue;
            }
            let address = || IpAddr::from_str(text).map(IpNet::from).ok();
            let network = text.parse().ok().or_else(address);
            networks.listed.push(network.ok_or_else(|| NetworksError(text.to_owned()))?);
        }
        Ok(networks)
    }

    /// Those that were listed one by one: the operator knows them, and so requests without TLS may go there.
    #[must_use]
    pub fn listed_only(&self) -> Self {
        Self { public: false, listed: self.listed.clone() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        !self.public && self.listed.is_empty()
    }

    /// Whether a request may go to an address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        (self.public && is_public(address)) || self.listed.iter().any(|network| network.contains(&address))
    }
}

/// Whether an address belongs to somebody on the Internet: none of the special purposes of RFC 6890 and its registries, and
/// none of the addresses at which clouds answer their own machines.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        // This network, private, loopback, multicast, reserved, broadcast.
        [0 | 10 | 127 | 224.., ..]
            // Shared by the customers of a carrier.
            | [100, 64..=127, ..]
            // Link-local, with the metadata service of most clouds.
            | [169, 254, ..]
            // Private.
            | [172, 16..=31, ..]
            | [192, 168, ..]
            // IETF protocols; documentation; the old anycast of 6to4.
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            // Measurements.
            | [198, 18 | 19, ..]
            // The host of a machine in Azure.
            | [168, 63, 129, 16]
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the address in them.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // IETF protocols, Teredo among them; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast; what lies outside is not given to anybody (RFC 4291, section 2.4).
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The special-purpose registries of IANA, as networks.
    const SPECIAL: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/3",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
    ];

    fn nets() -> Vec<IpNet> {
        SPECIAL.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn allowed(networks: &[&str], address: &str) -> bool {
        Networks::parse(networks).expect("networks").allows(address.parse().expect(address))
    }

    #[test]
    fn only_public_addresses_are_public() {
        for public in ["1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1", "64:ff9b::101:101", "::ffff:1.1.1.1"]
        {
            assert!(allowed(&["public"], public), "{public}");
        }
        for special in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::101:101",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:1::1",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "100.100.100.200",
            "255.255.255.255",
        ] {
            assert!(!allowed(&["public"], special), "{special}");
        }
    }

    #[test]
    fn listed_networks_are_allowed_and_nothing_else() {
        assert!(allowed(&["10.1.0.0/16"], "10.1.2.3") && allowed(&["10.1.0.0/16"], "::ffff:10.1.2.3"));
        assert!(allowed(&["::1"], "::1") && allowed(&["127.0.0.1"], "127.0.0.1"));
        assert!(!allowed(&["10.1.0.0/16"], "10.2.0.0") && !allowed(&["10.1.0.0/16"], "1.1.1.1"));
        assert!(!allowed(&[], "1.1.1.1") && Networks::parse::<&str>(&[]).expect("none").is_empty());
        let both = Networks::parse(&["public", "10.0.0.0/8"]).expect("networks");
        assert!(both.allows([1, 1, 1, 1].into()) && both.allows([10, 0, 0, 1].into()));
        assert!(!both.listed_only().allows([1, 1, 1, 1].into()) && both.listed_only().allows([10, 0, 0, 1].into()));
        for bad in ["", "private", "10.0.0.0/33", "example.com"] {
            assert_eq!(Networks::parse(&[bad]), Err(NetworksError(bad.to_owned())));
        }
    }

    /// An address of a network, by its bits.
    fn within(network: IpNet, bits: u128) -> IpAddr {
        match network {
            IpNet::V4(net) => {
                let host = u32::from(net.hostmask()) & u32::try_from(bits & u128::from(u32::MAX)).expect("32 bits");
                Ipv4Addr::from(u32::from(net.network()) | host).into()
            }
            IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) | (u128::from(net.hostmask()) & bits)).into(),
        }
    }

    proptest! {
        #[test]
        fn the_registries_say_the_same_of_every_ipv4_address(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let special = nets().iter().any(|net| net.contains(&IpAddr::V4(address)));
            prop_assert_eq!(Networks::default().allows(address.into()), !special);
            // However it is written as an IPv6 address.
            let [a, b] = [(bits >> 16) as u16, (bits & 0xffff) as u16];
            for wrapped in [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x2002, a, b, 1, 2, 3, 4, 5),
            ] {
                prop_assert_eq!(Networks::default().allows(wrapped.into()), !special, "{}", wrapped);
            }
            prop_assert!(!Networks::default().allows(Ipv6Addr::new(0, 0, 0, 0, 0, 0, a, b).into()));
        }

        #[test]
        fn no_address_of_a_special_network_is_public(at in 0..SPECIAL.len(), bits: u128) {
            let address = within(nets()[at], bits);
            let carries = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()
                || v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]);
            prop_assume!(!carries);
            prop_assert!(!Networks::default().allows(address), "{}", address);
        }

        #[test]
        fn the_registries_say_the_same_of_every_global_ipv6_address(bits: u128) {
            let address = Ipv6Addr::from((bits >> 3) | (1 << 125));
            prop_assume!(address.segments()[0] != 0x2002);
            let special = nets().iter().any(|net| net.contains(&IpAddr::V6(address)));
            prop_assert_eq!(Networks::default().allows(address.into()), !special);
        }
    }
}
