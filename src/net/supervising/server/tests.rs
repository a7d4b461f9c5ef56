use std::thread;
use std::time::Instant;

use super::*;
use crate::net::transport::link::{Link, has_input};
use crate::net::transport::port;
use crate::state::permits::Claims;
use crate::state::registry::test_entry;
use crate::state::settings::Settings;
use crate::state::supervisor::ServerAction as Action;
use crate::state::supervisor::{Before, Elected};
use crate::sys::Kind;
use crate::wire::Joining;
use crate::wire::proof::Key;

/// A settled group of a supervisor and one member, whose connection is real: the supervisor's end
/// of it, and the member's.
fn server_with_a_member() -> (Arc<Server>, Arc<Stream>, Stream) {
    let elected = Elected {
        me: test_entry("s", 1, 1),
        term: 1,
        registry_port: 2,
        before: Before::Nobody,
        predecessor: None,
        claims: Claims::default(),
        settings: Settings::default(),
        settle_time: Time::from_millis(500),
        max_members: 10,
    };
    let facts = Facts {
        pass: Pass { group: "web".into(), key: Key([7; 32]), key_file: "web.key".into() },
        at: port::here(3),
        directory: ".".into(),
        me: elected.me.clone(),
        registry_port: elected.registry_port,
        cause: ElectionCause::Started,
        hang_timeout: None,
        pulse: Arc::default(),
    };
    let open = |now, actions: &mut Vec<Action>| Supervisor::new(elected, now, actions);
    let server = Server::new(facts, Waker::new().unwrap(), open, |_| {});

    let listener = port::listen(port::here(0), Kind::Port).unwrap();
    let member =
        port::connect(port::here(listener.local_addr().unwrap().port()), Kind::Peer, PATIENCE)
            .unwrap()
            .unwrap();
    let ours = port::accept(&listener, Kind::Lifeline).unwrap();
    socket2::SockRef::from(&*ours).set_send_buffer_size(1 << 14).unwrap();
    socket2::SockRef::from(&*member).set_recv_buffer_size(1 << 14).unwrap();
    let ours = Arc::new(ours);
    let hello = Hello {
        entry: test_entry("a", 2, 4),
        last_term: 0,
        roster: None,
        claims: Claims::default(),
        settings: vec![],
    };
    assert!(server.hello(MEMBER, &ours, hello));
    (server, ours, member)
}

const MEMBER: ConnId = 7;

fn ask(server: &Server, id: u64) {
    server.said(MEMBER, FromHolder::TotalQuery { id, resource: "requests".into() }.into());
}

/// Runs the announcer meanwhile, which ends with the server.
fn with_announcer(server: &Server, deed: impl FnOnce()) {
    struct Closing<'a>(&'a Server);
    impl Drop for Closing<'_> {
        fn drop(&mut self) {
            self.0.close(Departure::Leaves);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| server.announce());
        let _closing = Closing(server);
        deed();
    });
}

/// Goal: who reads late has all answers, in the order of its questions, though its own thread was
/// not the one to send them. Method: four times as many bytes as the kernel keeps, unread until all
/// are decided.
#[test]
fn who_asks_and_reads_later_has_every_answer_in_order() {
    let (server, _ours, member) = server_with_a_member();
    with_announcer(&server, || {
        let is_blocked =
            || server.inner.lock().subscribers[&Listener::Member(MEMBER)].backlog.is_blocked();
        let blocking = (1..100_000).inspect(|&id| ask(&server, id)).find(|_| is_blocked());
        let kept = blocking.expect("the kernel keeps less than that, with buffers this small");
        let last = 4 * kept;
        (kept + 1..=last).for_each(|id| ask(&server, id));

        socket2::SockRef::from(&*member).set_recv_buffer_size(1 << 20).unwrap();
        let mut link = Link::to_stranger(Arc::new(member));
        link.trust();
        let mut next = 1;
        while next <= last {
            match link.read(Some(Instant::now() + PATIENCE)).expect("the next answer") {
                Message::ToHolder(ToHolder::Total { id, .. }) => {
                    assert_eq!(id, next);
                    next += 1;
                }
                Message::Joining(Joining::Welcome { .. })
                | Message::Control(Control::Roster { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

/// Goal: answers are kept for one that never reads up to a limit, and then it is cut off.
#[test]
fn who_asks_and_never_reads_is_cut_off() {
    let (server, ours, _member) = server_with_a_member();
    with_announcer(&server, || {
        let mut answers = Vec::new();
        put_frame(&ToHolder::Total { id: 0, units: 0 }.into(), &mut answers);
        // What the kernel keeps is less than a megabyte, with buffers this small.
        let enough = (MAX_UNSENT + (1 << 20)) / answers.len();
        let is_cut_off = |_: &usize| has_input(&ours);
        let asked = (0..enough).inspect(|&id| ask(&server, id as u64)).find(is_cut_off);
        assert!(asked.is_some(), "not after {enough} questions");
        assert_eq!(server.inner.lock().subscribers[&Listener::Member(MEMBER)].outbox.len(), 0);
    });
}

const PATIENCE: Duration = Duration::from_secs(20);
