//! What differs between the families of addresses, and the expressions that all rules share.

use std::net::{IpAddr, SocketAddr};

use crate::config::route::{
    KNOWN, MAX_CONNECTIONS, MAX_REFUSED, MAX_STRANGERS, REFUSAL, STRANGER_LIFE,
};
use crate::net::netlink::nftables::expression::{
    Expression, Header, Meta, PacketVerdict, Register,
};
use crate::net::netlink::nftables::set::{Holds, Set, Type};
use crate::net::netlink::{address_of, octets};
use crate::state::route::Target;

pub(super) const R: [Register; 16] = {
    let mut all = [Register(0); 16];
    let mut at = 0;
    while at < 16 {
        all[at] = Register(at as u8);
        at += 1;
    }
    all
};
/// Where the mark goes: beyond the key of a connection over IPv6.
pub(super) const MARK: Register = R[12];

/// What differs between the families.
pub(super) struct Family {
    pub(super) is_v4: bool,
    pub(super) address: Type,
    /// Offsets of the addresses in the network header.
    pub(super) destination: u32,
    pub(super) source: u32,
    /// The offset of the hops that the packet has left, and of the header's checksum.
    pub(super) hops: u32,
    pub(super) checksum: Option<u32>,
    /// Offsets, from an ICMP header on, in the packet that an error quotes.
    pub(super) quoted: Quoted,
    pub(super) protocol: [u8; 2],
    pub(super) number: u8,
    pub(super) names: &'static Names,
}

pub(super) struct Quoted {
    /// The byte that says that the quoted packet is TCP.
    pub(super) transport: u32,
    pub(super) source: u32,
    pub(super) source_port: u32,
    pub(super) destination: u32,
    pub(super) destination_port: u32,
}

pub(super) struct Names {
    pub(super) conns: &'static str,
    pub(super) targets: &'static str,
    pub(super) services: &'static str,
    pub(super) serving: &'static str,
    pub(super) addresses: &'static str,
    pub(super) refused: &'static str,
    pub(super) strangers: &'static str,
    pub(super) errors: &'static str,
    pub(super) service: &'static str,
    pub(super) passed: &'static str,
    pub(super) send: &'static str,
    pub(super) attempt: &'static str,
    pub(super) deliver: &'static str,
    pub(super) none: &'static str,
    pub(super) unknown: &'static str,
    pub(super) error: &'static str,
}

macro_rules! names {
    ($v:literal) => {
        Names {
            conns: concat!("conns", $v),
            targets: concat!("targets", $v),
            services: concat!("services", $v),
            serving: concat!("serving", $v),
            addresses: concat!("addresses", $v),
            refused: concat!("refused", $v),
            strangers: concat!("strangers", $v),
            errors: concat!("errors", $v),
            service: concat!("service", $v),
            passed: concat!("passed", $v),
            send: concat!("send", $v),
            attempt: concat!("attempt", $v),
            deliver: concat!("deliver", $v),
            none: concat!("none", $v),
            unknown: concat!("unknown", $v),
            error: concat!("error", $v),
        }
    };
}

pub(super) const V4: Family = Family {
    is_v4: true,
    address: Type::Ipv4,
    destination: 16,
    source: 12,
    hops: 8,
    checksum: Some(10),
    quoted: Quoted {
        transport: 17,
        source: 20,
        source_port: 28,
        destination: 24,
        destination_port: 30,
    },
    protocol: [0x08, 0x00],
    number: libc::AF_INET as u8,
    names: &names!("4"),
};

pub(super) const V6: Family = Family {
    is_v4: false,
    address: Type::Ipv6,
    destination: 24,
    source: 8,
    hops: 7,
    checksum: None,
    quoted: Quoted {
        transport: 14,
        source: 16,
        source_port: 48,
        destination: 32,
        destination_port: 50,
    },
    protocol: [0x86, 0xdd],
    number: libc::AF_INET6 as u8,
    names: &names!("6"),
};

pub(super) const FAMILIES: [&Family; 2] = [&V4, &V6];

/// The family of an address.
pub(super) fn family_of(address: IpAddr) -> &'static Family {
    if address.is_ipv4() { &V4 } else { &V6 }
}

pub(super) const ENTRANCE: &str = "ingress";
pub(super) const FRAGMENT_CHAIN: &str = "fragment4";
pub(super) const LEARN: &str = "learn4";
pub(super) const FRAGMENT_MAP: &str = "fragments4";
pub(super) const SLOT_MAP: &str = "slots";
pub(super) const ROUTERS: &str = "routers";
pub(super) const MINE: &str = "mine";
pub(super) const SENT: &str = "sent";

