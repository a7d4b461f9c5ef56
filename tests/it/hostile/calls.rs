//! Admin calls to those that misbehave.

use super::*;

/// Goal: a function that fails, panics, returns too much or takes long is its caller's business and
/// nobody else's. Method: two instances in this process; calls from one to the other, alone and
/// several at once.
#[test]
fn a_function_that_misbehaves_harms_only_its_caller() {
    let directory = Directory::new();
    let port = free_port();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let _boss = Instance::join(directory.config(port, "boss")).unwrap();
    let config = directory
        .config(port, "worker")
        .admin_function("panic", "", |_| panic!("on purpose"))
        .admin_function("panic-with-a-number", "", |_| std::panic::panic_any(7))
        .admin_function("fail", "", |_| Err("it cannot be".into()))
        .admin_function("big", "", |size| {
            Ok(vec![b'x'; std::str::from_utf8(size).unwrap().parse().unwrap()])
        })
        .admin_function("slow", "", move |_| {
            released.lock().unwrap().recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
            Ok(b"at last".to_vec())
        });
    let worker = Instance::join(config).unwrap();
    let caller = Instance::join(directory.config(port, "caller")).unwrap();
    let call = |function: &str, payload: &[u8], within| {
        caller.client().call("worker", function, payload, within)
    };

    let panicked = call("panic", b"", PATIENCE).unwrap_err();
    assert!(
        matches!(&panicked, CallError::Panicked { detail: text } if text == "on purpose"),
        "{panicked}"
    );
    let panicked = call("panic-with-a-number", b"", PATIENCE).unwrap_err();
    assert!(matches!(panicked, CallError::Panicked { .. }), "{panicked}");
    let failed = call("fail", b"", PATIENCE).unwrap_err();
    assert!(
        matches!(&failed, CallError::Failed { detail: text } if text == "it cannot be"),
        "{failed}"
    );
    let missing = call("nothing\n", b"", PATIENCE).unwrap_err();
    assert!(matches!(missing, CallError::NoSuchFunction { .. }), "{missing}");

    // 1 MiB both ways, and not a byte more.
    let limit = pares::MAX_PAYLOAD;
    assert_eq!(call("ping", &vec![7; limit], PATIENCE).unwrap().len(), limit);
    let refused = call("ping", &vec![7; limit + 1], PATIENCE).unwrap_err();
    assert!(
        matches!(refused, CallError::PayloadTooLarge { bytes, .. } if bytes == limit + 1),
        "{refused}"
    );
    assert_eq!(call("big", limit.to_string().as_bytes(), PATIENCE).unwrap().len(), limit);
    let refused = call("big", (limit + 1).to_string().as_bytes(), PATIENCE).unwrap_err();
    assert!(
        matches!(&refused, CallError::Failed { detail: text } if text.contains("at most 1 MiB")),
        "{refused}"
    );

    // Many at once, while a slow one runs.
    thread::scope(|scope| {
        let slow = scope.spawn(|| call("slow", b"", PATIENCE));
        let late = call("slow", b"", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(late, CallError::TimedOut), "{late}");
        for number in 0..16u8 {
            scope.spawn(move || {
                for round in 0..50u8 {
                    assert_eq!(call("ping", &[number, round], PATIENCE).unwrap(), [number, round]);
                }
            });
        }
        assert_eq!(call("ping", b"meanwhile", PATIENCE).unwrap(), b"meanwhile");
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(slow.join().unwrap().unwrap(), b"at last");
    });
    assert_eq!((worker.role(), caller.role()), (Role::Subordinate, Role::Subordinate));
    assert_eq!(caller.client().list().unwrap().entries.len(), 3);
}

/// Goal: a call to all answers for everyone, also for those who are stopped or have no endpoint any
/// more. Method: one member in a process that is stopped, one that exists by its lifeline only.
#[test]
fn a_call_to_all_is_not_held_up_by_the_stopped_and_the_dead() {
    let directory = Directory::new();
    let (group, port) = (directory.group(), free_port());
    let boss = Instance::join(directory.config(port, "boss")).unwrap();
    let more = [("TIMEOUT", "10000".into()), ("NAME", "stopped".into())];
    let mut stopped = start("joiner", &directory, port, &more);
    stopped.expect("here");
    stopped.order("join");
    stopped.expect("joined subordinate");
    let ghost = group.join(port, &Entry { admin_port: free_port(), ..Entry::named("ghost") });
    kill_process(Pid::from_raw(stopped.pid() as i32).unwrap(), Signal::STOP).unwrap();

    in_time_once(Duration::from_secs(2), || {
        let began = Instant::now();
        let results = boss.client().call_all("ping", b"hello", Duration::from_millis(500)).unwrap();
        let took = began.elapsed();
        let results: BTreeMap<String, Result<Vec<u8>, CallError>> =
            results.into_iter().map(|reply| (reply.name, reply.result)).collect();
        assert_eq!(results.keys().collect::<Vec<_>>(), ["boss", "ghost", "stopped"]);
        assert!(matches!(results["stopped"], Err(CallError::TimedOut)), "{results:?}");
        if took < Duration::from_secs(2) {
            assert_eq!(results["boss"].as_ref().unwrap(), b"hello");
            assert!(matches!(results["ghost"], Err(CallError::InstanceLost { .. })), "{results:?}");
        }
        took
    });
    drop(ghost);
}

/// Goal: who does not have the key is told so by the library's own client too, and the other way
/// round.
#[test]
fn an_instance_with_another_key_is_refused_and_told_why() {
    let target = Target::start();
    let other = Directory::new();
    let refused = Instance::join(other.config(target.port, "stranger")).unwrap_err();
    assert!(matches!(refused, JoinError::KeyMismatch { .. }), "{refused}");
    target.serves(Door::Supervisor);
    target.is_calm_again("another key");
}
