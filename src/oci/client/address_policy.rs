use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an upstream may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Addresses of the internet only.
    Public,
    /// Addresses of private networks too, but none that is of one link or of a cloud's metadata.
    OwnNetworks,
    /// Addresses of private networks only: neither the internet, nor one link, nor a cloud's metadata.
    PrivateOnly,
    /// Any address: the operator says that this upstream is in a network of their own.
    Anywhere,
}

impl AddressPolicy {
    /// Returns whether an address may be dialled. To be asked after every resolution of a name, since names move.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::OwnNetworks => !is_of_the_machine_room(address),
            Self::PrivateOnly => !is_public(address) && !is_of_the_machine_room(address),
            Self::Anywhere => true,
        }
    }

    /// Returns whether a URL's host may be dialled, as far as it is an address; a name has to be resolved first.
    pub fn allows_host(self, url: &url::Url) -> bool {
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.allows(address.into()),
            Some(url::Host::Ipv6(address)) => self.allows(address.into()),
            Some(url::Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                self != Self::Public || !(name == "localhost" || name.ends_with(".localhost"))
            }
            None => false,
        }
    }
}

/// Returns whether an address is one of the internet: no loopback, private or link-local one, no cloud's metadata.
///
/// Source: the IANA special-purpose address registries. IPv6 forms that carry an IPv4 address count as that one.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match carried_v4(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

/// Returns whether an address is link-local, or one where clouds give their machines secrets.
fn is_of_the_machine_room(address: IpAddr) -> bool {
    let v4 = |address: Ipv4Addr| {
        address.is_link_local()
            || address.is_unspecified()
            || address.is_multicast()
            || address.is_broadcast()
            || address == Ipv4Addr::new(100, 100, 100, 200)
            || address == AZURE
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => match carried_v4(address) {
            // `::1` is of the form of a compatible address.
            Some(_) if address.is_loopback() => false,
            Some(address) => v4(address),
            None => address.is_unicast_link_local() || address.is_multicast() || is_of_a_cloud(address),
        },
    }
}

/// Where Azure's hosts answer to their machines (Microsoft, "What is IP address 168.63.129.16?").
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Returns whether clouds have an address for what they tell their machines: AWS (all of `fd00:ec2::/32`), Google
/// (`fd20:ce::254`), Oracle (`fd00:c1::a9fe:a9fe`), Scaleway (`fd00:42::42`).
fn is_of_a_cloud(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0xfd00, 0x0ec2, ..]
            | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254]
            | [0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
            | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x42]
    )
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special && address != AZURE
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is given out; of that, 2001::/23 is for protocols, and two ranges are for documentation.
    let [a, b, ..] = address.segments();
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && (b < 0x200 || b == 0x0db8))
        && !(a == 0x3fff && b < 0x1000)
}

/// Returns the IPv4 address within a mapped, compatible, translated (RFC 6052) or 6to4 address.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_internet() {
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "168.63.129.16",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fec0::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
            assert!(AddressPolicy::Anywhere.allows(private.parse().unwrap()));
        }
    }

    #[test]
    fn own_networks_have_no_metadata() {
        for (address, want) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("192.168.1.1", true),
            ("8.8.8.8", true),
            ("::1", true),
            ("fd12::1", true),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fd00:ec2::23", false),
            ("fd20:ce::254", false),
            ("fd00:c1::a9fe:a9fe", false),
            ("fd00:42::42", false),
            ("168.63.129.16", false),
            ("fd20:ce::1", true),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
        ] {
            assert_eq!(AddressPolicy::OwnNetworks.allows(address.parse().unwrap()), want, "{address}");
        }
    }

    #[test]
    fn private_only() {
        for (address, want) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("100.64.0.1", true),
            ("::1", true),
            ("fd12::1", true),
            ("::ffff:192.168.0.1", true),
            ("8.8.8.8", false),
            ("2606:4700::1111", false),
            ("::ffff:8.8.8.8", false),
            ("64:ff9b::808:808", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fd20:ce::254", false),
            ("168.63.129.16", false),
        ] {
            assert_eq!(AddressPolicy::PrivateOnly.allows(address.parse().unwrap()), want, "{address}");
        }
    }

    #[test]
    fn hosts_that_are_addresses() {
        for (url, public) in [
            ("https://cdn.example.com/x", true),
            ("https://8.8.8.8/x", true),
            ("https://localhost/x", false),
            ("https://LOCALHOST./x", false),
            ("https://a.localhost/x", false),
            ("https://127.1/x", false),
            ("https://2130706433/x", false),
            ("https://0x7f.0.0.1/x", false),
            ("https://[::ffff:10.0.0.1]/x", false),
        ] {
            let url = url.parse().unwrap();
            assert_eq!(AddressPolicy::Public.allows_host(&url), public, "{url}");
            assert!(AddressPolicy::Anywhere.allows_host(&url));
        }
    }
}
