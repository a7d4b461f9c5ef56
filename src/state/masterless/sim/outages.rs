//! Processes that cannot send: an interface that is down, a filter, a system that has no room now
//! and then.

use super::every_seed;
use super::scenes::{group, no_overlap, until_another};
use super::world::{FAST, H, MID, PROFILES, Pause, Who, World};
use crate::event::masterless::{EventKind, RoleCause};
use crate::state::masterless::{Input, Millis, Rules};
use crate::wire::heartbeat::Status;

impl World {
    /// Whether its system takes what it sends at `moment`.
    pub(super) fn takes(&mut self, who: Who, moment: Millis, until: Millis) -> bool {
        let flaky = self.processes[who].flaky;
        let in_time = self.processes[who].clock(self.now) <= until;
        let taken = in_time
            && !self.processes[who].refused
            && (flaky == 0 || self.random.next() % 100 >= flaky);
        if taken {
            let process = &mut self.processes[who];
            process.got_out = process.clock(moment);
        }
        taken
    }

    /// Who could not send for its lease knows it, and is no longer primary when it has looked at
    /// the time.
    pub(super) fn check_lease(&self, who: Who, moment: Millis, looks: bool) {
        let process = &self.processes[who];
        let silent = process.clock(moment).saturating_sub(process.got_out);
        let lease = process.rules.lease();
        assert!(
            silent <= lease || !process.machine.lease_ok(process.clock(moment)),
            "{who} may act and cannot speak"
        );
        let resigned = !looks || !process.is_primary();
        assert!(silent <= lease || resigned, "{who} is primary and has not spoken for {silent} ms");
    }
}

/// The causes of all changes of its status.
fn causes(world: &World, who: Who) -> Vec<RoleCause> {
    let news = world.processes[who].news.iter();
    news.filter_map(
        |(_, kind)| if let EventKind::Role { cause, .. } = kind { Some(*cause) } else { None },
    )
    .collect()
}

/// How often it was told that nothing can be sent, and that it can again.
fn told(world: &World, who: Who) -> (usize, usize) {
    let count = |is_it: fn(&EventKind) -> bool| {
        world.processes[who].news.iter().filter(|(_, kind)| is_it(kind)).count()
    };
    let cannot = |kind: &EventKind| matches!(kind, EventKind::CannotSend { .. });
    (count(cannot), count(|kind| matches!(kind, EventKind::SendsAgain { .. })))
}

/// The loopback interface goes down, or comes up: all processes are on one machine.
fn link(world: &mut World, up: bool) {
    for process in &mut world.processes {
        (process.refused, process.deaf) = (!up, !up);
    }
}

#[test]
fn who_cannot_send_is_not_let_in_and_is_told_so_once() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = World::new(seed, profile);
        for who in 0..1 + seed as usize / 3 % 3 {
            let rules = world.rules();
            world.start_refused(rules);
            world.processes[who].deaf = true;
        }
        world.run_for(30 * H);
        for who in world.living() {
            assert_eq!(world.processes[who].machine.status(), Status::Joining);
            assert_eq!(told(&world, who), (1, 0));
        }
        link(&mut world, true);
        let from = world.now;
        assert!(world.run_while(12 * H, |world| !world.has_one(1)), "no primary when all can send");
        assert!(
            world.now - from >= 3 * H,
            "primary before others had the time to say who they are"
        );
        world.run_for(10 * H);
        assert!(world.living().into_iter().all(|who| told(&world, who) == (1, 1)));
        assert_eq!(world.acquisitions.len(), 1);
        no_overlap(&mut world);
    });
}

#[test]
fn a_primary_that_cannot_send_resigns_when_its_lease_is_over_and_another_takes_over_then() {
    every_seed(120, |seed| {
        let profile = PROFILES[seed as usize % 3].slowest(H / 20);
        let mut world = group(seed, profile, 2 + seed as usize % 4);
        let old = world.primary();
        world.processes[old].refused = true;
        world.processes[old].deaf = seed / 3 % 2 == 0;
        let from = world.now;
        let took = until_another(&mut world, old, 20 * H);
        assert!(took <= profile.dead() + 3 * H / 10, "took {took} ms");
        assert!(!world.processes[old].is_primary());
        assert!(causes(&world, old).contains(&RoleCause::CannotSend), "{:?}", causes(&world, old));
        world.run_until(from + 30 * H);
        assert_eq!(told(&world, old), (1, 0));
        let successor = world.primary();
        world.processes[old].refused = false;
        world.processes[old].deaf = false;
        world.run_for(30 * H);
        assert_eq!(
            (world.primary(), world.acquisitions.len()),
            (successor, 2),
            "the role went to and fro"
        );
        no_overlap(&mut world);
    });
}

#[test]
fn with_the_link_of_all_down_nobody_leads_and_then_one_does() {
    every_seed(90, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = group(seed, profile, 1 + seed as usize / 3 % 4);
        link(&mut world, false);
        let lease = profile.rules().lease();
        world.run_for(lease + H / 4);
        assert!(world.primaries(1).is_empty(), "somebody leads and cannot send");
        let pause = world.random.time_in(20 * H);
        world.run_for(pause);
        assert!(world.primaries(1).is_empty());
        link(&mut world, true);
        assert!(
            world.run_while(profile.dead() + profile.window() + 3 * H, |world| !world.has_one(1))
        );
        world.run_for(20 * H);
        assert!(world.has_one(1));
        no_overlap(&mut world);
    });
}

