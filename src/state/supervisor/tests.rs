//! The supervisor's decisions, one by one.

mod entries;
mod witnesses;

use super::super::registry::test_entry;
use super::witnesses::no_witness;
use super::*;
use super::{ServerAction as Action, ServerInput as Input};
use crate::config::{FIRST_PROBE, MAX_UNKNOWN, NEXT_PROBE, PROBES};
use crate::wire::{Handshake, Joining, News};

const SETTLE: Time = Time::from_millis(500);
/// Just before the settle time is over.
const LATE: Time = Time::from_millis(499);

pub(super) struct Desk {
    pub(super) supervisor: Supervisor,
    actions: Vec<Action>,
}

impl Desk {
    /// The supervisor `s` of term 5, with admin endpoint 1000.
    pub(super) fn new(before: Before) -> Self {
        Desk::at(Time::ZERO, before)
    }

    /// The same, elected at this time.
    fn at(now: Time, before: Before) -> Self {
        Desk::of(Desk::elected(before), now)
    }

    pub(super) fn of(elected: Elected, now: Time) -> Self {
        let mut actions = Vec::new();
        let supervisor = Supervisor::new(elected, now, &mut actions);
        Desk { supervisor, actions }
    }

    pub(super) fn elected(before: Before) -> Elected {
        Elected {
            me: test_entry("s", 1, 1000),
            term: 5,
            registry_port: 999,
            before,
            predecessor: None,
            claims: Claims::default(),
            settings: Settings::default(),
            settle_time: SETTLE,
            max_members: 30,
        }
    }

    pub(super) fn on(&mut self, now: Time, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.supervisor.on(now, input, &mut actions);
        self.supervisor.check();
        actions
    }

    /// `name` says hello on connection `number`, with admin endpoint and identity of the same
    /// number.
    fn hello(
        &mut self,
        name: &str,
        number: u16,
        last_term: u64,
        roster: Option<&[u16]>,
    ) -> Vec<Action> {
        let roster = roster.map(|admin_ports| these(admin_ports, None));
        let entry = test_entry(name, number.into(), number);
        let hello = Hello { last_term, roster, ..greeting(entry) };
        self.on(Time::ZERO, Input::Hello { conn: number.into(), hello })
    }

    /// One that was last with the supervisor of `last_term` comes at this time, with all of this
    /// number.
    pub(super) fn comes(
        &mut self,
        at: Time,
        number: u16,
        last_term: u64,
        roster: Option<Roster>,
    ) -> Vec<Action> {
        let entry = test_entry(&format!("m{number}"), number.into(), number);
        self.on(
            at,
            Input::Hello {
                conn: number.into(),
                hello: Hello { last_term, roster, ..greeting(entry) },
            },
        )
    }

    /// True if the group is settled by this time, but not a moment before.
    fn is_settled_at(&mut self, at: Time) -> bool {
        self.on(at - Time::from_nanos(1), Input::Woken);
        let before = self.supervisor.settled();
        self.on(at, Input::Woken);
        !before && self.supervisor.settled()
    }

    fn names(&self) -> Vec<&str> {
        self.supervisor.registry().entries().map(|entry| entry.name.as_str()).collect()
    }
}

pub(super) fn these(admin_ports: &[u16], unknown_since: Option<Time>) -> Roster {
    Roster { admin_ports: admin_ports.iter().copied().collect(), unknown_since }
}

/// The hello of a newcomer that holds nothing.
pub(super) fn greeting(entry: Entry) -> Hello {
    Hello { entry, last_term: 0, roster: None, claims: Claims::default(), settings: vec![] }
}

pub(super) fn refusal(actions: &[Action]) -> Option<Refusal> {
    match actions {
        [
            Action::Send { message: Message::Handshake(Handshake::Rejected { rejection }), .. },
            Action::Close { .. },
        ] => Some(rejection.refusal),
        _ => None,
    }
}

#[test]
fn the_first_supervisor_of_a_new_group_is_settled_at_once() {
    let desk = Desk::new(Before::Nobody);
    assert!(desk.supervisor.settled());
    assert!(desk.actions.contains(&Action::Settled { term: 5, members: 1 }));
    assert_eq!(desk.supervisor.wake_at(), None);
}

#[test]
fn the_group_is_settled_when_the_last_known_survivor_is_back() {
    let mut desk = Desk::new(Before::These(these(&[1000, 1, 2], None)));
    assert!(!desk.hello("a", 1, 4, None).contains(&Action::Settled { term: 5, members: 2 }));
    assert!(desk.hello("b", 2, 4, None).contains(&Action::Settled { term: 5, members: 3 }));
}

