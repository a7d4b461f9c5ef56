//! The faults of the simulated world, and what must hold in spite of them.

use super::*;

impl World {
    pub(super) fn fault(&mut self) {
        let living: Vec<Who> =
            (0..self.instances.len()).filter(|&who| self.instances[who].lives()).collect();
        let supervisor = living.iter().copied().find(|&who| self.instances[who].desk().is_some());
        if self.faults == 0 {
            self.instances.iter_mut().for_each(|instance| instance.dies_in = None);
            self.put_right();
            // Somebody must be left.
            return self.at(Time::from_secs(1), What::Start(0));
        }
        self.faults -= 1;
        self.cut_watch();
        let gap = self.random.time(if self.family == Family::Hasty { 16 } else { 21 });
        self.at(gap, What::Fault);
        if living.is_empty() {
            return;
        }
        let anybody = living[self.random.below(living.len())];
        let one = supervisor.filter(|_| self.random.one_in(2)).unwrap_or(anybody);
        if self.watchful {
            match self.random.below(4) {
                0 => self.be_stuck(anybody),
                1 => {
                    let stall = self.random.time(22);
                    self.stall(anybody, self.now + stall);
                }
                _ => {}
            }
        }
        let fault = self.random.below(15);
        // A cut, a supervisor that steps down, or one that dies amid what it does.
        let hasty = [9, 9, 9, 11, 11, 4, fault];
        let fault = if self.family == Family::Hasty {
            hasty[self.random.below(hasty.len())]
        } else {
            fault
        };
        match fault {
            0..3 => self.kill(one),
            3 => {
                let share = 1 + self.random.below(3);
                for who in living {
                    if self.random.one_in(share) {
                        self.kill(who);
                    }
                }
            }
            4 | 5 => self.instances[one].dies_in = Some(self.random.below(8)),
            6..9 => {
                let name = self.random.below(self.names);
                self.start(name);
            }
            9 => {
                let open: Vec<LinkId> =
                    (0..self.links.len()).filter(|&id| self.links[id].open == [true; 2]).collect();
                if !open.is_empty() {
                    let link = open[self.random.below(open.len())];
                    tell!(self, "connection {link} is cut");
                    self.links[link].cut = true;
                    self.reset(link, Client);
                    self.reset(link, Server);
                }
            }
            10 => {
                let stall = self.random.time(22);
                tell!(self, "{} stalls for {stall:?}", self.name(one));
                self.stall(one, self.now + stall);
            }
            11 => supervisor.into_iter().for_each(|who| self.step_down(who)),
            12 => self.leave(one),
            13 => supervisor.into_iter().for_each(|who| self.crowd(who)),
            _ => {
                if let Doing::Following(link) = self.instances[anybody].doing {
                    self.seen.evicted += 1;
                    self.send(link, Client, wire::Question::Watch {});
                }
            }
        }
    }

    /// SIGKILL: its sockets close one after the other, in any order.
    pub(super) fn kill(&mut self, who: Who) {
        tell!(self, "{} is killed", self.name(who));
        self.end_supervising(who);
        (self.instances[who].doing, self.instances[who].died_at) = (Doing::Gone, self.now);
        self.forget_the_lost();
        let slowness = 5 * self.random.below(4);
        for link in 0..self.links.len() {
            for end in [Client, Server] {
                if self.links[link].owner[end as usize] == who
                    && self.links[link].open[end as usize]
                {
                    let delay = self.random.time(slowness);
                    self.at(delay, What::Close(link, end == Server));
                }
            }
        }
        let delay = self.random.time(slowness);
        self.at(delay, What::ClosePort(who));
    }

    /// Kills the supervisor of a machine so busy that the members are run one after the other: the
    /// members that know which survivors to expect come last.
    fn crowd(&mut self, supervisor: Who) {
        let gap = Time::from_micros(self.random.below(1 << 18) as u64);
        let mut members: Vec<Who> =
            self.instances[supervisor].desk().unwrap().welcomed.iter().copied().collect();
        members.sort_by_key(|&who| {
            self.instances[who].member.known().is_some_and(|known| known.roster.is_some())
        });
        self.kill(supervisor);
        tell!(self, "its members are held up, each {gap:?} longer than the one before");
        for (place, who) in members.into_iter().enumerate() {
            self.stall(who, self.now + gap * place as u32);
        }
    }

