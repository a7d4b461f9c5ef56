//! The clients: they ask, wait, repeat, and count what goes wrong.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::{Conn, Millis};
use super::kernel::Segment;
use super::world::{At, Client, ESTABLISHED, SYN_RECV, Stage, What, World};

impl World {
    pub(super) fn connect(&mut self) -> usize {
        let number = self.clients.len() as u32;
        let address = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + number));
        let conn = Conn {
            service: (number % 2) as u16,
            client: SocketAddr::new(address, 1024 + (number % 60_000) as u16),
        };
        let requests = if self.random.one_in(3) { usize::MAX } else { 1 + self.random.below(20) };
        self.connect_as(conn, requests)
    }

    /// Packets of connections that nobody has.
    pub(super) fn junk(&mut self, count: u32) {
        for _ in 0..count {
            let number = self.clients.len() as u32;
            let client = SocketAddr::new(Ipv4Addr::from(0x0a80_0000 + number).into(), 9);
            let conn = Conn { service: 0, client };
            let one = self.add(conn, 0);
            self.clients[one].stage = Stage::Over;
            self.resolve(one);
            self.send(one, Segment::Data);
        }
    }

    /// The same client once more, from another port.
    pub(super) fn connect_again(&mut self, client: usize) -> usize {
        let Conn { service, client: name } = self.clients[client].conn;
        let conn = Conn { service, client: SocketAddr::new(name.ip(), name.port() / 2) };
        self.connect_as(conn, 3)
    }

    pub(super) fn add(&mut self, conn: Conn, requests: usize) -> usize {
        let client = self.clients.len();
        self.by_name.insert(conn, client);
        let think = 20 + self.random.time_in(2000);
        self.clients.push(Client {
            conn,
            stage: Stage::Opening,
            sends_to: None,
            waits: true,
            rto: 1000,
            timer: 0,
            requests,
            think,
            answered_at: self.now,
            opened: None,
            given_up: false,
            offered: None,
            doubled: false,
        });
        client
    }

    pub(super) fn connect_as(&mut self, conn: Conn, requests: usize) -> usize {
        let client = self.add(conn, requests);
        self.resolve(client);
        self.send(client, Segment::Syn);
        self.arm(client, 1000);
        client
    }

    pub(super) fn arm(&mut self, client: usize, after: Millis) {
        let one = &mut self.clients[client];
        one.timer += 1;
        let timer = one.timer;
        self.later(after, What::Timer { client, timer });
    }

    pub(super) fn timer(&mut self, client: usize, timer: u64) {
        let one = &mut self.clients[client];
        if one.timer != timer {
            return;
        }
        match one.stage {
            Stage::Over | Stage::Reset => {}
            Stage::Opening => {
                one.rto = (2 * one.rto).min(4000);
                let rto = one.rto;
                self.resolve(client);
                self.send(client, Segment::Syn);
                self.arm(client, rto);
            }
            Stage::Open { .. } if one.waits => {
                one.rto = (2 * one.rto).min(4000);
                let rto = one.rto;
                self.resolve(client);
                self.send(client, Segment::Data);
                self.arm(client, rto);
            }
            Stage::Open { .. } if one.requests == 0 => {
                one.stage = Stage::Over;
                self.send(client, Segment::Fin);
            }
            Stage::Open { .. } => self.ask(client),
        }
    }

    pub(super) fn ask(&mut self, client: usize) {
        let one = &mut self.clients[client];
        one.requests = one.requests.saturating_sub(1);
        (one.waits, one.rto) = (true, 200);
        self.send(client, Segment::Data);
        self.arm(client, 200);
    }

    pub(super) fn syn_ack(&mut self, client: usize, on: At, boot: u32) {
        let one = &mut self.clients[client];
        if one.stage == Stage::Opening {
            (one.stage, one.opened) = (Stage::Open { on, boot }, Some(on));
            one.answered_at = self.now;
            self.ask(client);
        }
    }

    pub(super) fn answer(&mut self, client: usize, on: At) {
        let now = self.now;
        let one = &mut self.clients[client];
        let Stage::Open { on: its, .. } = one.stage else { return };
        assert!(its == on || one.doubled, "{:?} is answered by another target", one.conn);
        if std::mem::take(&mut one.waits) {
            self.longest_wait = self.longest_wait.max(now - one.answered_at);
            one.answered_at = now;
            let think = one.think;
            self.arm(client, think);
        }
    }

    pub(super) fn reset(&mut self, client: usize, by: &'static str) {
        let one = &mut self.clients[client];
        match one.stage {
            Stage::Over | Stage::Reset => return,
            Stage::Opening => {
                assert!(self.may_refuse_new, "{:?} is refused by {by}", one.conn);
            }
            Stage::Open { .. } => {
                let may = self.clients[client].given_up || !self.lives(client);
                assert!(may, "{client} {:?} is reset by {by}", self.clients[client].conn);
            }
        }
        self.clients[client].stage = Stage::Reset;
        *self.resets.entry(by).or_default() += 1;
    }

    /// Returns true if a client's connection is alive at its target, and for certain at no other.
    pub(super) fn lives(&self, client: usize) -> bool {
        let one = &self.clients[client];
        let Stage::Open { on, boot } = one.stage else { return false };
        if one.doubled {
            return false;
        }
        let at = &self.hosts[on];
        let state = at.sockets.get(&one.conn).map(|(state, _)| *state);
        at.alive && at.boot == boot && matches!(state, Some(SYN_RECV | ESTABLISHED))
    }

    /// A packet of a living connection reaches its target or nobody.
    pub(super) fn check_place(&self, at: At, client: usize, segment: Segment) {
        if let (Stage::Open { on, .. }, true) = (self.clients[client].stage, self.lives(client)) {
            let harmless = segment == Segment::Syn; // one that was repeated, and is late
            assert!(
                on == at || harmless,
                "{client} {:?} {segment:?} of {on} reaches {at}",
                self.clients[client].conn
            );
        }
    }

    /// Only what a dead target had may be refused. A target that a router has not reached for long
    /// is dead to it.
    pub(super) fn check_refusal(&mut self, by: At, conn: Conn) {
        let client = self.by_name[&conn];
        let Stage::Open { on, .. } = self.clients[client].stage else { return };
        let lately = |pair| self.mended.get(&pair).is_some_and(|at| self.now < *at + 5000);
        let pairs = [(by, on), (on, by)];
        // Whoever reaches nobody cannot tell who is dead.
        let others = (0..self.hosts.len()).filter(|other| *other != by && *other != on);
        let reaches = others.filter(|other| self.reach(by, *other)).count() > 0;
        let apart = pairs.iter().any(|pair| self.cut.contains(pair) || lately(*pair)) && reaches;
        assert!(apart || !self.lives(client), "{client} {conn:?} is refused, and lives");
        self.clients[client].given_up = true;
    }

    /// Returns how many wait for an answer of a target that has died, and do not know it.
    pub(super) fn hanging(&self) -> usize {
        let hangs = |(at, one): &(usize, &Client)| {
            let is_open = matches!(one.stage, Stage::Open { .. });
            is_open && one.waits && !one.doubled && !self.lives(*at)
        };
        self.clients.iter().enumerate().filter(hangs).count()
    }

    /// Every connection whose target lives is well: it is answered again.
    pub(super) fn check_all_well(&mut self) {
        let since = self.now;
        let waits = |one: &Client, now| one.waits && now >= since && one.answered_at < since;
        let unwell = |world: &World| {
            let clients = world.clients.iter().enumerate();
            let of = clients.filter(|(_, one)| matches!(one.stage, Stage::Open { .. }));
            of.filter(|(at, one)| world.lives(*at) && waits(one, world.now)).count()
        };
        self.run_until(10_000, "all answered", |world| unwell(world) == 0);
        let opening =
            |world: &World| world.clients.iter().filter(|one| one.stage == Stage::Opening).count();
        self.run_until(10_000, "all opened", |world| opening(world) == 0);
    }
}
