//! The library as a Rust program meets it: its types, and what an instance says of its group.

use std::sync::mpsc::channel;
use std::time::Duration;

use pares::{Instance, Role, masterless};

use crate::support::{Ground, PATIENCE, await_true};

/// What is not sendable is found out by those who share it between threads, years later.
#[test]
fn every_public_type_can_be_sent_to_another_thread_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<pares::Config>();
    check::<pares::Resource>();
    check::<pares::StateDirectory>();
    check::<Instance>();
    check::<pares::Client>();
    check::<pares::Watch>();
    check::<pares::Events>();
    check::<pares::Events<pares::Change>>();
    check::<pares::EventsIter<'_, pares::Event>>();
    check::<pares::Event>();
    check::<pares::Change>();
    check::<pares::Job>();
    check::<pares::SupervisorGuard<'_>>();
    check::<pares::Permit>();
    check::<pares::Tally>();
    check::<pares::Listing>();
    check::<pares::Entry>();
    check::<pares::Status>();
    check::<pares::Usage>();
    check::<pares::Holder>();
    check::<pares::Reply>();
    check::<masterless::Config>();
    check::<masterless::Peer>();
    check::<masterless::Event>();
    check::<pares::Events<masterless::Event>>();

    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<pares::AcquireError>();
    error::<pares::AskError>();
    error::<pares::CallError>();
    error::<pares::ConfigError>();
    error::<pares::JoinError>();
    error::<pares::KeepError>();
    error::<pares::KeyError>();
    error::<pares::MessageError>();
    error::<pares::PlaceError>();
    error::<pares::ResourceError>();
    error::<pares::SettingError>();
    error::<pares::StartError>();
    error::<pares::StepDownError>();
    error::<pares::TallyError>();
    error::<masterless::JoinError>();
}

#[test]
fn an_instance_knows_who_supervises_and_whether_the_group_is_settled() {
    let ground = Ground::new();
    let leader = ground.join("leader");
    leader.expect_event("settled");
    let own = Instance::join(ground.config().name("own")).unwrap();
    assert_eq!(own.supervisor().as_deref(), Some("leader"));
    assert!(own.wait_settled(PATIENCE) && own.is_settled());

    leader.kill();
    await_true("it has noticed", || own.supervisor().as_deref() != Some("leader"));
    assert!(own.wait_settled(PATIENCE));
    assert_eq!((own.role(), own.supervisor().as_deref()), (Role::Supervisor, Some("own")));
    // Nobody waits for longer than it wants to.
    assert!(own.wait_settled(Duration::ZERO));
}

#[test]
fn leaving_takes_no_longer_than_it_may_and_goes_on_without_its_caller() {
    let ground = Ground::new();
    let instance = Instance::join(ground.config().name("busy")).unwrap();
    let (runs, running) = channel();
    let (end, ended) = channel::<()>();
    let job = instance.while_supervisor(move |_| {
        _ = runs.send(());
        // Not for ever: a test that fails ends, too.
        _ = ended.recv_timeout(PATIENCE);
    });
    running.recv_timeout(PATIENCE).unwrap();
    let events = instance.events();
    assert!(!instance.leave_timeout(Duration::from_millis(20)), "its job still runs");
    drop(end);
    assert!(events.iter().any(|event| event.kind == pares::EventKind::Stopped));
    drop(job);

    let instance = Instance::join(ground.config().name("idle")).unwrap();
    assert!(instance.leave_timeout(PATIENCE));
}

#[test]
fn an_admin_function_fails_with_any_error() {
    let ground = Ground::new();
    let number = |text: &[u8]| {
        let number: u32 = std::str::from_utf8(text)?.parse()?;
        if number > 9 {
            return Err("one digit is enough".into());
        }
        Ok(vec![b'0' + number as u8])
    };
    let config = ground.config().name("one").admin_function("digit", "a digit", number);
    let one = Instance::join(config).unwrap();
    let call = |text: &[u8]| one.client().call("one", "digit", text, PATIENCE);
    assert_eq!(call(b"7").unwrap(), b"7");
    for (text, said) in [
        (&b"ten"[..], "invalid digit found in string"),
        (b"10", "one digit is enough"),
        (b"\xff", "invalid utf-8"),
    ] {
        let error = call(text).unwrap_err();
        assert!(
            matches!(&error, pares::CallError::Failed { detail } if detail.contains(said)),
            "{error}"
        );
    }
}
