//! The packet filter of a router's host, as `net/route/program` has it: what happens to a packet.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::slots::SLOTS_BY_CLIENT;
use super::super::{Conn, Ends, EndsRole, HERE, Millis, Target, TargetReports, ms};
use crate::config::route::{FIRST, KNOWN, MAX_STRANGERS, REFUSAL, SILENCE, STRANGER_LIFE};
use crate::wire::Host;

/// What a packet of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Syn,
    Data,
    Fin,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) conn: Conn,
    pub(super) segment: Segment,
    /// The hardware address of the router that has sent it on.
    pub(super) from: Option<[u8; 6]>,
    /// That router does not know it.
    pub(super) is_passed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Forward(Host),
    /// To another router.
    Pass(Host),
    /// To the host's own stack.
    Accept,
    Drop,
    Reset,
}

/// What a router has loaded. It outlives the router's process.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) conns: BTreeMap<Conn, (Target, Millis)>,
    slots: Vec<Vec<Target>>,
    turn: Vec<usize>,
    pub(super) targets: BTreeMap<Target, Host>,
    refused: BTreeMap<Conn, Millis>,
    strangers: BTreeMap<Conn, Millis>,
    ends: Ends,
    routers: Vec<Host>,
}

impl Table {
    pub(super) fn new(services: usize) -> Self {
        Table {
            conns: BTreeMap::new(),
            slots: vec![Vec::new(); services],
            turn: vec![0; services],
            targets: BTreeMap::new(),
            refused: BTreeMap::new(),
            strangers: BTreeMap::new(),
            ends: Ends { role: EndsRole::Other, is_target: false, pass: None },
            routers: Vec::new(),
        }
    }

    /// Is taken over by another process, which cannot know where targets are that are not among
    /// them. Returns those that are.
    pub(super) fn adopt(&mut self) -> Vec<(Target, Host)> {
        self.conns.retain(|_, (to, _)| *to == HERE || self.targets.contains_key(to));
        self.targets.iter().map(|(target, host)| (*target, *host)).collect()
    }

    /// Returns what becomes of a packet.
    pub(super) fn meet(&mut self, packet: Packet, now: Millis) -> Fate {
        let Packet { conn, segment, from, is_passed } = packet;
        self.conns.retain(|_, (_, until)| *until > now);
        self.refused.retain(|_, until| *until > now);
        self.strangers.retain(|_, until| *until > now);
        let from_router = from.is_some_and(|mac| self.routers.iter().any(|one| one.mac == mac));
        // A router that does not pass it on has chosen this host as the target.
        if from_router && !is_passed {
            return if self.ends.is_target { Fate::Accept } else { Fate::Drop };
        }
        if let Some((target, until)) = self.conns.get_mut(&conn) {
            *until = now + ms(KNOWN);
            let target = *target;
            return self.send(conn, target, from_router, now);
        }
        match (self.ends.role, from_router, segment) {
            (_, false, Segment::Syn) | (EndsRole::Owner { .. }, true, Segment::Syn) => {
                self.fresh(conn, from_router, now)
            }
            (EndsRole::Owner { .. }, true, _) => {
                self.note(conn, now);
                Fate::Drop
            }
            (EndsRole::Other, true, _) => Fate::Drop,
            (_, false, _) => self.unknown(conn, from_router, now),
        }
    }

    fn fresh(&mut self, conn: Conn, passed: bool, now: Millis) -> Fate {
        let service = usize::from(conn.service);
        let slots = &self.slots[service];
        if slots.is_empty() {
            return match self.ends.role {
                EndsRole::Owner { refuse_new: true } => Fate::Reset,
                EndsRole::Owner { refuse_new: false } => Fate::Drop,
                EndsRole::Other if passed => Fate::Drop,
                EndsRole::Other => self.pass(),
            };
        }
        self.turn[service] += 1;
        let at = match slots.len() {
            SLOTS_BY_CLIENT => by_address(conn.client.ip()),
            _ => self.turn[service],
        };
        let target = slots[at % slots.len()];
        // Whoever was refused may come again.
        self.refused.remove(&conn);
        self.conns.insert(conn, (target, now + ms(FIRST)));
        self.send(conn, target, passed, now)
    }

