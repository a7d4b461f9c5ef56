//! What an instance's election makes it do in the simulated world, as `net/member/role` does it.

use super::*;

impl World {
    pub(super) fn start(&mut self, name: usize) {
        let may_supervise = name % self.shy == 0;
        let name = format!("m{name}");
        if !self.namesakes && self.has_living(&name) {
            return;
        }
        let who = self.instances.len();
        let seed = self.random.next();
        let entry = test_entry(&name, who as u64 + 1, admin_of(who));
        let election = Election::new(seed, self.now + JOIN_TIMEOUT, may_supervise);
        self.instances.push(Instance {
            member: Member::new(
                entry.clone(),
                election,
                sharing::declared(who),
                SETTLE,
                self.lossy,
            ),
            entry,
            may_supervise,
            doing: Doing::Deed(Deed::Stop),
            turn: 0,
            stalled_since: Time::ZERO,
            stalled_until: Time::ZERO,
            stuck_since: None,
            stuck_until: Time::ZERO,
            stepped_down: None,
            dies_in: None,
            died_at: Time::ZERO,
            was_cut: false,
            registered: false,
            was_gone: false,
            cut_while_joining: false,
            given_back: BTreeSet::new(),
            last_delivered: None,
        });
        tell!(self, "{} starts, admin {}", self.name(who), admin_of(who));
        self.on(who, Outcome::Started);
    }

    /// Returns true if an instance of this name lives.
    pub(super) fn has_living(&self, name: &str) -> bool {
        self.instances.iter().any(|one| one.lives() && one.entry.name == name)
    }

    pub(super) fn name(&self, who: Who) -> String {
        format!("{}#{who}", self.instances[who].entry.name)
    }

    /// The last deed of `who` came to `outcome`.
    pub(super) fn on(&mut self, who: Who, outcome: Outcome) {
        let instance = &mut self.instances[who];
        let (report, deed) = instance.member.on(self.now, outcome.clone());
        instance.turn += 1;
        self.seen.leaderless +=
            u64::from(report == Some(Report::Obstructed(Obstacle::NoSupervisor)));
        tell!(self, "{} {outcome:?} -> {deed:?} {report:?}", self.name(who));
        let instance = &mut self.instances[who];
        let step = What::Step(who, instance.turn, Step::CarryOut);
        if !matches!(deed, Deed::Keep { .. } | Deed::Supervise { .. })
            && matches!(instance.doing, Doing::Binding)
        {
            self.close_port(who);
        }
        match &deed {
            Deed::Keep { term } => return self.keep(who, *term),
            Deed::Supervise { term, .. } => return self.supervise(who, *term),
            Deed::Follow => {
                return assert!(matches!(self.instances[who].doing, Doing::Following(..)));
            }
            Deed::Wait(time) => {
                let time = *time;
                self.at(time, step);
            }
            Deed::LookAfter { admin_port } => {
                let (look, turn) =
                    (Step::Look { admin_port: *admin_port }, self.instances[who].turn);
                self.soon(What::Step(who, turn, look));
            }
            Deed::TryPort | Deed::Connect => self.soon(step),
            Deed::Fail(obstacle) => {
                let expected = match obstacle {
                    Obstacle::Busy | Obstacle::Silent => true,
                    Obstacle::NoSupervisor => !self.instances[who].may_supervise,
                    Obstacle::Unkept(_) => !self.store.is_well(),
                    Obstacle::NameTaken(_) => {
                        self.seen.name_taken += 1;
                        self.namesakes
                    }
                    Obstacle::GroupFull(_) => {
                        self.seen.full += 1;
                        self.max_members < UNLIMITED
                    }
                    _ => false,
                };
                assert!(expected, "{} failed: {obstacle:?}", self.name(who));
                return self.be_gone(who);
            }
            Deed::Stop => return self.be_gone(who),
        }
        self.instances[who].doing = Doing::Deed(deed);
    }

