//! Where a connection comes from, as far as those of one origin share places.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// A public network of the size that one site has, or one private address. Within a cluster a /24 is often one node,
/// with many workloads, so private addresses are counted one by one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::server) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        // An IPv4 client of a socket that is bound to an IPv6 address.
        match address.to_canonical() {
            IpAddr::V4(address) if is_public_v4(address) => {
                let [a, b, c, _] = address.octets();
                Self(Ipv4Addr::new(a, b, c, 0).into())
            }
            IpAddr::V6(address) if is_public_v6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 72)).into())
            }
            single @ (IpAddr::V4(_) | IpAddr::V6(_)) => Self(single),
        }
    }
}

/// Not loopback, link-local, private (RFC 1918) or shared (RFC 6598), which some clusters give to pods.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
    !(address.is_private() || address.is_loopback() || address.is_link_local() || is_shared)
}

/// Not loopback, link-local or unique local (RFC 4193).
fn is_public_v6(address: Ipv6Addr) -> bool {
    !(address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local())
}

#[cfg(test)]
mod tests {
    use super::Origin;

    fn same(one: &str, other: &str) -> bool {
        let origin = |address: &str| Origin::from(address.parse::<std::net::IpAddr>().unwrap());
        origin(one) == origin(other)
    }

    #[test]
    fn public_addresses_share_by_network_and_private_ones_do_not() {
        for (one, other) in [
            ("1.2.3.4", "1.2.3.200"),
            ("::ffff:1.2.3.4", "1.2.3.200"),
            ("2001:4860:1:200::1", "2001:4860:1:2ff:ffff::9"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1.2.3.4", "1.2.4.4"),
            ("2001:4860:1:200::1", "2001:4860:1:300::1"),
            ("10.0.0.1", "10.0.0.2"),
            ("172.16.0.1", "172.16.0.2"),
            ("192.168.7.1", "192.168.7.2"),
            ("127.0.0.1", "127.0.0.2"),
            ("169.254.1.1", "169.254.1.2"),
            ("100.64.0.1", "100.64.0.2"),
            ("fd00::1", "fd00::2"),
            ("fe80::1", "fe80::2"),
            ("::1", "127.0.0.1"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
        // The networks beside the private ones.
        assert!(same("172.32.0.1", "172.32.0.2") && same("100.128.0.1", "100.128.0.2"));
    }
}
