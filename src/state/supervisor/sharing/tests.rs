//! What is decided about permits, settings and messages, one by one.

use super::super::tests::{Desk, greeting, refusal, these};
use super::*;
use crate::state::registry::test_entry;
use crate::state::supervisor::{ServerAction as Action, ServerInput as Input};
use crate::wire::{Declared, Held, Joining, Wanted};

impl Desk {
    fn ask(&mut self, question: Sharing) -> (Vec<Message>, Vec<Action>) {
        let mut actions = Vec::new();
        let answer = self.supervisor.ask(question, &mut actions);
        self.supervisor.check();
        (answer, actions)
    }

    fn set(
        &mut self,
        key: &str,
        value: Option<&str>,
        expected: Option<Option<&str>>,
    ) -> Vec<Message> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.ask(Sharing::Set {
            key: key.into(),
            value: owned(value),
            expected: expected.map(owned),
        })
        .0
    }

    fn publish(&mut self, to: Option<&str>, bytes: usize) -> (Vec<Message>, Vec<Action>) {
        let payload = Payload(vec![0; bytes]);
        self.ask(Sharing::Publish {
            from: "s".into(),
            to: to.map(str::to_owned),
            topic: "t".into(),
            payload,
        })
    }

    fn say(&mut self, conn: ConnId, message: FromHolder) -> Vec<Action> {
        self.on(Time::ZERO, Input::Said { conn, message })
    }

    /// `name` says hello on connection `number` with these claims and settings.
    fn come(
        &mut self,
        name: &str,
        number: u16,
        last_term: u64,
        claims: Claims,
        settings: Vec<Setting>,
    ) -> Vec<Action> {
        let entry = test_entry(name, number.into(), number);
        let hello = Hello { last_term, claims, settings, ..greeting(entry) };
        self.on(Time::ZERO, Input::Hello { conn: number.into(), hello })
    }

    /// Two members, `a` on connection 1 and `b` on 2, in a settled group with 4 units of `db`.
    fn settled() -> Self {
        let mut desk = Desk::new(Before::Nobody);
        desk.come("a", 1, 0, declaring(), vec![]);
        desk.come("b", 2, 0, Claims::default(), vec![]);
        desk
    }

    /// As before, but one more may have survived, with admin endpoint 3.
    fn unsettled() -> Self {
        let mut desk = Desk::new(Before::These(these(&[1, 2, 3], None)));
        desk.come("a", 1, 4, declaring(), vec![]);
        desk.come("b", 2, 4, Claims::default(), vec![]);
        desk
    }
}

fn declaring() -> Claims {
    Claims {
        declared: vec![Declared { resource: "db".into(), limit: 4, per_holder: None }],
        ..Claims::default()
    }
}

fn holding(id: u64, units: u64) -> Claims {
    Claims { held: vec![Held { id, resource: "db".into(), units }], ..declaring() }
}

fn acquire(id: u64, units: u64) -> FromHolder {
    FromHolder::Acquire {
        wanted: Wanted { id, resource: "db".into(), units, wait: true, asked_ns: id },
    }
}

fn count(units: u64) -> FromHolder {
    FromHolder::Count { counted: Counted { resource: "db".into(), units } }
}

fn setting(key: &str, value: Option<&str>, term: u64, sequence: u64) -> Setting {
    Setting { scope: Scope::Program, key: key.into(), value: value.map(Into::into), term, sequence }
}

fn fault(answer: &[Message]) -> Option<Fault> {
    if let [Message::Response(Response::NotDone { fault, .. })] = answer {
        Some(*fault)
    } else {
        None
    }
}

fn is_set(answer: &[Message]) -> bool {
    matches!(answer, [Message::ToHolder(ToHolder::Setting { .. })])
}

fn send(conn: ConnId, message: ToHolder) -> Action {
    Action::Send { conn, message: message.into() }
}

#[test]
fn a_change_is_told_to_all_and_numbered() {
    let mut desk = Desk::settled();
    for (number, value) in [(1, Some("x")), (2, Some("y")), (3, None)] {
        let (answer, actions) = desk.ask(Sharing::Set {
            key: "k".into(),
            value: value.map(Into::into),
            expected: None,
        });
        let message = ToHolder::Setting { setting: setting("k", value, 5, number) };
        assert_eq!(answer, [message.clone().into()]);
        let tell = Action::Tell { conns: vec![1, 2], message: message.clone().into() };
        assert_eq!(actions, [tell, Action::Own { message }]);
    }
    let (answer, _) = desk.ask(Sharing::SettingQuery { key: None });
    assert_eq!(answer, [Response::Settings { count: 0 }.into()], "removed");
}