    pub(super) fn carry_out(&mut self, who: Who) {
        let Doing::Deed(deed) = &self.instances[who].doing else { panic!("no deed to carry out") };
        match (deed, self.port) {
            (Deed::TryPort, None) => {
                self.port = Some((who, false));
                self.instances[who].doing = Doing::Binding;
                let turn = self.instances[who].turn;
                self.soon(What::Step(who, turn, Step::Listen));
            }
            (Deed::TryPort, Some(_)) => self.on(who, Outcome::PortTaken),
            (Deed::Connect, None | Some((_, false))) => {
                self.seen.nobody_there += 1;
                self.on(who, Outcome::NobodyThere);
            }
            (Deed::Connect, Some((server, true))) => self.connect(who, server),
            (Deed::Wait(_), _) => self.on(who, Outcome::Waited),
            (
                Deed::Keep { .. }
                | Deed::LookAfter { .. }
                | Deed::Supervise { .. }
                | Deed::Follow
                | Deed::Fail(_)
                | Deed::Stop,
                _,
            ) => {
                panic!("not carried out in a step")
            }
        }
    }

    pub(super) fn connect(&mut self, who: Who, server: Who) {
        let link = self.links.len();
        let delay = if self.random.one_in(8) { 15 } else { 10 };
        self.links.push(Link {
            owner: [who, server],
            open: [true; 2],
            reset: [false; 2],
            inbox: [VecDeque::new(), VecDeque::new()],
            reading: [false; 2],
            delay,
            turn: self.instances[server].turn,
            hello_read: false,
            cut: false,
            welcomed: false,
            cursor: None,
            meant: 0,
            accounted: 0,
            health: [None, None],
            watched_since: [Time::ZERO; 2],
            well_at: [Time::ZERO; 2],
        });
        let instance = &mut self.instances[who];
        instance.doing = Doing::Joining(link);
        let step = What::Step(who, instance.turn, Step::GiveUpJoining);
        let hello = instance.member.hello();
        self.at(HANDSHAKE_TIMEOUT, step);
        self.send(link, Client, hello.into_message());
    }

    /// Bound and listening: the port is this instance's, and with it the group.
    pub(super) fn claim(&mut self, who: Who) {
        self.port = Some((who, true));
        let last = self.store.read();
        self.on(who, Outcome::PortClaimed { last });
    }

    /// Its term is kept: it begins.
    pub(super) fn supervise(&mut self, who: Who, term: u64) {
        self.note_term(term);
        let instance = &mut self.instances[who];
        if let Some(time) = instance.stepped_down.take() {
            assert!(self.now >= time + ASIDE, "stepped down and did not leave the port to others");
        }
        let elected = instance.member.elected(term, 1, self.max_members);
        let before = &elected.before;
        self.seen.found_nobody += u64::from(*before == Before::Nobody && term > 1);
        let inherited = matches!(before, Before::These(Roster { unknown_since: Some(_), .. }));
        self.seen.inherited_the_unknown += u64::from(inherited);
        tell!(
            self,
            "{} claims the port, before: {before:?}, survivors {:?}",
            self.name(who),
            self.survivors
        );
        let knew = match before {
            Before::These(Roster { admin_ports, unknown_since: None }) => {
                Some(admin_ports - &[elected.me.admin_port].into())
            }
            Before::These(_) | Before::Unknown | Before::Nobody => None,
        };
        let mut actions = Vec::new();
        let supervisor = Supervisor::new(elected, self.now, &mut actions);
        if self.family == Family::Hasty && self.faults > 0 && self.random.one_in(3) {
            self.instances[who].dies_in = Some(self.random.below(12));
        }
        self.survivors.remove(&who);
        self.supervisorships += 1;
        self.instances[who].doing = Doing::Supervising(Box::new(Desk {
            supervisor,
            claimed_at: self.now,
            settled: false,
            knew,
            welcomed: BTreeSet::new(),
            came_back_at: self.now,
            came_at: self.now,
            announcing: false,
            wake_at: None,
            number: self.supervisorships,
            published: 0,
            own: VecDeque::new(),
            collecting: false,
            pending: Vec::new(),
        }));
        let there = self.registered(who);
        self.note_there(&there);
        self.carry_through(who, actions);
        self.collect(who);
        let turn = self.instances[who].turn;
        let Some((term, settled)) = self.instances[who]
            .desk()
            .map(|desk| (desk.supervisor.term(), desk.supervisor.settled()))
        else {
            return;
        };
        let again = self.instances[who].member.opened(self.now, term, settled);
        self.check_own(who);
        for message in again {
            if self.instances[who].turn == turn && self.instances[who].lives() {
                self.say_to_itself(who, message);
            }
        }
    }
}