#[test]
fn the_survivor_that_makes_the_group_settled_hears_of_it() {
    let mut desk = Desk::new(Before::These(these(&[1], None)));
    let actions = desk.hello("a", 1, 4, None);
    let hears = |action: &Action| {
        matches!(
            action,
            Action::Send {
                conn: 1,
                message: Message::Joining(Joining::Welcome { settled: true, .. })
            }
        )
    };
    assert!(actions.iter().any(hears), "{actions:?}");
    let (mut cursor, mut news) = (desk.supervisor.member_cursor(), Vec::new());
    desk.supervisor.news(&mut cursor, &mut news);
    assert_eq!(news, [], "it has been told all");
}

#[test]
fn a_known_member_that_is_proven_dead_is_not_waited_for() {
    let mut desk = Desk::new(Before::These(these(&[1, 2], None)));
    desk.hello("a", 1, 4, None);
    assert_eq!(desk.supervisor.wake_at(), Some(FIRST_PROBE));
    assert_eq!(desk.on(FIRST_PROBE, Input::Woken), [Action::Probe { admin_port: 2 }]);
    assert!(
        desk.on(FIRST_PROBE, Input::Dead { admin_port: 2 })
            .contains(&Action::Settled { term: 5, members: 2 })
    );
    assert_eq!(desk.supervisor.wake_at(), None, "nothing runs while nothing happens");
}

/// Goal: those who are about to come are not kept busy with questions; the dead are found all the
/// same.
#[test]
fn while_survivors_keep_coming_nobody_is_asked_whether_it_lives_until_half_of_the_settle_time() {
    let mut desk = Desk::new(Before::These(these(&[1, 2, 3, 4], None)));
    let mut come = |number: u16, at: Time| {
        desk.comes(at, number, 4, None);
        desk.supervisor.wake_at()
    };
    let millis = Time::from_millis;
    assert_eq!(come(1, millis(15)), Some(millis(15) + FIRST_PROBE));
    assert_eq!(
        come(9, millis(30)),
        Some(millis(15) + FIRST_PROBE),
        "a newcomer says nothing of the others"
    );
    assert_eq!(come(2, millis(34)), Some(millis(34) + FIRST_PROBE));
    assert_eq!(come(3, SETTLE / 2 - millis(1)), Some(SETTLE / 2));
    assert_eq!(desk.on(SETTLE / 2, Input::Woken), [Action::Probe { admin_port: 4 }]);
}

#[test]
fn a_known_member_that_is_stalled_is_waited_for_until_the_settle_time_is_over() {
    let mut desk = Desk::new(Before::These(these(&[1], None)));
    desk.on(FIRST_PROBE, Input::Woken);
    desk.on(SETTLE - Time::from_millis(1), Input::Woken);
    assert!(!desk.supervisor.settled());
    desk.on(SETTLE, Input::Woken);
    assert!(desk.supervisor.settled());
}

/// Goal: a group whose survivors need longer than the settle time in all is not cut short.
#[test]
fn each_expected_survivor_that_comes_begins_the_settle_time_anew() {
    let mut desk = Desk::new(Before::These(these(&[1, 2, 3], None)));
    desk.comes(LATE, 1, 4, None);
    desk.on(SETTLE, Input::Woken);
    assert!(!desk.supervisor.settled());
    desk.comes(LATE * 2, 2, 4, None);
    desk.comes(LATE * 3, 9, 4, None);
    assert!(desk.is_settled_at(LATE * 2 + SETTLE), "it is nobody who was waited for");
}

/// Goal: of a crowd that nobody knows, none is given up while it streams in, however late those
/// come who know all.
#[test]
fn who_knows_nobody_waits_on_while_survivors_come_and_learns_from_a_late_witness() {
    let mut desk = Desk::new(Before::Unknown);
    for number in 1..=9 {
        desk.comes(LATE * u32::from(number), number, 4, None);
        desk.on(LATE * u32::from(number) + LATE, Input::Woken);
        assert!(!desk.supervisor.settled());
    }
    desk.comes(LATE * 10, 10, 4, Some(these(&(1..=12).collect::<Vec<_>>(), None)));
    desk.comes(LATE * 11, 11, 4, None);
    assert!(!desk.supervisor.settled());
    assert!(desk.comes(LATE * 12, 12, 4, None).contains(&Action::Settled { term: 5, members: 13 }));
}

#[test]
fn the_last_survivor_of_a_crowd_that_nobody_knows_is_waited_for_as_long_as_the_first() {
    let mut desk = Desk::new(Before::Unknown);
    // It has been away for some terms: others may have been, too.
    desk.comes(LATE, 1, 2, None);
    assert!(desk.is_settled_at(LATE + SETTLE));
}

