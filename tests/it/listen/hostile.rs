//! Hostile ends at the desk: strangers, and members who lie. Each is cut off, and nobody else
//! notices.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{How, Site, USUAL, served_by};
use crate::raw::{ASK, Body, Group, JOIN, Meeting, Peer, kind, nonce, proof, refusal};
use crate::support::GROUP;

/// The purpose of a connection to the desk.
const ACCEPT: u8 = 4;

/// The kinds of messages there, and of the question where it is.
const DESK_QUERY: u8 = 41;
const DESK_ANSWER: u8 = 43;
const LISTENS: u8 = 80;
const SHOW: u8 = 81;
const SHOWN: u8 = 82;
const NOT_SHOWN: u8 = 83;
const GIVEN: u8 = 84;
const TURNS: u8 = 85;
const TOOK: u8 = 86;
const DRAINED: u8 = 87;

/// A group whose supervisor has a desk, and one instance that accepts.
struct Target {
    site: Site,
    group: Group,
    desk: SocketAddr,
}

impl Target {
    fn start() -> (Self, crate::actors::Actor) {
        let site = Site::new();
        let honest = site.acceptor("honest", How { threads: 4, ..USUAL });
        let key = fs::read(site.ground.directory.join(format!("{GROUP}.key"))).unwrap();
        let key = key.try_into().expect("32 bytes");
        let group = Group { name: GROUP.into(), key, narrow: false };
        let registry = site.ground.admin().status().unwrap().registry_port;
        let answer = group.enter(registry, ASK, Body::of(DESK_QUERY)).frame().unwrap();
        assert_eq!((answer[0], answer.len()), (DESK_ANSWER, 17));
        let digits: String = answer[1..].iter().map(|byte| format!("{byte:02x}")).collect();
        let desk = SocketAddr::from_abstract_name(format!("pares.{digits}")).unwrap();
        (Target { site, group, desk }, honest)
    }

    fn connect(&self) -> Peer {
        let stream = UnixStream::connect_addr(&self.desk).expect("a desk");
        Peer::on(TcpStream::from(OwnedFd::from(stream)))
    }

    fn meeting(&self, purpose: u8) -> Meeting {
        Meeting::new(purpose, &self.group, self.site.ground.port)
    }

    /// Goes through the handshake, with `first` as the first request.
    fn enter(&self, first: Body) -> Peer {
        let (mut peer, mut meeting) = (self.connect(), self.meeting(ACCEPT));
        peer.send(&meeting.opening().frame());
        let challenge = peer.frame().expect("a challenge");
        crate::raw::take_challenge(&challenge, &mut meeting);
        self.group.prove(&mut peer, &meeting, first);
        peer
    }

    /// Listens at `address` as an honest instance does.
    fn listens(&self, address: &str) -> Body {
        Body::of(LISTENS).text(address).text("liar").u16(1).u8(1).u32(16).u64(0)
    }

    fn here(&self) -> String {
        self.site.address.to_string()
    }

    /// One that has been given the listener.
    fn given(&self) -> Peer {
        let mut peer = self.enter(self.listens(&self.here()));
        assert_eq!(peer.frame().expect("the listener")[0], GIVEN);
        peer
    }

    /// Has the desk read what acceptors have said, which it does only when that matters.
    fn read_all(&self) {
        self.site.listener();
    }

    /// Nobody has noticed.
    #[track_caller]
    fn serves(&self) {
        assert_eq!(self.site.visit(), "honest");
        self.site.await_acceptors(1);
        assert_eq!(self.site.listener().acceptors[0].name, "honest");
    }
}

fn took(spent: u64, ready: u32) -> Body {
    Body::of(TOOK).u64(spent).u32(ready).u32(0).u64(spent)
}

/// Sends a message with a descriptor.
fn send_with(peer: &Peer, body: Body, descriptor: BorrowedFd<'_>) {
    let descriptors = [descriptor];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let frame = body.frame();
    let bytes = [std::io::IoSlice::new(&frame)];
    sendmsg(peer.stream.as_fd(), &bytes, &mut control, SendFlags::NOSIGNAL).expect("sent");
}

#[test]
fn who_does_not_have_the_key_learns_nothing_at_the_desk() {
    let (target, _honest) = Target::start();
    let (mut peer, mut meeting) = (target.connect(), target.meeting(ACCEPT));
    peer.send(&meeting.opening().frame());
    crate::raw::take_challenge(&peer.frame().expect("a challenge"), &mut meeting);
    let wrong = proof(meeting.proof(&nonce(), crate::raw::CLIENT)).frame();
    peer.send(&[wrong, target.listens(&target.here()).frame()].concat());
    let rest = peer.rest();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0][..2], [kind::REJECTED, refusal::KEY]);
    target.serves();
}

#[test]
fn each_port_serves_its_own_purpose() {
    let (target, _honest) = Target::start();
    let mut peer = target.connect();
    peer.send(&target.meeting(JOIN).opening().frame());
    assert_eq!(peer.rest()[0][..2], [kind::REJECTED, refusal::MALFORMED]);
    let mut peer = Peer::connect(target.site.ground.port);
    peer.send(&target.meeting(ACCEPT).opening().frame());
    assert_eq!(peer.rest()[0][..2], [kind::REJECTED, refusal::MALFORMED]);
    target.serves();
}

