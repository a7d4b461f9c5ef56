//! The rules of the program, chain by chain.

use super::family::{
    ACCEPT, DROP, ENTRANCE, FAMILIES, FRAGMENT_CHAIN, FRAGMENT_MAP, Family, LEARN, MARK, R,
    ROUTER_TARGETS, SLOT_MAP, V4, clear_mark, equal, field, fresh_chain, from_router, goto,
    is_first, is_mark, jump, mark_to, set,
};
use super::{Ends, FIRST, FRAGMENT, KNOWN, Plan, Role, SLOTS, SLOTS_BY_CLIENT, STRANGER};
use crate::net::netlink::nftables::Batch;
use crate::net::netlink::nftables::expression::{Expression, Header, Meta};

pub(super) fn entrance(batch: &mut Batch<'_>, family: &Family) {
    let names = family.names;
    let rule = |expressions: Vec<Expression>| [family.is_for_us(), expressions].concat();
    let transport =
        |number| [Expression::Meta { what: Meta::Transport, to: R[0] }, equal(R[0], &[number])];
    let is_ours = [family.destination(), Expression::Member { set: names.addresses, key: R[0] }];
    if family.is_v4 {
        let is_fragment = [
            field(Header::Network, 6, 2, R[0]),
            Expression::Mask { register: R[0], bits: vec![0x3f, 0xff] },
            Expression::NotEqual { register: R[0], value: vec![0, 0] },
            jump(FRAGMENT_CHAIN),
        ];
        batch.rule(ENTRANCE, &rule([&is_ours[..], &is_fragment].concat()));
    }
    let tcp = transport(libc::IPPROTO_TCP as u8);
    let serving = Expression::Member { set: names.serving, key: R[0] };
    batch.rule(
        ENTRANCE,
        &rule([&tcp[..], &family.service_key(), &[serving, goto(names.service)]].concat()),
    );
    let icmp =
        transport(if family.is_v4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 } as u8);
    let is_error = [
        field(Header::Transport, 0, 1, R[0]),
        Expression::Member { set: names.errors, key: R[0] },
        goto(names.error),
    ];
    batch.rule(ENTRANCE, &rule([&icmp[..], &is_ours, &is_error].concat()));
}