#[test]
fn a_change_under_a_condition_is_made_only_if_it_holds() {
    let mut desk = Desk::settled();
    let conflict = |present: Option<&str>| {
        vec![Response::Conflict { present: present.map(Into::into) }.into()]
    };
    assert_eq!(desk.set("k", Some("x"), Some(Some("w"))), conflict(None));
    assert!(is_set(&desk.set("k", Some("x"), Some(None))));
    assert_eq!(desk.set("k", Some("z"), Some(None)), conflict(Some("x")));
    assert!(is_set(&desk.set("k", None, Some(Some("x")))));
    assert!(is_set(&desk.set("k", Some("y"), Some(None))));
}

#[test]
fn before_the_group_is_settled_only_what_no_survivor_can_contradict_is_answered() {
    let mut desk = Desk::unsettled();
    assert!(is_set(&desk.set("k", Some("x"), None)));
    assert_eq!(fault(&desk.set("k", Some("y"), Some(Some("x")))), Some(Fault::NotSettled));
    assert_eq!(fault(&desk.publish(Some("c"), 1).0), Some(Fault::NotSettled), "it may come back");
    assert_eq!(desk.publish(None, 1).0, [Response::Done { count: 3 }.into()]);
    let questions = [
        Sharing::SettingQuery { key: None },
        Sharing::UsageQuery { resource: None },
        Sharing::SetLimit { resource: "db".into(), limit: 1 },
        Sharing::Revoke { resource: "db".into(), holder: "a".into() },
    ];
    for question in questions {
        assert_eq!(fault(&desk.ask(question).0), Some(Fault::NotSettled));
    }
}

/// Goal: the limit holds though the survivors are many, and those come late who know them all.
#[test]
fn while_a_crowd_that_nobody_knows_streams_in_no_permit_is_granted_that_a_late_survivor_may_hold() {
    let mut desk = Desk::new(Before::Unknown);
    let (gap, granted) = (Time::from_millis(400), |conn, id| send(conn, ToHolder::Granted { id }));
    desk.come("a", 1, 4, declaring(), vec![]);
    assert_eq!(desk.say(1, acquire(1, 1)), []);
    for number in 2..=5 {
        let now = gap * u32::from(number - 1);
        let woken = desk.on(now - Time::from_millis(1), Input::Woken);
        assert!(
            !woken.contains(&granted(1, 1))
                && !desk.comes(now, number, 4, None).contains(&granted(1, 1))
        );
    }
    let came = desk.comes(gap * 5, 6, 4, Some(these(&(1..=7).collect::<Vec<_>>(), None)));
    assert!(!came.contains(&granted(1, 1)));
    let held = Hello { last_term: 4, claims: holding(9, 4), ..greeting(test_entry("m7", 7, 7)) };
    let last = desk.on(gap * 6, Input::Hello { conn: 7, hello: held });
    assert!(
        desk.supervisor.settled() && !last.contains(&granted(1, 1)),
        "all units are held: {last:?}"
    );
    assert!(desk.say(7, FromHolder::Release { id: 9 }).contains(&granted(1, 1)));
}

#[test]
fn of_what_survivors_know_the_newest_counts_and_all_hear_of_it() {
    let mut desk = Desk::unsettled();
    let old = setting("k", Some("old"), 3, 9);
    desk.come("c", 3, 4, Claims::default(), vec![old.clone(), setting("mine", Some("c"), 3, 8)]);
    let new = setting("k", Some("new"), 4, 1);
    let actions = desk.come("d", 4, 4, Claims::default(), vec![new.clone()]);
    let told = Action::Tell {
        conns: vec![1, 2, 3],
        message: ToHolder::Setting { setting: new.clone() }.into(),
    };
    assert!(actions.contains(&told), "{actions:?}");
    let position = |wanted: &Action| actions.iter().position(|action| action == wanted);
    let lacked = send(4, ToHolder::Setting { setting: setting("mine", Some("c"), 3, 8) });
    let welcome = actions.iter().position(|action| {
        matches!(
            action,
            Action::Send { conn: 4, message: Message::Joining(Joining::Welcome { .. }) }
        )
    });
    assert!(
        welcome < position(&lacked) && welcome.is_some(),
        "what it lacks, after the welcome: {actions:?}"
    );
    let actions = desk.come("e", 5, 4, Claims::default(), vec![old]);
    assert!(actions.contains(&send(5, ToHolder::Setting { setting: new })), "{actions:?}");
    assert!(
        !actions.iter().any(|action| matches!(action, Action::Tell { .. })),
        "no news for the others"
    );
}