/// The hops that a packet has left for which another router has chosen this host as the target.
/// That router sets one more; `fwd` takes that away.
const CHOSEN_HOPS: u8 = 254;

pub(super) fn fresh_chain(service: usize) -> String {
    format!("fresh{service}")
}

pub(super) fn field(from: Header, offset: u32, length: u32, to: Register) -> Expression {
    Expression::Payload { from, offset, length, to }
}

pub(super) fn set(to: Register, value: &[u8]) -> Expression {
    Expression::Load { to, value: value.to_vec() }
}

pub(super) fn equal(register: Register, value: &[u8]) -> Expression {
    Expression::Equal { register, value: value.to_vec() }
}

pub(super) fn jump(chain: &str) -> Expression {
    Expression::Verdict(PacketVerdict::Jump(chain.into()))
}

pub(super) fn goto(chain: &str) -> Expression {
    Expression::Verdict(PacketVerdict::Goto(chain.into()))
}

pub(super) const DROP: Expression = Expression::Verdict(PacketVerdict::Drop);
pub(super) const ACCEPT: Expression = Expression::Verdict(PacketVerdict::Accept);

/// The mark into a register: `nft list ruleset` ends with an assertion where a value that is
/// remembered comes straight from a lookup.
pub(super) fn mark_to(to: Register) -> Expression {
    Expression::Meta { what: Meta::Mark, to }
}

pub(super) fn is_mark(target: Target) -> [Expression; 2] {
    [mark_to(R[0]), equal(R[0], &target.to_ne_bytes())]
}

pub(super) fn clear_mark() -> [Expression; 2] {
    [set(R[1], &[0; 4]), Expression::SetMark { from: R[1] }]
}

/// A packet that another router has sent on.
pub(super) fn from_router() -> [Expression; 2] {
    [field(Header::Link, 6, 6, R[0]), Expression::Member { set: ROUTERS, key: R[0] }]
}

/// A first packet of a connection.
pub(super) fn is_first() -> [Expression; 3] {
    [
        field(Header::Transport, 13, 1, R[0]),
        Expression::Mask { register: R[0], bits: vec![0x17] },
        equal(R[0], &[0x02]),
    ]
}

/// A packet in pieces.
pub(super) fn is_piece() -> [Expression; 3] {
    flags_and_offset(0x3fff)
}

/// A piece that is not the first, so that it has no ports.
pub(super) fn is_later_piece() -> [Expression; 3] {
    flags_and_offset(0x1fff)
}

fn flags_and_offset(mask: u16) -> [Expression; 3] {
    [
        field(Header::Network, 6, 2, R[0]),
        Expression::Mask { register: R[0], bits: mask.to_be_bytes().into() },
        Expression::NotEqual { register: R[0], value: vec![0, 0] },
    ]
}

impl Family {
    /// A packet for which another router has chosen this host as the target. What that one only
    /// passes on keeps its hops: they end with a circle, and a gateway's packets look the same.
    pub(super) fn is_chosen(&self) -> [Expression; 4] {
        let [from, is_router] = from_router();
        let hops = field(Header::Network, self.hops, 1, R[0]);
        [from, is_router, hops, equal(R[0], &[CHOSEN_HOPS])]
    }

    /// Says that a packet is for the target that it is sent to.
    pub(super) fn mark_chosen(&self) -> [Expression; 2] {
        self.set_hops(CHOSEN_HOPS + 1)
    }

    /// What is passed on must not look as if it were for the next host: only a client's packet of
    /// the most hops would.
    pub(super) fn unmark(&self) -> Vec<Expression> {
        let hops = field(Header::Network, self.hops, 1, R[0]);
        let mut expressions = vec![hops, equal(R[0], &[CHOSEN_HOPS + 1])];
        expressions.extend(self.set_hops(CHOSEN_HOPS));
        expressions
    }

    fn set_hops(&self, hops: u8) -> [Expression; 2] {
        let write = Expression::Write {
            to: Header::Network,
            offset: self.hops,
            length: 1,
            from: R[0],
            checksum: self.checksum,
        };
        [set(R[0], &[hops]), write]
    }

    pub(super) fn address_length(&self) -> u32 {
        if self.is_v4 { 4 } else { 16 }
    }

    /// The registers that an address fills.
    pub(super) fn width(&self) -> usize {
        self.address_length() as usize / 4
    }

    /// The key of a connection: address, port, client, the client's port.
    pub(super) fn key(&self) -> Vec<Expression> {
        let (width, length) = (self.width(), self.address_length());
        vec![
            field(Header::Network, self.destination, length, R[0]),
            field(Header::Transport, 2, 2, R[width]),
            field(Header::Network, self.source, length, R[width + 1]),
            field(Header::Transport, 0, 2, R[2 * width + 1]),
        ]
    }

