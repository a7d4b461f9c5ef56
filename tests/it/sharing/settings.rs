//! Settings: what is set is known to all, in one order, past deaths.

use std::thread;

use pares::{EventKind, SettingError};
use rustix::process::Signal;

use super::{Group, next};
use crate::support::await_true;

#[test]
fn compare_and_set_counts_exactly() {
    const TIMES: u64 = 50;
    let group = Group::of(&[]);
    let instances = [group.join("a"), group.join("b"), group.join("c")];
    thread::scope(|scope| {
        for instance in instances.iter().chain(&instances) {
            scope.spawn(move || {
                let mut present = instance.get("counter");
                for _ in 0..TIMES {
                    loop {
                        let next =
                            present.as_ref().map_or(0, |value| value.parse::<u64>().unwrap()) + 1;
                        match instance.client().compare_and_set(
                            "counter",
                            present.as_deref(),
                            &next.to_string(),
                        ) {
                            Ok(()) => {
                                present = Some(next.to_string());
                                break;
                            }
                            Err(SettingError::Changed { present: now, .. }) => present = now,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let counted = (6 * TIMES).to_string();
    for instance in &instances {
        await_true("known to all", || instance.get("counter").as_ref() == Some(&counted));
    }
}

/// Goal: a setting that is acknowledged is with every instance, though the supervisor dies at that
/// moment. Method: set, SIGKILL the supervisor, and look at the others; 50 times.
#[test]
fn an_acknowledged_setting_survives_the_supervisor() {
    for round in 0..50 {
        let group = Group::of(&[]);
        let boss = group.other("boss");
        let instances = [group.join("a"), group.join("b"), group.join("c")];
        let value = format!("value {round}");
        instances[0].client().set("key", &value).unwrap();
        boss.process.signal(Signal::KILL);
        assert_eq!(instances[0].get("key").as_ref(), Some(&value));
        for instance in &instances[1..] {
            await_true("known to all", || instance.get("key").as_ref() == Some(&value));
        }
        // And to their supervisor.
        assert_eq!(group.admin_later().get("key").unwrap(), Some(value));
    }
}

#[test]
fn who_sets_a_value_reads_it() {
    let group = Group::of(&[]);
    let (a, b) = (group.join("a"), group.join("b"));
    let (events_a, events_b) = (a.events(), b.events());
    for (one, other, heard) in [(&a, &b, &events_b), (&b, &a, &events_a)] {
        for number in 0..100 {
            let value = number.to_string();
            one.client().set("k", &value).unwrap();
            assert_eq!(one.get("k"), Some(value.clone()));
            let setting = next(heard, |kind| matches!(kind, EventKind::Setting { .. }));
            assert_eq!(setting, EventKind::Setting { key: "k".into(), value: Some(value.clone()) });
            assert_eq!(other.get("k"), Some(value.clone()));
            assert_eq!(group.admin().get("k").unwrap(), Some(value));
        }
        one.client().unset("k").unwrap();
        assert_eq!((one.get("k"), one.settings().len()), (None, 0));
        let setting = next(heard, |kind| matches!(kind, EventKind::Setting { .. }));
        assert_eq!(setting, EventKind::Setting { key: "k".into(), value: None });
        one.client().unset("k").unwrap();
        assert_eq!(group.admin().get("k").unwrap(), None);
        // Own changes are told as well; they are not of interest here.
        events_a.try_iter().chain(events_b.try_iter()).for_each(drop);
    }
}

#[test]
fn settings_have_limits_and_say_so() {
    let group = Group::of(&[]);
    let (a, b) = (group.join("a"), group.join("b"));
    let invalid =
        |result| assert!(matches!(result, Err(SettingError::Invalid { .. })), "{result:?}");
    for key in ["", "two words", "-x", "bell\u{7}", &"k".repeat(65)] {
        invalid(a.client().set(key, "v"));
        invalid(b.client().set(key, "v"));
    }
    invalid(b.client().set("k", &"v".repeat(16 * 1024 + 1)));
    let text = "\u{0} any text \u{1f980}\n";
    b.client().set("k", text).unwrap();
    assert_eq!(b.get("k").as_deref(), Some(text));
    b.client().unset("k").unwrap();

    let full = |result| assert!(matches!(result, Err(SettingError::Full { .. })), "{result:?}");
    for number in 0..256 {
        b.client().set(&format!("k{number}"), "v").unwrap();
    }
    full(b.client().set("one-more", "v"));
    full(a.client().set("one-more", "v"));
    b.client().set("k7", "another").unwrap();
    for number in 0..256 {
        a.client().unset(&format!("k{number}")).unwrap();
    }
    let large = "v".repeat(16 * 1024);
    for number in 0..3 {
        b.client().set(&format!("k{number}"), &large).unwrap();
    }
    full(b.client().set("k3", &large));
    b.client().set("k3", &large[..16 * 1024 - 8]).unwrap();
    full(b.client().set("k4", ""));
    await_true("the same for all", || a.settings() == b.settings() && a.settings().len() == 4);
}
