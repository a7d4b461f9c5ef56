//! The addresses and names to which heartbeats go one by one.

use std::fmt;
use std::net::SocketAddr;

/// What a user gave: an address, or a name to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Address(SocketAddr),
    /// A host and a port.
    Name(String),
}

impl Destination {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        text.parse().map_or(Destination::Name(text), Destination::Address)
    }

    /// Returns why it cannot be sent to from this address.
    pub(super) fn fault(&self, bind: SocketAddr) -> Option<&'static str> {
        match self {
            Destination::Address(at) if at.is_ipv4() != bind.is_ipv4() => {
                Some("all addresses must be IPv4, or all are IPv6, like the address to bind")
            }
            Destination::Address(at) if at.port() == 0 || at.ip().is_unspecified() => {
                Some("the address of one host, and a port other than 0")
            }
            Destination::Address(_) => None,
            Destination::Name(text) if !text.is_ascii() => {
                Some("a name in the form that name servers know, such as xn--kln-sna.example:4000")
            }
            Destination::Name(text) if host_and_port(text).is_none() => Some(
                "an address or a name, with a port, such as 10.0.0.7:4000, [fe80::7%2]:4000 or \
                 worker-1:4000",
            ),
            Destination::Name(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Address(at) => at.fmt(f),
            Destination::Name(text) => text.fmt(f),
        }
    }
}

/// Splits a name with its port into both; returns `None` if the text is not a name with a port.
///
/// The system's resolver takes a name that ends in a number for an address, even 10.1 (10.0.0.1)
/// and 010.0.0.1 (8.0.0.1). Nobody means that.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let labels = || host.strip_suffix('.').unwrap_or(host).split('.');
    let usual = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(usual) && !label.starts_with('-')
    };
    let is_number = |label: &str| {
        let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        hex.map_or(label.chars().all(|c| c.is_ascii_digit()), |hex| {
            hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    };
    let port = port.parse().ok().filter(|port| *port != 0 && !text.contains("+"))?;
    let fits =
        host.len() <= 254 && labels().all(is_label) && !labels().next_back().is_some_and(is_number);
    fits.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<&'static str> {
        Destination::new(text).fault("0.0.0.0:1".parse().unwrap())
    }

    #[test]
    fn a_name_is_one_that_a_host_can_have_and_a_port() {
        let long = format!("{}.b:1", "a".repeat(63));
        for name in [
            "one:1",
            "a.b-c_d.:2",
            "10.0.0.1:1",
            "1and1.example:65535",
            "7-of-9:1",
            "x.0xyz:1",
            &long,
        ] {
            assert_eq!(fault(name), None, "{name}");
        }
        let long = [format!("{}:1", "a".repeat(64)), format!("{}a:1", "a.".repeat(127))];
        for name in [
            "one",
            ":1",
            "one:",
            "one:0",
            "one:65536",
            "one:+1",
            "one:x",
            "one two:1",
            "one..two:1",
            ".:1",
            "-one:1",
        ] {
            assert!(fault(name).unwrap().contains("with a port"), "{name}");
        }
        for name in
            ["fe80::1:1:", "[one]:1", "http://one:1", "::1:1", "one\n:1", "one:1:1", "a,b:1"]
                .into_iter()
                .chain(long.iter().map(String::as_str))
        {
            assert!(fault(name).unwrap().contains("with a port"), "{name}");
        }
    }

    #[test]
    fn what_a_resolver_would_take_for_another_address_is_refused() {
        for name in [
            "10.0.0.256:1",
            "10.1:1",
            "010.0.0.1:1",
            "1:1",
            "0x7f.1:1",
            "a.0x7f:1",
            "127.0.0.1.:1",
            "0x:1",
        ] {
            assert!(fault(name).unwrap().contains("with a port"), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(fault("k\u{f6}ln.example:1").unwrap().contains("xn--"));
        assert!(fault("[::1]:1").unwrap().contains("all are IPv6"));
        assert!(fault("0.0.0.0:1").unwrap().contains("one host"));
        assert!(fault("10.0.0.1:0").unwrap().contains("a port other than 0"));
    }
}