    fn send(&mut self, conn: Conn, target: Target, passed: bool, now: Millis) -> Fate {
        if target == HERE {
            return Fate::Accept;
        }
        match self.targets.get(&target) {
            Some(host) => Fate::Forward(*host),
            None => self.unknown(conn, passed, now),
        }
    }

    fn unknown(&mut self, conn: Conn, passed: bool, now: Millis) -> Fate {
        if self.refused.contains_key(&conn) {
            return Fate::Reset;
        }
        self.note(conn, now);
        if passed { Fate::Drop } else { self.pass() }
    }

    fn pass(&self) -> Fate {
        self.ends.pass.map_or(Fate::Drop, Fate::Pass)
    }

    fn note(&mut self, conn: Conn, now: Millis) {
        if self.strangers.len() < MAX_STRANGERS {
            self.strangers.entry(conn).or_insert(now + ms(STRANGER_LIFE));
        }
    }

    pub(super) fn strangers(&self, now: Millis) -> Vec<Conn> {
        self.strangers.iter().filter(|(_, until)| **until > now).map(|(conn, _)| *conn).collect()
    }

    pub(super) fn replace(&mut self, known: Vec<(Conn, Target)>, now: Millis) {
        self.conns = known.into_iter().map(|(conn, to)| (conn, (to, now + ms(KNOWN)))).collect();
    }

    pub(super) fn fill(&mut self, reports: TargetReports, now: Millis) {
        let told: BTreeSet<Conn> =
            reports.live.iter().chain(&reports.other).map(|(conn, _)| *conn).collect();
        let silent =
            |until: Millis| until < now + ms(KNOWN) - ms(SILENCE) && until > now + ms(FIRST);
        self.conns.retain(|conn, (target, until)| {
            told.contains(conn) || !reports.of.contains(target) || !silent(*until)
        });
        let until = now + ms(KNOWN);
        for (conn, target) in reports.live {
            self.strangers.remove(&conn);
            if self.conns.get(&conn).is_some_and(|(known, _)| *known != target) {
                self.conns.remove(&conn);
            } else {
                self.conns.insert(conn, (target, until));
            }
        }
        for (conn, target) in reports.other {
            self.strangers.remove(&conn);
            self.conns.entry(conn).or_insert((target, until));
        }
    }

    pub(super) fn forget(&mut self, conns: &[Conn]) {
        conns.iter().for_each(|conn| _ = self.conns.remove(conn));
    }

    pub(super) fn refuse(&mut self, conns: Vec<Conn>, now: Millis) {
        for conn in conns {
            self.strangers.remove(&conn);
            self.refused.insert(conn, now + ms(REFUSAL));
        }
    }

    /// Returns the connections that the target had.
    pub(super) fn cut(&mut self, target: Target, refuse: bool, now: Millis) -> Vec<Conn> {
        self.targets.remove(&target);
        let is_its = |(to, _): &(Target, Millis)| *to == target;
        let its: Vec<Conn> =
            self.conns.iter().filter(|(_, one)| is_its(one)).map(|(conn, _)| *conn).collect();
        self.conns.retain(|_, one| !is_its(one));
        if refuse {
            self.refuse(its.clone(), now);
        }
        its
    }

    pub(super) fn slots(&mut self, service: u16, slots: Vec<Target>) {
        self.slots[usize::from(service)] = slots;
    }

    pub(super) fn ends(&mut self, ends: Ends) {
        // What was refused may have come again through another router.
        if ends.role == EndsRole::Other {
            self.refused.clear();
        }
        self.ends = ends;
    }

    pub(super) fn routers(&mut self, hosts: Vec<Host>) {
        self.routers = hosts;
    }
}

/// Whatever the kernel's hash is, it is the same everywhere.
fn by_address(client: IpAddr) -> usize {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish() as usize
}