#[test]
fn a_heartbeat_that_is_refused_now_and_then_costs_nobody_anything() {
    every_seed(60, |seed| {
        let mut world = group(seed, PROFILES[seed as usize % 3], 1 + seed as usize % 4);
        let primary = world.primary();
        world.processes.iter_mut().for_each(|process| process.flaky = 20);
        let rules = world.rules();
        let late = world.start(rules);
        world.processes[late].flaky = 20;
        world.run_for(100 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (primary, 1));
        assert_eq!(world.processes[late].machine.status(), Status::Standby);
        no_overlap(&mut world);
    });
}

#[test]
fn an_outage_that_is_shorter_than_the_lease_changes_nothing() {
    every_seed(60, |seed| {
        let mut world = group(seed, PROFILES[seed as usize % 3], 2 + seed as usize % 3);
        let primary = world.primary();
        world.processes[primary].refused = true;
        let time = world.random.next() % (3 * H / 2);
        world.run_for(time);
        world.processes[primary].refused = false;
        world.run_for(20 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (primary, 1));
        no_overlap(&mut world);
    });
}

/// Nobody could object to a claim that nobody has heard.
#[test]
fn a_claim_that_is_not_heard_does_not_count() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = group(seed, profile, 3);
        let old = world.primary();
        world.kill(old);
        let claims = |world: &World, who: Who| {
            world.processes[who].machine.status() == Status::ToBecomePrimary
        };
        assert!(
            world.run_while(20 * H, |world| !world
                .living()
                .into_iter()
                .any(|who| claims(world, who)))
        );
        let next = world.living().into_iter().find(|who| claims(&world, *who)).expect("it claims");
        world.processes[next].refused = true;
        let took = until_another(&mut world, old, 20 * H);
        let heard_claim = world.primary() == next;
        assert!(!heard_claim, "its claim was not heard again");
        assert!(took <= profile.dead() + 5 * H, "took {took} ms");
        assert!(!claims(&world, next), "{:?}", causes(&world, next));
        world.processes[next].refused = false;
        world.run_for(20 * H);
        assert!(world.has_one(1));
        no_overlap(&mut world);
    });
}

#[test]
fn who_leaves_and_cannot_send_is_gone_in_time() {
    every_seed(30, |seed| {
        let mut world = group(seed, MID, 1 + seed as usize % 3);
        let primary = world.primary();
        world.processes[primary].refused = true;
        let pause = world.random.next() % (6 * H);
        world.run_for(pause);
        world.step(primary, Input::Leave);
        world.run_for(7 * H);
        assert!(!world.processes[primary].alive, "it has not left");
    });
}

/// While nobody has heard that it is primary, another may claim the same, and does not hear an
/// objection either.
#[test]
fn a_new_primary_that_cannot_say_so_yields_before_another_follows() {
    let cut_short = std::sync::atomic::AtomicUsize::new(0);
    every_seed(240, |seed| {
        let mut world = group(seed, PROFILES[seed as usize % 3], 4);
        let old = world.primary();
        world.kill(old);
        let claims = |world: &World, who: Who| {
            world.processes[who].machine.status() == Status::ToBecomePrimary
        };
        assert!(
            world.run_while(20 * H, |world| !world
                .living()
                .into_iter()
                .any(|who| claims(world, who)))
        );
        let next = world.living().into_iter().find(|who| claims(&world, *who)).expect("it claims");
        // Between its last word and its next one, if chance wants it so.
        let pause = world.random.next() % (world.profile.dead() - 3 * H);
        world.run_for(pause);
        // Its program takes all the time there is to hand over.
        world.processes[next].drain = None;
        world.processes[next].refused = true;
        if world.run_while(H / 8, |world| !world.processes[next].is_primary()) {
            cut_short.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let other = world.living().into_iter().find(|who| *who != next).expect("two others");
        world.step(other, Input::Rank(10));
        world.run_for(20 * H);
        assert!(!world.processes[next].is_primary());
        no_overlap(&mut world);
    });
    assert!(cut_short.into_inner() > 0, "none has become primary without saying so");
}

/// Its lease is over when it goes on: what it was about to say has become untrue.
#[test]
fn a_primary_that_is_stopped_with_its_first_words_after_an_outage_does_not_say_them() {
    every_seed(240, |seed| {
        let mut world = group(seed, PROFILES[seed as usize % 3], 3);
        let old = world.primary();
        world.processes[old].refused = true;
        let time = H + world.random.next() % H;
        world.run_for(time);
        world.pause(old, Pause::Visible, 15 * H / 8);
        world.processes[old].refused = false;
        world.run_for(20 * H);
        assert!(world.has_one(1));
        no_overlap(&mut world);
    });
}

#[test]
fn a_claim_counts_from_when_it_is_heard_and_not_from_when_it_could_last_not_be_said() {
    every_seed(400, |seed| {
        let mut world = World::new(seed, FAST);
        for _ in 0..3 {
            world.start(Rules { rank: 255, ..world.rules() });
        }
        world.run_for(9 * H);
        world.processes[0].refused = true;
        world.step(0, Input::Rank(10));
        world.run_for(H / 8);
        world.step(1, Input::Rank(20));
        let time = world.random.next() % FAST.window();
        world.run_for(time);
        world.processes[0].refused = false;
        world.processes[1].drain = None;
        world.run_for(20 * H);
        no_overlap(&mut world);
    });
}
