//! What rules are made of.

use std::time::Duration;

use super::set::milliseconds;
use crate::net::netlink::Messages;

/// One of the sixteen registers of four bytes that expressions work on. A longer value takes as
/// many as it needs, from this one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u8);

impl Register {
    fn code(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// The part of a packet that an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    /// The protocol in the link header, in network byte order.
    Protocol = 1,
    Mark = 3,
    /// The protocol after the network header and its extensions.
    Transport = 16,
    /// For this host (0), for all, or for another one.
    PacketType = 19,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PacketVerdict {
    Accept,
    Drop,
    /// Come back if no rule of that chain decides.
    Jump(String),
    Goto(String),
}

/// One step of a rule. One that does not hold ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads bytes of the packet.
    Payload {
        from: Header,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Writes bytes of the packet. `checksum` is the offset of the header's own, if it has one: the
    /// sum is then adapted.
    Write {
        to: Header,
        offset: u32,
        length: u32,
        from: Register,
        checksum: Option<u32>,
    },
    Meta {
        what: Meta,
        to: Register,
    },
    SetMark {
        from: Register,
    },
    /// Keeps these bits of a register.
    Mask {
        register: Register,
        bits: Vec<u8>,
    },
    Equal {
        register: Register,
        value: Vec<u8>,
    },
    NotEqual {
        register: Register,
        value: Vec<u8>,
    },
    /// Holds if the key is in the set.
    Member {
        set: &'static str,
        key: Register,
    },
    /// Loads a map's value; holds if there is one.
    Lookup {
        map: &'static str,
        key: Register,
        to: Register,
    },
    /// Does what a map of verdicts says; holds if it says anything.
    Decide {
        map: &'static str,
        key: Register,
    },
    /// Adds an element to a set, or to a map with `value`. One that is there stays as it is, but
    /// with `refresh` lives as long again.
    Remember {
        set: &'static str,
        key: Register,
        value: Option<Register>,
        lives: Duration,
        refresh: bool,
    },
    /// Removes an element from a set, if it is there.
    Forget {
        set: &'static str,
        key: Register,
    },
    Load {
        to: Register,
        value: Vec<u8>,
    },
    Verdict(PacketVerdict),
    /// `offset`, `offset` + 1, … and after `modulus` of them again.
    Count {
        to: Register,
        modulus: u32,
        offset: u32,
    },
    /// `offset` + a hash of the bytes, below `modulus`.
    Hash {
        from: Register,
        length: u32,
        to: Register,
        modulus: u32,
        offset: u32,
    },
    /// Sends the packet to the neighbour with the address in `to` by the device in `device`.
    Forward {
        device: Register,
        to: Register,
        family: u8,
    },
    Counter,
    /// Counts with a counter of the table.
    CountWith(&'static str),
    /// Answers with a TCP reset.
    Reset,
}

/// What a table has beside sets and chains: the kind of a counter.
pub(super) const COUNTER: u32 = 1;

impl Expression {
    /// The kernel's name for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Expression::Payload { .. } | Expression::Write { .. } => "payload",
            Expression::Meta { .. } | Expression::SetMark { .. } => "meta",
            Expression::Mask { .. } => "bitwise",
            Expression::Equal { .. } | Expression::NotEqual { .. } => "cmp",
            Expression::Member { .. } | Expression::Lookup { .. } | Expression::Decide { .. } => {
                "lookup"
            }
            Expression::Remember { .. } | Expression::Forget { .. } => "dynset",
            Expression::Load { .. } | Expression::Verdict(_) => "immediate",
            Expression::Count { .. } => "numgen",
            Expression::Hash { .. } => "hash",
            Expression::Forward { .. } => "fwd",
            Expression::Counter => "counter",
            Expression::CountWith(_) => "objref",
            Expression::Reset => "reject",
        }
    }

    pub(super) fn write(&self, to: &mut Messages) {
        to.nest(1, |expression| {
            expression.text(1, self.name());
            expression.nest(2, |with| self.write_data(with));
        });
    }

    fn write_data(&self, with: &mut Messages) {
        match self {
            Expression::Payload { from, offset, length, to } => {
                with.number(1, to.code());
                with.number(2, *from as u32);
                with.number(3, *offset);
                with.number(4, *length);
            }
            Expression::Write { to, offset, length, from, checksum } => {
                with.number(2, *to as u32);
                with.number(3, *offset);
                with.number(4, *length);
                with.number(5, from.code());
                if let Some(checksum) = checksum {
                    with.number(6, 1); // that of IPv4 and TCP
                    with.number(7, *checksum);
                }
            }
            Expression::Meta { what, to } => {
                with.number(1, to.code());
                with.number(2, *what as u32);
            }
            Expression::SetMark { from } => {
                with.number(2, Meta::Mark as u32);
                with.number(3, from.code());
            }
            Expression::Mask { register, bits } => {
                with.number(1, register.code());
                with.number(2, register.code());
                with.number(3, bits.len() as u32);
                with.nest(4, |mask| mask.attribute(1, bits));
                with.nest(5, |xor| xor.attribute(1, &vec![0; bits.len()]));
            }
            Expression::Equal { register, value } => compare(with, *register, 0, value),
            Expression::NotEqual { register, value } => compare(with, *register, 1, value),
            Expression::Member { set, key } => {
                with.text(1, set);
                with.number(2, key.code());
            }
            Expression::Lookup { map, key, to } => {
                with.text(1, map);
                with.number(2, key.code());
                with.number(3, to.code());
            }
            Expression::Decide { map, key } => {
                with.text(1, map);
                with.number(2, key.code());
                with.number(3, 0); // the register of verdicts
            }
            Expression::Remember { set, key, value, lives, refresh } => {
                with.text(1, set);
                with.number(3, u32::from(*refresh)); // add or update
                with.number(4, key.code());
                if let Some(value) = value {
                    with.number(5, value.code());
                }
                with.attribute(6, &milliseconds(*lives));
            }
            Expression::Forget { set, key } => {
                with.text(1, set);
                with.number(3, 2); // delete
                with.number(4, key.code());
            }
            Expression::Load { to, value } => {
                with.number(1, to.code());
                with.nest(2, |data| data.attribute(1, value));
            }
            Expression::Verdict(verdict) => {
                with.number(1, 0);
                with.nest(2, |data| write_verdict(data, verdict));
            }
            Expression::Count { to, modulus, offset } => {
                with.number(1, to.code());
                with.number(2, *modulus);
                with.number(3, 0); // one after the other
                with.number(4, *offset);
            }
            Expression::Hash { from, length, to, modulus, offset } => {
                with.number(1, from.code());
                with.number(2, to.code());
                with.number(3, *length);
                with.number(4, *modulus);
                with.number(5, 1); // the seed: the same on every host
                with.number(6, *offset);
                with.number(7, 0); // jhash
            }
            Expression::Forward { device, to, family } => {
                with.number(1, device.code());
                with.number(2, to.code());
                with.number(3, u32::from(*family));
            }
            Expression::Counter => {}
            Expression::CountWith(counter) => {
                with.number(1, COUNTER);
                with.text(2, counter);
            }
            Expression::Reset => {
                with.number(1, 1);
                with.attribute(2, &[0]);
            }
        }
    }
}

fn compare(with: &mut Messages, register: Register, how: u32, value: &[u8]) {
    with.number(1, register.code());
    with.number(2, how);
    with.nest(3, |data| data.attribute(1, value));
}

pub(super) fn write_verdict(data: &mut Messages, verdict: &PacketVerdict) {
    data.nest(2, |inside| {
        let (code, chain) = match verdict {
            PacketVerdict::Drop => (0, None),
            PacketVerdict::Accept => (1, None),
            PacketVerdict::Jump(chain) => (-3, Some(chain)),
            PacketVerdict::Goto(chain) => (-4, Some(chain)),
        };
        inside.attribute(1, &i32::to_be_bytes(code));
        if let Some(chain) = chain {
            inside.text(2, chain);
        }
    });
}
