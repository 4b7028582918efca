//! Internet addresses written as text: the network remains, the host does not.
//!
//! Of an IPv4 address 24 bits remain, of an IPv6 address 48; of one with a shorter netmask, that many. The
//! same as `mask.ip(inet)` does.

use super::HIDDEN;
use std::net::IpAddr;

/// The mask of an address; `***` for what is none.
pub fn ip(value: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(value).ok().and_then(masked);
    text.unwrap_or_else(|| HIDDEN.into()).into_bytes()
}

fn masked(text: &str) -> Option<String> {
    let (address, netmask) = match text.split_once('/') {
        Some((address, bits)) => {
            let plain = bits.bytes().all(|byte| byte.is_ascii_digit());
            (address, Some(bits.parse::<u32>().ok().filter(|_| plain)?))
        }
        None => (text, None),
    };
    let (network, most) = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => {
            let kept = netmask.unwrap_or(32).min(24);
            (IpAddr::V4((u32::from(address) & !u32::MAX.checked_shr(kept).unwrap_or(0)).into()), 32)
        }
        IpAddr::V6(address) => {
            let kept = netmask.unwrap_or(128).min(48);
            (IpAddr::V6((u128::from(address) & !u128::MAX.checked_shr(kept).unwrap_or(0)).into()), 128)
        }
    };
    match netmask {
        Some(bits) if bits <= most => Some(format!("{network}/{bits}")),
        Some(_) => None,
        None => Some(network.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_network() {
        for (text, expected) in [
            ("203.0.113.42", "203.0.113.0"),
            ("203.0.113.42/32", "203.0.113.0/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("2001:db8:1:2::/32", "2001:db8::/32"),
            ("::ffff:203.0.113.42", "::"),
            ("2001:db8::1/0", "::/0"),
        ] {
            assert_eq!(ip(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_hidden_entirely() {
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.4/33",
            "::1/129",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "fe80::1%eth0",
            "localhost",
            " 1.2.3.4",
            "1.2.3.4/4294967296",
        ] {
            assert_eq!(ip(text.as_bytes()), b"***", "{text}");
        }
        assert_eq!(ip(b"1.2.3.\xff"), b"***");
    }
}