/// A packet of a known connection goes where the connection is, and keeps it known.
pub(super) fn service(batch: &mut Batch<'_>, family: &Family) {
    let names = family.names;
    let known = [
        Expression::Lookup { map: names.conns, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
        mark_to(R[13]),
        Expression::Remember {
            set: names.conns,
            key: R[0],
            value: Some(R[13]),
            lives: KNOWN,
            refresh: true,
        },
        goto(names.send),
    ];
    batch.rule(names.service, &[&family.key()[..], &known].concat());
    batch.rule(names.service, &[&from_router()[..], &[jump(names.passed)]].concat());
    batch.rule(names.service, &choose(family));
    batch.rule(names.service, &[goto(names.unknown)]);
}

/// A first packet goes to the chain of its service.
pub(super) fn choose(family: &Family) -> Vec<Expression> {
    let decide = Expression::Decide { map: family.names.services, key: R[0] };
    [&is_first()[..], &family.service_key(), &[decide]].concat()
}

/// Sends a packet to the target that its mark says.
pub(super) fn send(batch: &mut Batch<'_>, family: &Family, plan: &Plan) {
    let names = family.names;
    // The host's own rules may know that mark.
    let here = [&is_mark(plan.me)[..], &[Expression::Counter], &clear_mark(), &[ACCEPT]].concat();
    batch.rule(names.send, &here);
    let to_router =
        [mark_to(R[2]), Expression::Member { set: ROUTER_TARGETS, key: R[2] }, jump(names.guard)];
    batch.rule(names.send, &[&from_router()[..], &to_router].concat());
    let to = [mark_to(R[0]), Expression::Lookup { map: names.targets, key: R[0], to: R[4] }];
    batch.rule(names.send, &[&to[..], &family.forward(plan.device_number, R[4])].concat());
    // Its target was cut: a rule whose lookup fails ends.
    batch.rule(names.send, &[goto(names.unknown)]);
}

/// An error goes to the target whose packet it quotes.
pub(super) fn error(batch: &mut Batch<'_>, family: &Family) {
    let names = family.names;
    let mut expressions = Vec::new();
    if family.is_v4 {
        // A header without options; over IPv6, options would be another next header.
        expressions.extend([field(Header::Transport, 8, 1, R[0]), equal(R[0], &[0x45])]);
    }
    expressions.extend([
        field(Header::Transport, family.quoted.transport, 1, R[0]),
        equal(R[0], &[libc::IPPROTO_TCP as u8]),
    ]);
    expressions.extend(family.quoted_key());
    expressions.extend([
        Expression::Lookup { map: names.conns, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
        goto(names.send),
    ]);
    batch.rule(names.error, &expressions);
}

/// Of a packet in pieces only the first has ports.
pub(super) fn fragment(batch: &mut Batch<'_>) {
    let piece = [
        field(Header::Network, 16, 4, R[0]),
        field(Header::Network, 12, 4, R[1]),
        field(Header::Network, 4, 2, R[2]),
    ];
    let is_later = [
        field(Header::Network, 6, 2, R[0]),
        Expression::Mask { register: R[0], bits: vec![0x1f, 0xff] },
        Expression::NotEqual { register: R[0], value: vec![0, 0] },
    ];
    let known = [
        Expression::Lookup { map: FRAGMENT_MAP, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
        goto(V4.names.send),
    ];
    batch.rule(FRAGMENT_CHAIN, &[&is_later[..], &piece, &known].concat());
    batch.rule(FRAGMENT_CHAIN, &[&is_later[..], &[Expression::Counter, DROP]].concat());
    let first = [
        Expression::Lookup { map: V4.names.conns, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
        jump(LEARN),
    ];
    let tcp = [
        Expression::Meta { what: Meta::Transport, to: R[0] },
        equal(R[0], &[libc::IPPROTO_TCP as u8]),
    ];
    batch.rule(FRAGMENT_CHAIN, &[&tcp[..], &V4.key(), &first].concat());
    let remember = Expression::Remember {
        set: FRAGMENT_MAP,
        key: R[0],
        value: Some(MARK),
        lives: FRAGMENT,
        refresh: true,
    };
    batch.rule(LEARN, &[&piece[..], &[mark_to(MARK), remember]].concat());
}

/// A new connection goes to the next slot's target, and is remembered.
pub(super) fn fresh(batch: &mut Batch<'_>, family: &Family, service: u32, plan: &Plan) {
    let (names, chain) = (family.names, fresh_chain(service as usize));
    batch.rule(&chain, &[set(MARK, &[0; 4]), Expression::SetMark { from: MARK }]);
    let offset = service * SLOTS_BY_CLIENT;
    let (client, length) = (R[4], family.address_length());
    let pick = if plan.by_client {
        vec![
            field(Header::Network, family.source, length, client),
            Expression::Hash { from: client, length, to: R[0], modulus: SLOTS_BY_CLIENT, offset },
        ]
    } else {
        vec![Expression::Count { to: R[0], modulus: SLOTS, offset }]
    };
    let slot = [
        Expression::Lookup { map: SLOT_MAP, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
    ];
    batch.rule(&chain, &[&pick[..], &slot].concat());
    // Before it is remembered: an empty slot must not be.
    batch.rule(&chain, &[&is_mark(0)[..], &[goto(names.none)]].concat());
    let remember = [
        mark_to(MARK),
        Expression::Remember {
            set: names.conns,
            key: R[0],
            value: Some(MARK),
            lives: FIRST,
            refresh: false,
        },
    ];
    batch.rule(&chain, &[&family.key()[..], &remember].concat());
    batch.rule(&chain, &[goto(names.send)]);
}

/// Writes the chains that depend on a router's role.
pub(crate) fn write_ends(batch: &mut Batch<'_>, plan: &Plan, ends: Ends) {
    for family in FAMILIES {
        let names = family.names;
        for chain in [names.passed, names.guard, names.none, names.unknown] {
            batch.flush_chain(chain);
        }
        let pass = if family.is_v4 { ends.pass_v4 } else { ends.pass_v6 };
        let pass = pass.map_or_else(
            || vec![Expression::Counter, DROP],
            |router| family.pass_on(plan.device_number, router),
        );
        let not_twice = [&from_router()[..], &[Expression::Counter, DROP]].concat();
        let stranger = Expression::Remember {
            set: names.strangers,
            key: R[0],
            value: None,
            lives: STRANGER,
            refresh: false,
        };
        let note = [&family.key()[..], &[stranger]].concat();
        match ends.role {
            Role::Owner { refuse_new } => {
                batch.rule(names.passed, &choose(family));
                batch.rule(names.passed, &note);
                batch.rule(names.passed, &[Expression::Counter, DROP]);
                let end = if refuse_new { Expression::Reset } else { DROP };
                batch.rule(names.none, &[Expression::Counter, end]);
            }
            Role::Other { is_target } => {
                // This host's own stack has the address and would reset what it does not know.
                let end = if is_target { ACCEPT } else { DROP };
                batch.rule(names.passed, &[Expression::Counter, end]);
                batch.rule(names.guard, &[Expression::Counter, DROP]);
                batch.rule(names.none, &not_twice);
                batch.rule(names.none, &pass);
            }
        }
        let refused = [
            Expression::Member { set: names.refused, key: R[0] },
            Expression::Counter,
            Expression::Reset,
        ];
        batch.rule(names.unknown, &[&family.key()[..], &refused].concat());
        batch.rule(names.unknown, &note);
        batch.rule(names.unknown, &not_twice);
        batch.rule(names.unknown, &pass);
    }
}