#[test]
fn a_limit_survives_the_supervisor_by_any_hello() {
    let limit = Setting {
        scope: Scope::Limit,
        key: "db".into(),
        value: Some("2".into()),
        term: 4,
        sequence: 1,
    };
    let mut desk = Desk::new(Before::These(these(&[1, 2], None)));
    desk.come("a", 1, 4, declaring(), vec![]);
    desk.come("b", 2, 4, Claims::default(), vec![limit.clone()]);
    assert!(desk.say(1, acquire(1, 2)).contains(&send(1, ToHolder::Granted { id: 1 })));
    assert_eq!(desk.say(1, acquire(2, 1)), []);
    // And what the next supervisor knows of it itself counts from the first moment.
    let mut settings = Settings::default();
    settings.merge(limit);
    let elected = Elected { settings, claims: declaring(), ..Desk::elected(Before::Nobody) };
    let supervisor = Supervisor::new(elected, Time::ZERO, &mut Vec::new());
    assert_eq!(supervisor.book_usage("db").unwrap().limit, Some(2));
}

#[test]
fn a_limit_is_set_for_what_is_declared_and_serves_those_who_wait() {
    let mut desk = Desk::settled();
    let limit = |resource: &str, limit| Sharing::SetLimit { resource: resource.into(), limit };
    desk.say(1, acquire(1, 4));
    desk.say(2, acquire(1, 1));
    let (_, actions) = desk.ask(limit("db", 5));
    assert_eq!(actions.last(), Some(&send(2, ToHolder::Granted { id: 1 })), "after all know why");
    assert_eq!(fault(&desk.ask(limit("scanner", 5)).0), Some(Fault::NoSuchResource));
    assert_eq!(fault(&desk.ask(limit("db", u64::MAX)).0), Some(Fault::Invalid));
    let (answer, _) = desk.ask(Sharing::SettingQuery { key: None });
    assert_eq!(
        answer,
        [Response::Settings { count: 0 }.into()],
        "limits are not among the program's settings"
    );
}

#[test]
fn usage_is_told_with_names() {
    let mut desk = Desk::settled();
    desk.say(2, acquire(1, 2));
    desk.say(2, count(1));
    desk.say(OWN, count(1));
    desk.say(1, acquire(1, 3));
    let usage = |limit, in_use, counted, waiting, holders| {
        let resource = "db".into();
        Response::Resource { resource, limit, in_use, counted, waiting, holders }.into()
    };
    let holder =
        |name: &str, units| Message::Response(Response::Holder { name: name.into(), units });
    let (answer, _) = desk.ask(Sharing::UsageQuery { resource: Some("db".into()) });
    let expected = [
        Message::Response(Response::Resources { count: 1 }),
        usage(Some(4), 4, 2, 1, 2),
        holder("b", 3),
        holder("s", 1),
    ];
    assert_eq!(answer, expected);
    assert_eq!(desk.ask(Sharing::UsageQuery { resource: None }).0, expected);
    let (answer, _) = desk.ask(Sharing::UsageQuery { resource: Some("scanner".into()) });
    assert_eq!(fault(&answer), Some(Fault::NoSuchResource));
}

#[test]
fn what_is_revoked_is_told_to_its_holder_before_another_has_it() {
    let mut desk = Desk::settled();
    desk.say(1, acquire(1, 2));
    desk.say(1, acquire(2, 2));
    desk.say(OWN, acquire(1, 4));
    let revoke = |holder: &str| Sharing::Revoke { resource: "db".into(), holder: holder.into() };
    let (answer, actions) = desk.ask(revoke("a"));
    assert_eq!(answer, [Response::Done { count: 2 }.into()]);
    let granted = Action::Own { message: ToHolder::Granted { id: 1 } };
    assert_eq!(
        actions,
        [send(1, ToHolder::Revoked { id: 1 }), send(1, ToHolder::Revoked { id: 2 }), granted]
    );
    assert_eq!(desk.ask(revoke("a")).0, [Response::Done { count: 0 }.into()]);
    assert_eq!(desk.ask(revoke("main")).1, [Action::Own { message: ToHolder::Revoked { id: 1 } }]);
    assert_eq!(fault(&desk.ask(revoke("nobody")).0), Some(Fault::NoSuchInstance));
}