    /// The same of the packet that an ICMP error quotes; a target has sent that to the client.
    pub(super) fn quoted_key(&self) -> Vec<Expression> {
        let (width, length, quoted) = (self.width(), self.address_length(), &self.quoted);
        vec![
            field(Header::Transport, quoted.source, length, R[0]),
            field(Header::Transport, quoted.source_port, 2, R[width]),
            field(Header::Transport, quoted.destination, length, R[width + 1]),
            field(Header::Transport, quoted.destination_port, 2, R[2 * width + 1]),
        ]
    }

    /// The key of a service: address, port.
    pub(super) fn service_key(&self) -> Vec<Expression> {
        let mut key = self.key();
        key.truncate(2);
        key
    }

    pub(super) fn destination(&self) -> Expression {
        field(Header::Network, self.destination, self.address_length(), R[0])
    }

    pub(super) fn connection(&self) -> Vec<Type> {
        vec![self.address, Type::Port, self.address, Type::Port]
    }

    /// Only what is for this host: a switch that does not know where an address is now sends the
    /// packet to all.
    pub(super) fn is_for_us(&self) -> Vec<Expression> {
        vec![
            Expression::Meta { what: Meta::PacketType, to: R[0] },
            equal(R[0], &[0]),
            Expression::Meta { what: Meta::Protocol, to: R[0] },
            equal(R[0], &self.protocol),
        ]
    }

    pub(super) fn forward(&self, device: u32, to: Register) -> [Expression; 3] {
        let device_at = if to == R[1] { R[0] } else { R[1] };
        [
            Expression::CountWith(SENT),
            set(device_at, &device.to_ne_bytes()),
            Expression::Forward { device: device_at, to, family: self.number },
        ]
    }

    pub(super) fn pass_on(&self, device: u32, to: IpAddr) -> Vec<Expression> {
        let mut expressions = vec![set(R[4], &octets(to))];
        expressions.extend(self.forward(device, R[4]));
        expressions
    }

    pub(super) fn sets(&self) -> Vec<Set> {
        let names = self.names;
        let plain = |name, key: &[Type], holds| Set {
            name,
            key: key.to_vec(),
            holds,
            dynamic: None,
            lives: None,
        };
        let of_connections = |name, holds, dynamic: usize, lives| Set {
            name,
            key: self.connection(),
            holds,
            dynamic: Some(dynamic as u32),
            lives: Some(lives),
        };
        let kind = if self.is_v4 { Type::Icmp } else { Type::Icmpv6 };
        let service = [self.address, Type::Port];
        vec![
            of_connections(names.conns, Holds::Value(Type::Mark), MAX_CONNECTIONS, KNOWN),
            of_connections(names.refused, Holds::Nothing, MAX_REFUSED, REFUSAL),
            of_connections(names.strangers, Holds::Nothing, MAX_STRANGERS, STRANGER_LIFE),
            plain(names.targets, &[Type::Mark], Holds::Value(self.address)),
            plain(names.services, &service, Holds::Verdict),
            plain(names.serving, &service, Holds::Nothing),
            plain(names.addresses, &[self.address], Holds::Nothing),
            plain(names.errors, &[kind], Holds::Nothing),
        ]
    }

    pub(super) fn chains(&self) -> [&'static str; 8] {
        let names = self.names;
        [
            names.service,
            names.passed,
            names.send,
            names.attempt,
            names.deliver,
            names.none,
            names.unknown,
            names.error,
        ]
    }

    /// The ICMP errors that tell a sender to change what it sends, or that it never arrives.
    pub(super) fn errors(&self) -> &'static [u8] {
        if self.is_v4 { &[3, 11, 12] } else { &[1, 2, 3, 4] }
    }
}

/// Ports take a register of their own in a key.
pub(super) fn end_bytes(end: SocketAddr) -> Vec<u8> {
    let mut bytes = octets(end.ip());
    bytes.extend_from_slice(&end.port().to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

/// The key of a connection in the maps.
pub(crate) fn connection_key(service: SocketAddr, client: SocketAddr) -> Vec<u8> {
    [end_bytes(service), end_bytes(client)].concat()
}

/// The service and the client of a connection's key.
pub(super) fn service_and_client(key: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (service, client) = key.split_at_checked(key.len() / 2)?;
    Some((end_of(service)?, end_of(client)?))
}

fn end_of(bytes: &[u8]) -> Option<SocketAddr> {
    let (address, port) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    Some(SocketAddr::new(address_of(address)?, u16::from_be_bytes([port[0], port[1]])))
}
