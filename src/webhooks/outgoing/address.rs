//! Which addresses webhooks may go to: those that the whole internet reaches, so that nobody uses the server to reach
//! into the network that it stands in.
//!
//! Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), the IANA multicast and
//! IPv6 unicast registries. Stricter than they are: a range counts as a whole, whatever small part of it is reachable.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::{Ipv4Net, Ipv6Net};

/// What is forbidden of IPv4, and what it is.
const IPV4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network, RFC 791"),
    ("10.0.0.0/8", "private, RFC 1918"),
    ("100.64.0.0/10", "shared by a carrier's customers, RFC 6598"),
    ("127.0.0.0/8", "loopback, RFC 1122"),
    ("168.63.129.16/32", "Azure's platform, as its machines see it"),
    (
        "169.254.0.0/16",
        "link-local, RFC 3927; clouds have their metadata here",
    ),
    ("172.16.0.0/12", "private, RFC 1918"),
    ("192.0.0.0/24", "protocol assignments, RFC 6890"),
    ("192.0.2.0/24", "documentation, RFC 5737"),
    ("192.31.196.0/24", "AS112, RFC 7535"),
    ("192.52.193.0/24", "AMT, RFC 7450"),
    ("192.88.99.0/24", "6to4 relays, RFC 7526"),
    ("192.168.0.0/16", "private, RFC 1918"),
    ("192.175.48.0/24", "AS112, RFC 7534"),
    ("198.18.0.0/15", "benchmarking, RFC 2544"),
    ("198.51.100.0/24", "documentation, RFC 5737"),
    ("203.0.113.0/24", "documentation, RFC 5737"),
    ("224.0.0.0/4", "multicast, RFC 5771"),
    (
        "240.0.0.0/4",
        "reserved, and the limited broadcast, RFC 1112 and RFC 8190",
    ),
];

/// What is global unicast of IPv6. All else is forbidden: `::`, loopback, IPv4-mapped and -compatible, NAT64 (a network's
/// translator decides where that leads), unique local, link-local, site-local, multicast, discard-only, SRv6 SIDs, and what
/// nobody has been given yet.
const IPV6_GLOBAL: &str = "2000::/3";

/// What is forbidden of that, and what it is.
const IPV6: &[(&str, &str)] = &[
    ("2001::/23", "protocol assignments, Teredo among them, RFC 2928"),
    ("2001:db8::/32", "documentation, RFC 3849"),
    ("2002::/16", "6to4, which names an IPv4 address, RFC 3056"),
    ("2620:4f:8000::/48", "AS112, RFC 7534"),
    ("3fff::/20", "documentation, RFC 9637"),
];

struct Ranges {
    ipv4: Vec<Ipv4Net>,
    ipv6: Vec<Ipv6Net>,
    ipv6_global: Ipv6Net,
}

static RANGES: LazyLock<Ranges> = LazyLock::new(|| {
    const VALID: &str = "the ranges in this file are valid; a test reads them";
    Ranges {
        ipv4: IPV4.iter().map(|(range, _)| range.parse().expect(VALID)).collect(),
        ipv6: IPV6.iter().map(|(range, _)| range.parse().expect(VALID)).collect(),
        ipv6_global: IPV6_GLOBAL.parse().expect(VALID),
    }
});

/// Whether no webhook may go to `address`.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => is_forbidden_v6(address),
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    RANGES.ipv4.iter().any(|range| range.contains(&address))
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    !RANGES.ipv6_global.contains(&address) || RANGES.ipv6.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(text: &str) -> bool {
        is_forbidden(text.parse().unwrap())
    }

    #[test]
    fn every_range_is_forbidden_to_its_ends_and_no_further() {
        for (text, what) in IPV4 {
            let range: Ipv4Net = text.parse().unwrap();
            assert_eq!(range, range.trunc(), "{text} begins in the middle");
            assert!(is_forbidden(range.network().into()), "{text}: {what}");
            assert!(is_forbidden(range.broadcast().into()), "{text}: {what}");
        }
        for (text, what) in IPV6 {
            let range: Ipv6Net = text.parse().unwrap();
            assert_eq!(range, range.trunc(), "{text} begins in the middle");
            assert!(RANGES.ipv6_global.contains(&range), "{text} is forbidden anyway");
            assert!(is_forbidden(range.network().into()), "{text}: {what}");
            assert!(is_forbidden(range.broadcast().into()), "{text}: {what}");
        }
        for neighbour in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2620:4f:7fff::",
            "2620:4f:8001::",
            "3ffe:ffff::",
            "3fff:1000::",
        ] {
            assert!(!forbidden(neighbour), "{neighbour}");
        }
    }

    #[test]
    fn what_the_internet_does_not_reach_is_forbidden() {
        for address in [
            // Metadata: AWS, Google, Azure; Azure's platform; Alibaba; Oracle; AWS over IPv6.
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "::",
            "::1",
            "::2",
            "100::",
            "100::1",
            "100:0:0:1::",
            "5f00::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "1fff:ffff::",
            "4000::",
            "e000::",
            // IPv4 inside: mapped, compatible, translated (SIIT), NAT64, 6to4, Teredo, ISATAP.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:808:808::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "fe80::5efe:127.0.0.1",
        ] {
            assert!(forbidden(address), "{address}");
        }
    }

    #[test]
    fn what_the_internet_reaches_is_not_forbidden() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.215.14",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80b::200e",
        ] {
            assert!(!forbidden(address), "{address}");
        }
    }
}