    pub(super) fn close_port(&mut self, who: Who) {
        if self.port.is_some_and(|(owner, _)| owner == who) {
            self.port = None;
        }
        // Whoever was still waiting to be taken is sent away.
        for link in 0..self.links.len() {
            if self.links[link].owner[1] == who && !self.links[link].hello_read {
                self.close(link, Server, true);
            }
        }
    }

    pub(super) fn step_down(&mut self, who: Who) {
        let term = self.keep_the_end(who, Departure::StepsDown);
        if self.farewell(who, Departure::StepsDown) {
            self.seen.stepped_down += 1;
            self.survivors.insert(who, self.now);
            self.instances[who].stepped_down = Some(self.now);
            self.on(who, Outcome::SteppedDown { term });
        }
    }

    pub(super) fn leave(&mut self, who: Who) {
        match &self.instances[who].doing {
            Doing::Following(link) => {
                self.send(*link, Client, Control::Leaving { reason: Departure::Leaves })
            }
            Doing::Supervising(_) => {
                self.keep_the_end(who, Departure::Leaves);
                if !self.farewell(who, Departure::Leaves) {
                    return;
                }
            }
            Doing::Deed(_) | Doing::Binding | Doing::Joining(_) | Doing::Gone => {}
        }
        self.on(who, Outcome::Halted);
    }

    /// An orderly end: everything is closed at once.
    pub(super) fn be_gone(&mut self, who: Who) {
        (self.instances[who].doing, self.instances[who].died_at) = (Doing::Gone, self.now);
        self.forget_the_lost();
        for link in 0..self.links.len() {
            if self.links[link].owner[0] == who {
                self.close(link, Client, false);
            }
        }
        self.close_port(who);
    }

    /// Always: who supervises owns the port and may, and who owns the port and listens supervises.
    pub(super) fn check(&self) {
        for (who, instance) in self.instances.iter().enumerate() {
            let supervises = matches!(instance.doing, Doing::Supervising(_));
            assert!(instance.may_supervise || !supervises, "{} may not", self.name(who));
            assert_eq!(
                supervises,
                instance.lives() && self.port == Some((who, true)),
                "{}",
                self.name(who)
            );
        }
    }

    /// In the end: one supervises, all others follow it, it knows exactly these, and nothing is
    /// left to do.
    pub(super) fn check_the_end(&mut self) {
        let Some((leader, true)) = self.port else { panic!("nobody supervises") };
        let Some(desk) = self.instances[leader].desk() else { panic!("its owner is dead") };
        let supervisor = &desk.supervisor;
        assert!(desk.settled && supervisor.settled() && supervisor.wake_at().is_none());
        let term = supervisor.term();
        let registered: BTreeSet<u64> =
            supervisor.registry().entries().map(|entry| entry.id).collect();
        let living = || self.instances.iter().filter(|instance| instance.lives());
        assert_eq!(registered, living().map(|instance| instance.entry.id).collect());

        let others: BTreeSet<u16> = living()
            .map(|one| one.entry.admin_port)
            .filter(|&admin_port| who_has(admin_port) != leader)
            .collect();
        let mut witnesses = 0;
        for &admin_port in &others {
            let Instance { doing, member, entry, .. } = &self.instances[who_has(admin_port)];
            let Doing::Following(link) = doing else { panic!("{} has no role", entry.name) };
            assert_eq!((self.links[*link].owner[1], self.links[*link].open), (leader, [true; 2]));
            let Subordinate { term: told, settled, roster, .. } =
                member.known().expect("was welcomed");
            assert_eq!(
                (*told, member.last_term(), *settled),
                (term, term, true),
                "what {} was told",
                entry.name
            );
            if let Some(roster) = roster {
                assert_eq!(*roster, Roster { admin_ports: others.clone(), unknown_since: None });
                witnesses += 1;
            }
        }
        assert_eq!(witnesses, others.len().min(WITNESSES));
        self.check_shared_at_the_end(leader);
        self.check_watch_at_the_end();
        self.seen.more_than_witnesses += u64::from(others.len() > WITNESSES);
    }
}
