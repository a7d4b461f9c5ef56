//! Who is in the registry, and under which name.

use super::*;
use crate::wire::{News, Question};

#[test]
fn an_entry_goes_with_its_lifeline_and_says_why() {
    let mut desk = Desk::new(Before::Nobody);
    let mut cursor = desk.supervisor.watcher_cursor();
    desk.hello("a", 1, 0, None);
    desk.hello("b", 2, 0, None);
    desk.hello("c", 3, 0, None);
    desk.on(Time::ZERO, Input::Ended { conn: 1 });
    let goodbye = Control::Leaving { reason: Departure::Leaves };
    desk.on(Time::ZERO, Input::of(2, goodbye.into()));
    desk.on(Time::ZERO, Input::Ended { conn: 2 });
    let actions = desk.on(Time::ZERO, Input::of(3, Question::List {}.into()));
    assert_eq!(refusal(&actions), Some(Refusal::Malformed));
    desk.on(Time::ZERO, Input::Ended { conn: 3 });
    assert_eq!(desk.names(), ["s"]);

    let mut news = Vec::new();
    desk.supervisor.news(&mut cursor, &mut news);
    let left = |name: &str, cause| News::Left { name: name.into(), cause };
    let (died, left_, evicted) =
        (left("a", LeftCause::Died), left("b", LeftCause::Left), left("c", LeftCause::Evicted));
    assert_eq!(news[3..], [died, left_, evicted]);
}

#[test]
fn a_name_of_a_living_instance_is_refused_to_another() {
    let mut desk = Desk::new(Before::Nobody);
    desk.hello("a", 1, 0, None);
    assert_eq!(refusal(&desk.hello("a", 2, 0, None)), Some(Refusal::NameTaken));
    let as_supervisor = Input::Hello { conn: 3, hello: greeting(test_entry("s", 1, 3)) };
    let refused = refusal(&desk.on(Time::ZERO, as_supervisor));
    assert_eq!(refused, Some(Refusal::NameTaken), "the supervisor's own, even by its id");
    assert_eq!(desk.names(), ["a", "s"]);
}

#[test]
fn the_same_instance_comes_back_on_a_new_lifeline_without_having_left() {
    let mut desk = Desk::new(Before::Nobody);
    desk.hello("a", 1, 0, None);
    desk.hello("witness", 2, 0, None);
    let mut cursor = desk.supervisor.watcher_cursor();
    let again =
        Input::Hello { conn: 7, hello: Hello { last_term: 5, ..greeting(test_entry("a", 1, 1)) } };
    let actions = desk.on(Time::ZERO, again);
    assert!(actions.contains(&Action::Close { conn: 1 }));
    let off = Message::Control(Control::Roster {
        anew: false,
        unknown_since_ns: None,
        added: vec![],
        removed: vec![1],
    });
    assert!(
        !actions.contains(&Action::Send { conn: 2, message: off }),
        "it never leaves the rosters"
    );
    desk.on(Time::ZERO, Input::Ended { conn: 1 });
    assert_eq!(desk.names(), ["a", "s", "witness"]);
    let mut news = Vec::new();
    desk.supervisor.news(&mut cursor, &mut news);
    assert_eq!(news, []);
}

#[test]
fn a_full_group_admits_nobody_until_one_leaves() {
    let mut desk = Desk::new(Before::Nobody);
    for number in 1..30 {
        desk.hello(&format!("m{number}"), number, 0, None);
    }
    assert_eq!(refusal(&desk.hello("late", 30, 0, None)), Some(Refusal::GroupFull));
    desk.on(Time::ZERO, Input::Ended { conn: 1 });
    assert_eq!(refusal(&desk.hello("late", 30, 0, None)), None);
}

#[test]
fn an_entry_that_would_garble_a_table_is_refused() {
    let mut desk = Desk::new(Before::Nobody);
    for name in ["", "a b", "a\n", "@all", "main"] {
        assert_eq!(refusal(&desk.hello(name, 1, 0, None)), Some(Refusal::Malformed), "{name:?}");
    }
    assert_eq!(
        refusal(&desk.hello("a", 0, 0, None)),
        Some(Refusal::Malformed),
        "no admin endpoint"
    );
}