#[test]
fn who_is_no_survivor_prolongs_nothing() {
    let mut desk = Desk::new(Before::Unknown);
    desk.comes(LATE, 1, 0, None);
    desk.comes(LATE, 2, 5, None);
    assert!(desk.is_settled_at(SETTLE), "neither a newcomer nor one that was cut off and is back");
}

#[test]
fn survivors_of_whom_nobody_knows_are_waited_for_no_longer_than_for_so_many_settle_times() {
    let mut desk = Desk::new(Before::Unknown);
    let end = MAX_UNKNOWN * SETTLE;
    for number in 1..=MAX_UNKNOWN {
        desk.comes(LATE * number, number as u16, 4, None);
    }
    assert_eq!(desk.supervisor.wake_at(), Some(end));
    assert!(desk.is_settled_at(end));

    // Whoever is expected is waited for all the same.
    let mut desk = Desk::at(end - SETTLE / 2, Before::These(these(&[1], Some(Time::ZERO))));
    let known = Message::from(Control::Roster {
        anew: false,
        unknown_since_ns: None,
        added: vec![],
        removed: vec![],
    });
    desk.comes(end - SETTLE / 2, 2, 4, None);
    assert!(desk.on(end, Input::Woken).contains(&Action::Send { conn: 2, message: known }));
    assert!(desk.is_settled_at(end + SETTLE / 2));
}

/// Goal: a group whose supervisors die before they are settled is settled at last, though survivors
/// come to each of them.
#[test]
fn supervisors_that_die_young_inherit_since_when_nobody_knows() {
    let (mut now, mut before) = (Time::ZERO, Before::Unknown);
    let end = MAX_UNKNOWN * SETTLE;
    while now + LATE < end {
        let mut desk = Desk::at(now, before);
        now += LATE;
        let mut witness = Subordinate::welcomed(desk.supervisor.welcome().into()).unwrap();
        desk.comes(now, 2, 3, None);
        for action in desk.comes(now, 1, 4, None) {
            if let Action::Send { conn: 1, message: Message::Control(roster) } = action {
                let Control::Roster { anew, unknown_since_ns, added, removed } = roster else {
                    panic!("{roster:?} from a supervisor that stays");
                };
                witness.on_roster(anew, unknown_since_ns, added, &removed);
            }
        }
        assert!(!desk.supervisor.settled());
        before = Before::of(Some(witness), 6, false);
    }
    assert_eq!(before, Before::These(these(&[1, 2], Some(Time::ZERO))));
    let mut desk = Desk::at(now, before.clone());
    for number in [1, 2] {
        desk.comes(now, number, 4, None);
    }
    assert!(desk.is_settled_at(end));

    let mut desk = Desk::at(end, before);
    desk.comes(end, 1, 4, None);
    assert!(!desk.supervisor.settled());
    desk.comes(end, 2, 4, None);
    assert!(desk.supervisor.settled(), "by then these are all");
}

/// Goal: thousands who are on their way are not all asked at once whether they live, and thousands
/// of dead are found quickly.
#[test]
fn a_few_are_asked_after_at_a_time_and_more_as_soon_as_one_is_dead() {
    let number = 2 * PROBES as u16 + 5;
    let mut desk = Desk::new(Before::These(these(&(1..=number).collect::<Vec<_>>(), None)));
    let asked = |desk: &mut Desk, at: Time| -> Vec<u16> {
        let probe = |action: &Action| {
            if let Action::Probe { admin_port } = action { Some(*admin_port) } else { None }
        };
        desk.on(at, Input::Woken).iter().filter_map(probe).collect()
    };
    let first: Vec<u16> = (1..=PROBES as u16).collect();
    assert_eq!(asked(&mut desk, FIRST_PROBE), first);
    assert_eq!(desk.supervisor.wake_at(), Some(FIRST_PROBE + NEXT_PROBE), "all of them live");
    let second = asked(&mut desk, FIRST_PROBE + NEXT_PROBE);
    assert_eq!(second, (PROBES as u16 + 1..=2 * PROBES as u16).collect::<Vec<_>>());
    let now = FIRST_PROBE + NEXT_PROBE;
    desk.on(now, Input::Dead { admin_port: second[0] });
    assert_eq!(desk.supervisor.wake_at(), Some(now), "others may be dead, too");
    let third = asked(&mut desk, now);
    assert_eq!(third.len(), PROBES);
    assert_eq!(third[..6], [number - 4, number - 3, number - 2, number - 1, number, 1], "in turn");
}

