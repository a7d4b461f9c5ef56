//! The rules of the program, chain by chain.

use super::family::{
    ACCEPT, DROP, ENTRANCE, FAMILIES, FRAGMENT_CHAIN, FRAGMENT_MAP, Family, LEARN, MARK, MINE, R,
    SLOT_MAP, V4, clear_mark, equal, field, fresh_chain, from_router, goto, is_first,
    is_later_piece, is_mark, is_piece, jump, mark_to, set,
};
use super::{Plan, slot};
use crate::config::route::{FIRST, KNOWN, PIECES, STRANGER_LIFE};
use crate::net::netlink::nftables::Batch;
use crate::net::netlink::nftables::expression::{Expression, Header, Meta};
use crate::state::route::{Ends, EndsRole, HERE};
use crate::wire::Host;

pub(super) fn entrance(batch: &mut Batch<'_>, family: &Family) {
    let names = family.names;
    let rule = |expressions: Vec<Expression>| [family.is_for_us(), expressions].concat();
    let transport =
        |number| [Expression::Meta { what: Meta::Transport, to: R[0] }, equal(R[0], &[number])];
    let is_ours = [family.destination(), Expression::Member { set: names.addresses, key: R[0] }];
    if family.is_v4 {
        batch.rule(ENTRANCE, &rule([&is_ours[..], &is_piece(), &[jump(FRAGMENT_CHAIN)]].concat()));
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
    // Whatever this router's own table says: else two whose tables differ would send it to and fro.
    batch.rule(names.service, &[&family.is_chosen()[..], &[goto(MINE)]].concat());
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
    batch.rule(names.service, &[&from_router()[..], &[goto(names.passed)]].concat());
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
    batch.rule(names.send, &[jump(names.deliver)]);
    batch.rule(names.send, &[goto(names.unknown)]);
    // Of what has no key of its own nothing can be asked.
    batch.rule(names.attempt, &[jump(names.deliver)]);
    batch.rule(names.attempt, &[Expression::Counter, DROP]);
    // The host's own rules may know that mark.
    let here = [&is_mark(HERE)[..], &[Expression::Counter], &clear_mark(), &[ACCEPT]].concat();
    batch.rule(names.deliver, &here);
    batch.rule(names.deliver, &family.mark_chosen());
    // Without a target, the rule ends with the lookup.
    let to = [mark_to(R[0]), Expression::Lookup { map: names.targets, key: R[0], to: R[4] }];
    batch.rule(names.deliver, &[&to[..], &family.forward(plan.device_number, R[4])].concat());
}

/// An error goes to the target whose packet it quotes.
pub(super) fn error(batch: &mut Batch<'_>, family: &Family) {
    let names = family.names;
    batch.rule(names.error, &[&family.is_chosen()[..], &[goto(MINE)]].concat());
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
        goto(names.attempt),
    ]);
    batch.rule(names.error, &expressions);
}

/// Of a packet in pieces only the first has ports.
pub(super) fn fragment(batch: &mut Batch<'_>) {
    batch.rule(FRAGMENT_CHAIN, &[&V4.is_chosen()[..], &[goto(MINE)]].concat());
    let piece = [
        field(Header::Network, 16, 4, R[0]),
        field(Header::Network, 12, 4, R[1]),
        field(Header::Network, 4, 2, R[2]),
    ];
    let known = [
        Expression::Lookup { map: FRAGMENT_MAP, key: R[0], to: MARK },
        Expression::SetMark { from: MARK },
        goto(V4.names.attempt),
    ];
    batch.rule(FRAGMENT_CHAIN, &[&is_later_piece()[..], &piece, &known].concat());
    batch.rule(FRAGMENT_CHAIN, &[&is_later_piece()[..], &[Expression::Counter, DROP]].concat());
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
        lives: PIECES,
        refresh: true,
    };
    batch.rule(LEARN, &[&piece[..], &[mark_to(MARK), remember]].concat());
}

/// A new connection goes to the next slot's target, and is remembered.
pub(super) fn fresh(batch: &mut Batch<'_>, family: &Family, service: u32, plan: &Plan) {
    let (names, chain) = (family.names, fresh_chain(service as usize));
    batch.rule(&chain, &[set(MARK, &[0; 4]), Expression::SetMark { from: MARK }]);
    let (slots, offset) = (plan.slots() as u32, slot(service, 0));
    let (client, length) = (R[4], family.address_length());
    let pick = if plan.by_client {
        vec![
            field(Header::Network, family.source, length, client),
            Expression::Hash { from: client, length, to: R[0], modulus: slots, offset },
        ]
    } else {
        vec![Expression::Count { to: R[0], modulus: slots, offset }]
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
    // Whoever was refused may come again.
    let comes_again = Expression::Forget { set: names.refused, key: R[0] };
    batch.rule(&chain, &[&family.key()[..], &[comes_again], &remember].concat());
    batch.rule(&chain, &[goto(names.send)]);
}

/// Writes the chains that depend on a router's role.
pub(crate) fn write_ends(batch: &mut Batch<'_>, plan: &Plan, ends: &Ends) {
    batch.flush_chain(MINE);
    // This host's own stack has the address and would reset what it does not know.
    let end = if ends.is_target { ACCEPT } else { DROP };
    batch.rule(MINE, &[Expression::Counter, end]);
    write_role(batch, plan, ends.role, ends.pass);
}

/// The same, but for what other routers have chosen this host for.
pub(crate) fn write_role(batch: &mut Batch<'_>, plan: &Plan, role: EndsRole, to: Option<Host>) {
    for family in FAMILIES {
        let names = family.names;
        for chain in [names.passed, names.none, names.unknown] {
            batch.flush_chain(chain);
        }
        let stranger = Expression::Remember {
            set: names.strangers,
            key: R[0],
            value: None,
            lives: STRANGER_LIFE,
            refresh: false,
        };
        let note = [&family.key()[..], &[stranger]].concat();
        let drop = [Expression::Counter, DROP];
        match role {
            EndsRole::Owner { refuse_new } => {
                batch.rule(names.passed, &choose(family));
                batch.rule(names.passed, &note);
                let end = if refuse_new { Expression::Reset } else { DROP };
                batch.rule(names.none, &[Expression::Counter, end]);
            }
            EndsRole::Other => {
                // Another router may have opened anew what this one has refused.
                batch.clear(names.refused);
                pass(batch, names.none, family, plan, to);
            }
        }
        batch.rule(names.passed, &drop);
        let refused = [
            Expression::Member { set: names.refused, key: R[0] },
            Expression::Counter,
            Expression::Reset,
        ];
        batch.rule(names.unknown, &[&family.key()[..], &refused].concat());
        batch.rule(names.unknown, &note);
        // Nothing is passed on twice.
        batch.rule(names.unknown, &[&from_router()[..], &drop].concat());
        pass(batch, names.unknown, family, plan, to);
    }
}

/// Passes packets on to another router; drops them if there is none.
fn pass(batch: &mut Batch<'_>, chain: &str, family: &Family, plan: &Plan, to: Option<Host>) {
    let address = to.and_then(|host| if family.is_v4 { host.v4 } else { host.v6 });
    if let Some(address) = address {
        if family.is_v4 {
            // The other pieces have no ports: that router could not tell where they belong.
            batch.rule(chain, &[&is_piece()[..], &[Expression::Counter, DROP]].concat());
        }
        batch.rule(chain, &family.unmark());
        batch.rule(chain, &family.pass_on(plan.device_number, address));
    }
    batch.rule(chain, &[Expression::Counter, DROP]);
}
