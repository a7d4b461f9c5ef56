//! Sets and maps, and their elements.

use std::time::Duration;

use crate::net::netlink::{Messages, array, attribute};

/// What a field of a key or a value is: for `nft list ruleset`, which shows it so, and for the
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4,
    Ipv6,
    Port,
    Ethernet,
    Mark,
    Icmp,
    Icmpv6,
}

impl Type {
    /// The number that `nft` knows it by, and its length in bytes.
    fn shape(self) -> (u32, u32) {
        match self {
            Type::Ipv4 => (7, 4),
            Type::Ipv6 => (8, 16),
            Type::Port => (13, 2),
            Type::Ethernet => (9, 6),
            Type::Mark => (19, 4),
            Type::Icmp => (14, 1),
            Type::Icmpv6 => (29, 1),
        }
    }
}

/// The value of a map's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Nothing,
    Value(Type),
    Verdict,
}

/// A set, or with a value a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: Vec<Type>,
    pub(crate) holds: Holds,
    /// Rules may add elements, at most so many.
    pub(crate) dynamic: Option<u32>,
    /// Elements live for so long if nothing else is said.
    pub(crate) lives: Option<Duration>,
}

impl Set {
    /// Of one field as it is; of several each begins a new register.
    fn key_shape(&self) -> (u32, u32) {
        if let [one] = self.key[..] {
            return one.shape();
        }
        self.key.iter().map(|one| one.shape()).fold((0, 0), |(kinds, length), (kind, more)| {
            (kinds << 6 | kind, length + more.next_multiple_of(4))
        })
    }

    pub(super) fn write(&self, table: &str, number: u32, with: &mut Messages) {
        const MAP: u32 = 0x8;
        const TIMEOUT: u32 = 0x10;
        const EVALUATED: u32 = 0x20;
        let flag = |is, flag| if is { flag } else { 0 };
        let flags = flag(self.holds != Holds::Nothing, MAP)
            | flag(self.lives.is_some(), TIMEOUT)
            | flag(self.dynamic.is_some(), EVALUATED);
        let (kind, length) = self.key_shape();
        with.text(1, table);
        with.text(2, self.name);
        with.number(3, flags);
        with.number(4, kind);
        with.number(5, length);
        match self.holds {
            Holds::Nothing => {}
            Holds::Value(of) => {
                let (kind, length) = of.shape();
                with.number(6, kind);
                with.number(7, length);
            }
            Holds::Verdict => {
                with.number(6, 0xffff_ff00);
                with.number(7, 16);
            }
        }
        if let Some(size) = self.dynamic {
            with.nest(9, |description| description.number(1, size));
        }
        with.number(10, number);
        if let Some(lives) = self.lives {
            with.attribute(11, &milliseconds(lives));
        }
    }
}

/// The value of an element to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Goto(&'a str),
}

/// An element as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    /// Empty in a set, and of a verdict.
    pub(crate) value: Vec<u8>,
    /// How long it lives without being refreshed.
    pub(crate) expires: Option<Duration>,
}

impl Element {
    /// Reads what the kernel says of an element.
    pub(super) fn read(element: &[u8]) -> Option<Self> {
        let data = |kind| attribute(attribute(element, kind)?, 1).map(<[u8]>::to_vec);
        let expires = attribute(element, 5).and_then(|time| array(time, 0));
        Some(Element {
            key: data(1)?,
            value: data(2).unwrap_or_default(),
            expires: expires.map(|time| Duration::from_millis(u64::from_be_bytes(time))),
        })
    }
}

pub(super) fn milliseconds(time: Duration) -> [u8; 8] {
    (time.as_millis() as u64).to_be_bytes()
}