#[test]
fn a_newcomer_that_wins_learns_from_a_witness_whom_to_expect() {
    let mut desk = Desk::new(Before::Unknown);
    desk.hello("a", 1, 4, None);
    assert_eq!(desk.supervisor.wake_at(), Some(SETTLE), "there is nobody to ask for yet");
    let actions = desk.hello("b", 2, 4, Some(&[1, 2, 3]));
    let complete = Message::from(Control::Roster {
        anew: true,
        unknown_since_ns: None,
        added: vec![1, 2, 3],
        removed: vec![],
    });
    assert_eq!(
        actions[0],
        Action::Send { conn: 1, message: complete },
        "with the one it learned it from"
    );
    assert!(!desk.supervisor.settled());
    desk.hello("c", 3, 4, Some(&[1, 2, 3]));
    assert!(desk.supervisor.settled());
}

#[test]
fn of_two_who_do_not_know_all_the_one_before_knows_more() {
    let ours = Time::from_secs(1);
    let inherited = || Desk::at(ours * 2, Before::These(these(&[1], Some(ours))));
    let mut desk = inherited();
    desk.comes(ours * 2, 1, 4, Some(these(&[1], None)));
    assert!(desk.supervisor.settled(), "its roster knew all");
    let mut desk = inherited();
    desk.comes(ours * 2 + LATE, 1, 4, Some(these(&[1, 2], Some(ours))));
    assert!(desk.is_settled_at(ours * 2 + LATE + SETTLE), "it knows no more than we do");
    let mut desk = inherited();
    let since = ours - Time::from_nanos(1);
    let actions = desk.comes(ours * 2, 1, 4, Some(these(&[1, 2], Some(since))));
    let known = |action: &Action| match action {
        Action::Send {
            message: Message::Control(Control::Roster { unknown_since_ns, added, .. }),
            ..
        } => *unknown_since_ns == Some(999_999_999) && *added == [1, 2],
        _ => false,
    };
    assert!(actions.iter().any(known), "{actions:?}");
    desk.comes(ours * 2, 2, 4, None);
    assert!(desk.is_settled_at(ours * 2 + SETTLE), "nor does that one know all");
    let mut desk = Desk::at(MAX_UNKNOWN * SETTLE, Before::Unknown);
    desk.comes(MAX_UNKNOWN * SETTLE, 1, 4, Some(these(&[1], Some(Time::ZERO))));
    assert!(desk.supervisor.settled(), "by now its roster counts as complete");
}

/// Goal: one that errs or means harm does not make others wait for ever.
#[test]
fn what_is_unknown_only_from_a_later_moment_on_is_unknown_from_now_on() {
    let mut desk = Desk::at(SETTLE, Before::These(these(&[], Some(SETTLE * 1000))));
    let actions = desk.comes(SETTLE, 1, 4, Some(these(&[1], Some(SETTLE * 900))));
    let unknown = |action: &Action| {
        matches!(
            action,
            Action::Send {
                message: Message::Control(Control::Roster {
                    unknown_since_ns: Some(500_000_000),
                    ..
                }),
                ..
            }
        )
    };
    assert!(actions.iter().any(unknown), "{actions:?}");
    for number in 2..=MAX_UNKNOWN + 1 {
        desk.comes(LATE * number, number as u16, 4, None);
    }
    assert!(desk.is_settled_at(SETTLE + MAX_UNKNOWN * SETTLE));
}

#[test]
fn a_roster_of_an_older_term_proves_nothing() {
    let mut desk = Desk::new(Before::Unknown);
    desk.hello("a", 1, 3, Some(&[1]));
    assert!(!desk.supervisor.settled());
}

#[test]
fn a_survivor_of_a_higher_term_raises_ours_above_it() {
    let mut desk = Desk::new(Before::Nobody);
    let actions = desk.hello("a", 1, 9, None);
    assert_eq!(actions[0], Action::TermRaised { term: 10 });
    assert_eq!(desk.supervisor.term(), 10);
}

#[test]
fn a_survivor_that_claims_to_come_from_the_end_of_all_terms_overflows_nothing() {
    let mut desk = Desk::new(Before::Unknown);
    desk.hello("a", 1, u64::MAX, Some(&[1, 2]));
    desk.hello("b", 2, u64::MAX, Some(&[1, 2]));
    assert_eq!((desk.supervisor.term(), desk.supervisor.settled()), (u64::MAX, false));
}

#[test]
fn a_watcher_that_is_too_far_behind_gets_everything_anew() {
    let mut desk = Desk::new(Before::Nobody);
    let mut cursor = desk.supervisor.watcher_cursor();
    for round in 0..crate::config::CHANGE_LOG as u16 {
        desk.hello("a", round + 1, 0, None);
        desk.on(Time::ZERO, Input::Ended { conn: u64::from(round) + 1 });
    }
    let mut news = Vec::new();
    desk.supervisor.news(&mut cursor, &mut news);
    assert!(matches!(news[..], [News::Listing { count: 1, .. }, News::Member { .. }]));
}