#[test]
fn a_total_waits_until_all_are_here_who_count() {
    let mut desk = Desk::unsettled();
    desk.say(1, count(3));
    assert_eq!(desk.say(2, FromHolder::TotalQuery { id: 7, resource: "db".into() }), []);
    assert_eq!(desk.say(OWN, FromHolder::TotalQuery { id: 8, resource: "db".into() }), []);
    let counted =
        Claims { counted: vec![Counted { resource: "db".into(), units: 2 }], ..Claims::default() };
    let actions = desk.come("c", 3, 4, counted, vec![]);
    assert!(actions.contains(&send(2, ToHolder::Total { id: 7, units: 5 })), "{actions:?}");
    assert!(actions.contains(&Action::Own { message: ToHolder::Total { id: 8, units: 5 } }));
    let actions = desk.say(2, FromHolder::TotalQuery { id: 9, resource: "db".into() });
    assert_eq!(actions, [send(2, ToHolder::Total { id: 9, units: 5 })]);
}

#[test]
fn nobody_is_sent_what_was_asked_on_a_connection_that_is_gone() {
    let mut desk = Desk::unsettled();
    desk.say(2, FromHolder::TotalQuery { id: 7, resource: "db".into() });
    desk.on(Time::ZERO, Input::Ended { conn: 2 });
    desk.say(1, FromHolder::TotalQuery { id: 7, resource: "db".into() });
    let again = Input::Hello { conn: 9, hello: greeting(test_entry("a", 1, 1)) };
    desk.on(Time::ZERO, again);
    let actions = desk.come("c", 3, 4, Claims::default(), vec![]);
    let total = |action: &Action| {
        matches!(action, Action::Send { message: Message::ToHolder(ToHolder::Total { .. }), .. })
    };
    assert!(!actions.iter().any(total), "{actions:?}");
}

#[test]
fn a_message_goes_to_all_or_to_one_who_is_here() {
    let mut desk = Desk::settled();
    let (answer, actions) = desk.publish(None, 3);
    assert_eq!(answer, [Response::Done { count: 3 }.into()]);
    assert!(
        matches!(&actions[..], [Action::Own { .. }, Action::Tell { conns, .. }] if *conns == [1, 2])
    );
    let (answer, actions) = desk.publish(Some("b"), 3);
    assert_eq!(answer, [Response::Done { count: 1 }.into()]);
    assert!(matches!(&actions[..], [Action::Tell { conns, .. }] if *conns == [2]));
    let (_, actions) = desk.publish(Some("main"), 3);
    assert!(matches!(actions[..], [Action::Own { .. }]));
    assert_eq!(fault(&desk.publish(Some("nobody"), 3).0), Some(Fault::NoSuchInstance));
    assert_eq!(fault(&desk.publish(None, MAX_MESSAGE + 1).0), Some(Fault::Invalid));
}

#[test]
fn who_does_not_read_misses_messages_and_is_told_how_many() {
    let mut desk = Desk::settled();
    let size = message_size("s", "t", &[0; MAX_MESSAGE]);
    let fits = MESSAGE_WINDOW / size;
    for _ in 0..fits {
        assert_eq!(desk.publish(Some("a"), MAX_MESSAGE).0, [Response::Done { count: 1 }.into()]);
    }
    for _ in 0..2 {
        assert_eq!(desk.publish(Some("a"), MAX_MESSAGE).0, [Response::Done { count: 0 }.into()]);
    }
    assert_eq!(
        desk.publish(Some("b"), MAX_MESSAGE).0,
        [Response::Done { count: 1 }.into()],
        "it costs nobody else anything"
    );
    let missed = send(1, ToHolder::Missed { messages: 2 });
    assert_eq!(desk.say(1, FromHolder::Taken { bytes: size }), [missed]);
    assert_eq!(desk.publish(Some("a"), MAX_MESSAGE).0, [Response::Done { count: 1 }.into()]);
    // One that fits although a larger one did not comes after what was missed.
    desk.publish(Some("a"), MAX_MESSAGE);
    let (_, actions) = desk.publish(Some("a"), 1);
    assert_eq!(actions[0], send(1, ToHolder::Missed { messages: 1 }));
    assert_eq!(desk.say(1, FromHolder::Taken { bytes: u32::MAX }), [], "no more than it has got");
}

#[test]
fn what_is_over_the_limit_is_told_to_all() {
    let mut desk = Desk::settled();
    let message = ToHolder::OverLimit { resource: "db".into(), in_use: 5, limit: 4 };
    let tell = Action::Tell { conns: vec![1, 2], message: message.clone().into() };
    let all = [tell, Action::Own { message }];
    assert_eq!(desk.say(1, count(5)), all);
}

