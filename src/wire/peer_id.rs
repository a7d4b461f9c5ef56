//! The identity of one process of a masterless group.

use std::fmt;

use super::DecodeError;
use super::field::{Field, Reader};
use crate::error::ConfigError;
use crate::serial::{as_text, from_text};

/// Identifies one process: unique by its tail, ordered by its value. A smaller value has the higher
/// priority.
///
/// An identifier has three parts: the rank, which is configured and can be changed; the sequence,
/// which grows with each process that is admitted, and gives the oldest of equal ranks priority;
/// and the random tail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u128);

/// The random part of a [`PeerId`], which identifies a process whatever its priority becomes. Its
/// text is 22 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tail(pub(crate) [u8; 11]);

/// The sequence of a process that is not admitted yet.
pub(crate) const UNADMITTED: u32 = u32::MAX;

impl PeerId {
    pub(crate) fn new(rank: u8, sequence: u32, Tail(tail): Tail) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = rank;
        bytes[1..5].copy_from_slice(&sequence.to_be_bytes());
        bytes[5..].copy_from_slice(&tail);
        PeerId(u128::from_be_bytes(bytes))
    }

    /// Returns the rank, 0 to 255. A smaller rank has the higher priority; a process with rank 255
    /// never becomes primary.
    #[must_use]
    pub fn rank(self) -> u8 {
        (self.0 >> 120) as u8
    }

    /// Returns the sequence: the process's place in the order of admission; `u32::MAX` before it is
    /// admitted.
    #[must_use]
    pub fn sequence(self) -> u32 {
        (self.0 >> 88) as u32
    }

    /// Returns the part that never changes.
    #[must_use]
    pub fn tail(self) -> Tail {
        let mut tail = [0; 11];
        tail.copy_from_slice(&self.0.to_be_bytes()[5..]);
        Tail(tail)
    }

    /// The identifier without its rank, which may change: the smaller is the older process.
    pub(crate) fn seniority(self) -> u128 {
        self.0 & (u128::MAX >> 8)
    }

    /// Returns the whole identifier as a number. Comparing two numbers compares priorities.
    #[must_use]
    pub fn value(self) -> u128 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:08x}.{}", self.rank(), self.sequence(), self.tail())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Tail {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let digits =
            || text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or("-"));
        let mut tail = [0; 11];
        let plain = text.len() == 22 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let read = |(byte, pair): (&mut u8, &str)| {
            u8::from_str_radix(pair, 16).map(|value| *byte = value).is_ok()
        };
        if plain && tail.iter_mut().zip(digits()).all(read) {
            return Ok(Tail(tail));
        }
        Err(ConfigError::new("peer", text, "22 hexadecimal digits"))
    }
}

impl std::str::FromStr for PeerId {
    type Err = ConfigError;

    /// Reads the text of an identifier: rank, sequence and tail in hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let part = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
        };
        let read = || {
            let (rank, rest) = text.split_once('.')?;
            let (sequence, tail) = rest.split_once('.')?;
            let rank = u8::try_from(part(rank, 2)?).ok()?;
            Some(PeerId::new(rank, part(sequence, 8)?, tail.parse().ok()?))
        };
        read().ok_or_else(|| {
            ConfigError::new("peer", text, "rank, sequence and tail, as 80.00000003. and 22 digits")
        })
    }
}

as_text!(PeerId, Tail);
from_text!(PeerId, Tail);

impl Field for PeerId {
    const LEAST: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.to_be_bytes().put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(PeerId(u128::from_be_bytes(Field::take(reader)?)))
    }
}

impl Field for Tail {
    const LEAST: usize = 11;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Field::take(reader).map(Tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(byte: u8) -> Tail {
        Tail([byte; 11])
    }

    #[test]
    fn an_identifier_is_its_parts_and_a_tail_its_text() {
        let id = PeerId::new(10, 7, tail(0xab));
        assert_eq!((id.rank(), id.sequence(), id.tail()), (10, 7, tail(0xab)));
        assert_eq!(id.to_string(), "0a.00000007.ababababababababababab");
        assert_eq!(id.tail().to_string().parse::<Tail>().ok(), Some(tail(0xab)));
        for bad in [
            "",
            "ab",
            "zbababababababababababab",
            "+babababababababababab",
            "ababababababababababababab",
        ] {
            assert!(bad.parse::<Tail>().is_err(), "{bad}");
        }
        assert!(PeerId::new(9, 8, tail(0xff)) < id && PeerId::new(10, 6, tail(0xff)) < id);
    }
}
