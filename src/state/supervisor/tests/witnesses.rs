//! Who is told whom the group has.

use super::*;
use crate::wire::Joining;

#[test]
fn the_witnesses_are_told_of_a_member_before_it_is_welcomed() {
    let mut desk = Desk::new(Before::Nobody);
    desk.hello("a", 1, 0, None);
    let actions = desk.hello("b", 2, 0, None);
    let told = Message::from(Control::Roster {
        anew: false,
        unknown_since_ns: None,
        added: vec![2],
        removed: vec![],
    });
    assert_eq!(actions[0], Action::Send { conn: 1, message: told });
    assert!(matches!(
        &actions[1],
        Action::Send { conn: 2, message: Message::Joining(Joining::Welcome { members: 3, .. }) }
    ));
    let own = Message::from(Control::Roster {
        anew: true,
        unknown_since_ns: None,
        added: vec![1, 2],
        removed: vec![],
    });
    assert_eq!(actions[2], Action::Send { conn: 2, message: own });
}

#[test]
fn when_a_witness_goes_another_member_takes_its_place() {
    let mut desk = Desk::new(Before::Nobody);
    let last = WITNESSES as u16 + 1;
    for number in 1..=last {
        desk.hello(&format!("m{number}"), number, 0, None);
    }
    let actions = desk.on(Time::ZERO, Input::Ended { conn: 3 });
    let anew = |action: &&Action| match action {
        Action::Send { conn, message: Message::Control(Control::Roster { anew, .. }) } => {
            *anew && *conn == u64::from(last)
        }
        _ => false,
    };
    assert_eq!(actions.iter().filter(anew).count(), 1);
    assert_eq!(
        actions.iter().filter(|action| matches!(action, Action::Send { .. })).count(),
        WITNESSES
    );
}

fn large(before: Before) -> Desk {
    let mut actions = Vec::new();
    let elected = Elected { max_members: 3000, ..Desk::elected(before) };
    Desk { supervisor: Supervisor::new(elected, Time::ZERO, &mut actions), actions }
}

/// Goal: those that learn first of a supervisor's death, which are those that came last, know whom
/// to expect; and what makes it so is no message to all for each who comes.
#[test]
fn as_a_group_grows_witnesses_that_came_early_make_place_for_late_ones() {
    let mut desk = large(Before::Nobody);
    let (mut whole, mut over) = (0, 0);
    for number in 1..=500 {
        for action in desk.hello(&format!("m{number}"), number, 0, None) {
            match action {
                Action::Send { message, .. } if message == no_witness() => over += 1,
                Action::Send {
                    message: Message::Control(Control::Roster { anew: true, .. }),
                    ..
                } => whole += 1,
                _ => {}
            }
        }
        desk.supervisor.check();
    }
    assert_eq!(whole, WITNESSES + over);
    assert!(over > WITNESSES && over < 250, "{over}");
    assert!(
        desk.supervisor.witnesses.iter().all(|&witness| witness > 350),
        "{:?}",
        desk.supervisor.witnesses
    );
}

#[test]
fn once_a_large_group_is_settled_its_witnesses_are_those_that_came_last() {
    let all: Vec<u16> = (1..=40).collect();
    let mut desk = large(Before::These(these(&all, None)));
    let mut actions = Vec::new();
    for number in all {
        actions = desk.hello(&format!("m{number}"), number, 4, None);
    }
    assert!(desk.supervisor.settled());
    desk.supervisor.check();
    assert_eq!(desk.supervisor.witnesses, (41 - WITNESSES as ConnId..=40).collect::<Vec<_>>());
    // The last of all is welcomed before it is told of all others, and each is told before another
    // is dismissed.
    let at = |wanted: &dyn Fn(&Message) -> bool| {
        let wanted =
            |action: &Action| matches!(action, Action::Send { message, .. } if wanted(message));
        actions.iter().position(wanted).expect("such a message")
    };
    let whole = at(&|message| {
        matches!(
            message,
            Message::Control(Control::Roster { anew: true, unknown_since_ns: None, .. })
        )
    });
    assert!(at(&|message| matches!(message, Message::Joining(Joining::Welcome { .. }))) < whole);
    assert!(whole < at(&|message| *message == no_witness()));
    assert_eq!(desk.supervisor.whole_roster(1), no_witness());
}

/// Goal: survivors of a crowd know that they are one, though most joined when it was small; and are
/// not told at each join.
#[test]
fn all_are_told_how_many_they_are_whenever_there_are_twice_as_many() {
    let mut desk = large(Before::Nobody);
    let mut told = Vec::new();
    for number in 1..2500 {
        let before = desk.supervisor.state_version();
        desk.hello(&format!("m{number}"), number, 0, None);
        if desk.supervisor.state_version() != before {
            told.push(desk.supervisor.registry().len());
        }
    }
    assert_eq!(told, [CROWD, 2 * CROWD, 4 * CROWD]);
    let version = desk.supervisor.state_version();
    for _ in 0..10 {
        desk.on(Time::ZERO, Input::Ended { conn: 7 });
        desk.hello("m7", 7, 0, None);
    }
    assert_eq!(desk.supervisor.state_version(), version, "as many as before");

    // Survivors are told once: when all are back.
    let all: Vec<u16> = (1..2500).collect();
    let mut desk = large(Before::These(these(&all, None)));
    for &number in &all {
        assert_eq!(desk.supervisor.state_version(), 0);
        desk.hello(&format!("m{number}"), number, 4, None);
    }
    assert_eq!(desk.supervisor.state_version(), 1);
    desk.hello("m2500", 2500, 0, None);
    assert_eq!(desk.supervisor.state_version(), 1, "they know already");
}
