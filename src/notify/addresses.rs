//! Which addresses a notification may be sent to: a table, without I/O.
//!
//! An address is judged by where a packet to it ends: mapped, translated (NAT64) and tunnelled (6to4) IPv4 addresses by the
//! one inside. Private ranges are open only where the operator lists them; metadata services never.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Metadata services of clouds: instance credentials are read there.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The IPv4 address that packets to `ip` reach, where there is one inside.
fn inner(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        // ::ffff:0:0/96, mapped.
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(v4(high, low)),
        // ::/96, compatible; ::1 and :: are not.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        // 64:ff9b::/96, NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 2002::/16, 6to4.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Where packets to `ip` end.
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => inner(v6).map_or(ip, IpAddr::V4),
    }
}

const fn is_global_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

/// Only what IANA gives out as unicast, less the parts with a purpose of their own.
const fn is_global_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Protocol assignments (Teredo, benchmarking, ORCHID) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first >> 13 == 1,
    }
}

/// True for an address of the public Internet.
pub(super) fn is_global(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) => is_global_v6(v6),
    }
}

/// True when a notification may be sent to `ip`.
pub(super) fn is_allowed(ip: IpAddr, listed: &[IpNet]) -> bool {
    let end = canonical(ip);
    if METADATA.contains(&end) {
        return false;
    }
    is_global(end) || listed.iter().any(|net| net.contains(&end) || net.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table written the other way: prefixes as IANA's special-purpose registries list them.
    const SPECIAL: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
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
        "4000::/2",
        "8000::/1",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    ];

    fn oracle(ip: IpAddr) -> bool {
        let special = |ip: IpAddr| SPECIAL.iter().any(|net| net.parse::<IpNet>().expect("a prefix").contains(&ip));
        let IpAddr::V6(v6) = ip else { return !special(ip) };
        let bits = u128::from(v6);
        let low = IpAddr::V4(Ipv4Addr::from(bits as u32));
        let inside = |net: &str| net.parse::<IpNet>().expect("a prefix").contains(&ip);
        if inside("::ffff:0:0/96") || inside("64:ff9b::/96") || (inside("::/96") && bits >> 16 != 0) {
            return !special(low);
        }
        if inside("2002::/16") {
            return !special(IpAddr::V4(Ipv4Addr::from((bits >> 80) as u32)));
        }
        !special(ip)
    }

    fn parse(ip: &str) -> IpAddr {
        ip.parse().expect("an address")
    }

    #[test]
    fn known_addresses() {
        for open in
            ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::"]
        {
            assert!(is_allowed(parse(open), &[]), "{open}");
        }
        for shut in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "::127.0.0.1",
        ] {
            assert!(!is_allowed(parse(shut), &[]), "{shut}");
        }
    }

    #[test]
    fn a_listed_range_is_open_and_metadata_never_is() {
        let listed: Vec<IpNet> =
            ["127.0.0.0/8", "169.254.0.0/16", "fd00::/8", "::1/128"].map(|net| net.parse().expect("a prefix")).into();
        for open in ["127.0.0.1", "::ffff:127.0.0.1", "::1", "fd00::1", "169.254.1.1"] {
            assert!(is_allowed(parse(open), &listed), "{open}");
        }
        for shut in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "10.0.0.1"] {
            assert!(!is_allowed(parse(shut), &listed), "{shut}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn every_v4_address_is_judged_as_the_registry_says(bits: u32) {
            let ip = IpAddr::V4(Ipv4Addr::from(bits));
            prop_assert_eq!(is_global(ip), oracle(ip));
        }

        #[test]
        fn every_v6_address_is_judged_as_the_registry_says(bits: u128, start in 0usize..8) {
            let prefixes: [(u128, u32); 8] = [
                (0, 0), (0xffff, 96), (0, 96), (0x64_ff9b_u128 << 64, 96), (0x2002, 16), (0x2001, 16), (0x3fff, 16),
                (0xfd00, 16),
            ];
            let (prefix, length) = prefixes[start];
            let host = if length == 0 { bits } else { bits >> length };
            let bits = if length == 0 { host } else { (prefix << (128 - length)) | host };
            let ip = IpAddr::V6(Ipv6Addr::from(bits));
            prop_assert_eq!(is_global(ip), oracle(ip), "{}", ip);
        }
    }
}