#[test]
fn silent_and_half_open_connections_delay_nobody() {
    let (target, _honest) = Target::start();
    let _silent: Vec<Peer> = (0..50).map(|_| target.connect()).collect();
    let mut halves: Vec<Peer> = (0..20).map(|_| target.connect()).collect();
    halves.iter_mut().for_each(|peer| _ = peer.send(&target.meeting(ACCEPT).opening().frame()));
    let newcomer = target.site.acceptor("newcomer", USUAL);
    newcomer.process.kill();
    target.serves();
}

#[test]
fn whatever_has_no_place_at_the_desk_ends_its_sender() {
    let (target, _honest) = Target::start();
    let here = target.here();
    let listens = |address: &str, name: &str, weight: u16, capacity: u32| {
        Body::of(LISTENS).text(address).text(name).u16(weight).u8(1).u32(capacity).u64(0)
    };
    let firsts = [
        took(0, 1),
        Body::of(SHOWN),
        Body::of(32),
        listens("here", "liar", 1, 1),
        listens("127.0.0.1:0", "liar", 1, 1),
        listens(&"1".repeat(200), "liar", 1, 1),
        listens(&here, "li\x1bar", 1, 1),
        listens(&here, "", 1, 1),
        listens(&here, "liar", 0, 1),
        listens(&here, "liar", 1, 0),
        Body::of(LISTENS).text(&here).text("liar").u16(1).u8(9).u32(1).u64(0),
        Body::of(LISTENS),
        Body::of(LISTENS).raw(&[0; 600]),
    ];
    for first in firsts {
        let rest = target.enter(first.clone()).rest();
        let refused = |body: &Vec<u8>| body[0] == kind::REJECTED;
        assert!(rest.iter().all(refused), "{first:?} was answered by {rest:?}");
    }
    // What a desk says, and what only those may say that were asked.
    let later = [
        Body::of(SHOW).u32(0),
        Body::of(TURNS).u64(5),
        Body::of(GIVEN),
        Body::of(SHOWN),
        Body::of(NOT_SHOWN),
        target.listens(&here),
        crate::raw::state(1),
        took(1_000_000, 1),
    ];
    for message in later {
        let mut peer = target.given();
        peer.send(&message.clone().frame());
        target.read_all();
        let rest = peer.rest();
        assert!(rest.iter().all(|body| body[0] == TURNS), "{message:?} was answered by {rest:?}");
    }
    target.serves();
}

#[test]
fn a_report_that_goes_back_ends_its_sender() {
    let (target, _honest) = Target::start();
    let mut peer = target
        .enter(Body::of(LISTENS).text(target.here()).text("liar").u16(1).u8(1).u32(16).u64(3));
    assert_eq!(peer.frame().expect("the listener")[0], GIVEN);
    peer.send(&[took(2, 0).frame(), took(1, 0).frame()].concat());
    target.read_all();
    assert!(peer.rest().iter().all(|body| body[0] == TURNS));
    target.serves();
}

/// Goal: nobody is given what is no listener of this address.
/// Method: a newcomer at another address shows nothing, a file, and a listener of another port.
#[test]
fn what_is_no_listener_of_its_address_is_given_to_nobody() {
    let (target, _honest) = Target::start();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap().to_string();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for wrong in [None, Some(file.as_fd()), Some(elsewhere.as_fd())] {
        let mut peer = target.enter(target.listens(&address));
        assert_eq!(peer.frame().expect("it is asked")[0], SHOW);
        match wrong {
            None => _ = peer.send(&Body::of(SHOWN).frame()),
            Some(wrong) => send_with(&peer, Body::of(SHOWN), wrong),
        }
        assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
    }
    // The right one is taken.
    let mut peer = target.enter(target.listens(&address));
    assert_eq!(peer.frame().expect("it is asked")[0], SHOW);
    send_with(&peer, Body::of(SHOWN), own.as_fd());
    assert_eq!(peer.frame().expect("it is shared")[0], GIVEN);
    target.serves();
}

/// Goal: one that is asked to show a listener and never does keeps nobody else from it.
#[test]
fn who_is_asked_for_a_listener_and_stays_silent_holds_up_others_for_a_moment_only() {
    let (mut target, _honest) = Target::start();
    target.site.address.set_port(crate::raw::free_port());
    let mut silent = target.enter(target.listens(&target.here()));
    assert_eq!(silent.frame().expect("it is asked")[0], SHOW);
    let _other = target.site.acceptor("other", USUAL);
    assert_eq!(served_by(target.site.connect()).as_deref(), Some("other"));
    assert_eq!(silent.frame().expect("it is given what the other has made")[0], GIVEN);
}

/// Goal: one that is drained before it has its listener gets that, and then the word.
#[test]
fn who_is_drained_on_its_way_to_a_listener_is_told_when_it_has_it() {
    let (target, _honest) = Target::start();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let listens =
        Body::of(LISTENS).text(own.local_addr().unwrap().to_string()).text("honest").u16(1);
    let mut peer = target.enter(listens.u8(1).u32(16).u64(0));
    assert_eq!(peer.frame().expect("it is asked")[0], SHOW);
    assert_eq!(target.site.ground.admin().drain("honest").unwrap(), 2);
    send_with(&peer, Body::of(SHOWN), own.as_fd());
    let kinds: Vec<u8> = peer.rest().iter().map(|body| body[0]).collect();
    assert_eq!(kinds, [GIVEN, DRAINED]);
}