#[test]
fn a_members_end_serves_those_who_wait_before_anything_else() {
    let mut desk = Desk::settled();
    desk.come("c", 3, 4, holding(1, 4), vec![]);
    desk.say(OWN, acquire(1, 3));
    desk.say(2, acquire(2, 1));
    let actions = desk.on(Time::ZERO, Input::Ended { conn: 3 });
    let granted = [
        Action::Own { message: ToHolder::Granted { id: 1 } },
        send(2, ToHolder::Granted { id: 2 }),
    ];
    assert_eq!(actions[..2], granted);
}

#[test]
fn what_the_supervisor_holds_itself_is_in_its_book() {
    let elected = Elected { claims: holding(7, 3), ..Desk::elected(Before::Nobody) };
    let mut actions = Vec::new();
    let supervisor = Supervisor::new(elected, Time::ZERO, &mut actions);
    assert_eq!(supervisor.claims_of(OWN), holding(7, 3));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Own { .. })).count(), 0);
}

/// Goal: to be supervisor is no better claim: what was cut off, and is over a limit that others
/// have known since, is lost.
#[test]
fn what_the_supervisor_held_unconfirmed_it_holds_unconfirmed_as_supervisor() {
    let lowered = Setting { scope: Scope::Limit, ..setting("db", Some("1"), 4, 1) };
    let lost = Action::Own { message: ToHolder::Revoked { id: 9 } };
    for (confirmed_term, loses) in [(0, true), (4, false)] {
        let before = Before::These(these(&[1], None));
        let elected =
            Elected { claims: Claims { confirmed_term, ..holding(9, 4) }, ..Desk::elected(before) };
        let mut desk = Desk::of(elected, Time::ZERO);
        let claims = Claims { confirmed_term: 4, ..declaring() };
        let came = desk.come("a", 1, 4, claims, vec![lowered.clone()]);
        assert!(desk.supervisor.settled());
        assert_eq!(
            (came.contains(&lost), !desk.supervisor.knows(OWN, 9)),
            (loses, loses),
            "{confirmed_term}"
        );
    }
}

#[test]
fn who_says_what_cannot_be_is_cut_off() {
    let wrong: [Message; 6] = [
        acquire(1, 0).into(),
        acquire(1, u64::MAX).into(),
        count(u64::MAX).into(),
        ToHolder::Granted { id: 1 }.into(),
        Sharing::Publish {
            from: "a".into(),
            to: None,
            topic: "t".into(),
            payload: Payload(vec![]),
        }
        .into(),
        FromHolder::TotalQuery { id: 1, resource: "two words".into() }.into(),
    ];
    for message in wrong {
        let mut desk = Desk::settled();
        let actions = desk.on(Time::ZERO, Input::of(1, message.clone()));
        assert_eq!(refusal(&actions), Some(Refusal::Malformed), "{message:?}: {actions:?}");
    }
    let mut desk = Desk::settled();
    desk.say(1, acquire(1, 1));
    assert!(desk.say(1, acquire(1, 1)).contains(&Action::Close { conn: 1 }), "a number used twice");
    assert_eq!(desk.say(9, acquire(1, 1)), [], "one who is no member");
}

#[test]
fn who_comes_late_hears_what_it_has_lost_before_it_is_welcomed() {
    let mut desk = Desk::settled();
    desk.say(1, acquire(1, 3));
    let actions = desk.come("late", 3, 4, holding(7, 2), vec![]);
    let position = |wanted: fn(&Message) -> bool| {
        let to_it = |action: &Action| match action {
            Action::Send { conn: 3, message } => wanted(message),
            _ => false,
        };
        actions.iter().position(to_it).expect("told")
    };
    let revoked = position(|message| *message == Message::ToHolder(ToHolder::Revoked { id: 7 }));
    assert!(
        revoked < position(|message| matches!(message, Message::Joining(Joining::Welcome { .. }))),
        "{actions:?}"
    );
}

#[test]
fn a_change_is_newer_than_all_that_anybody_knows() {
    let mut desk = Desk::settled();
    let actions = desk.come("c", 3, 0, Claims::default(), vec![setting("k", Some("x"), 8, 1)]);
    assert!(actions.contains(&Action::TermRaised { term: 9 }));
    let new = Message::ToHolder(ToHolder::Setting { setting: setting("k", Some("y"), 9, 1) });
    assert_eq!(desk.set("k", Some("y"), None), [new]);
    // Also than what the new supervisor knows itself.
    let mut settings = Settings::default();
    settings.merge(setting("k", Some("x"), 8, 1));
    let elected = Elected { settings, ..Desk::elected(Before::Nobody) };
    let mut actions = Vec::new();
    let supervisor = Supervisor::new(elected, Time::ZERO, &mut actions);
    assert_eq!((supervisor.term(), &actions[0]), (9, &Action::TermRaised { term: 9 }));
}
