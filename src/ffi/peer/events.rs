//! `pares_peer_events_*`: what happens to a peer, waited for or polled.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::{CIdentifier, CToken, put_id, put_token};
use crate::event::masterless::{Event, EventKind};
use crate::ffi::given::{Handle, Slot};
use crate::ffi::number::{CEnum, word};
use crate::ffi::parcel::Parcel;
use crate::ffi::subscription::{self, Subscription};
use crate::masterless::Peer;

/// `pares_peer_events`.
pub(crate) type PeerEvents = Subscription<Event>;

/// `pares_peer_event`, in the layout of `pares_peer.h`.
#[repr(C)]
pub(in crate::ffi) struct CPeerEvent {
    pub(in crate::ffi) kind: c_int,
    pub(in crate::ffi) cause: c_int,
    pub(in crate::ffi) monotonic_ns: u64,
    pub(in crate::ffi) from: c_int,
    pub(in crate::ffi) to: c_int,
    pub(in crate::ffi) token: *const CToken,
    pub(in crate::ffi) id: *const CIdentifier,
    pub(in crate::ffi) service: u32,
    pub(in crate::ffi) origin: u32,
    pub(in crate::ffi) within_ms: u64,
    pub(in crate::ffi) for_ms: u64,
    pub(in crate::ffi) missed: u64,
    pub(in crate::ffi) text: *const c_char,
    pub(in crate::ffi) label: *const c_char,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_event_kind_name(kind: c_int) -> *const c_char {
    word::<EventKind>(kind, c"unknown event")
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_open(
    peer: Handle<Peer>,
    events_out: Slot<Handle<PeerEvents>>,
) -> c_int {
    subscription::open(|| Ok(peer.get("peer")?.events()), events_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_next(
    events: Handle<PeerEvents>,
    timeout_ms: u64,
    event_out: Slot<*const CPeerEvent>,
) -> c_int {
    subscription::next(events, timeout_ms, event_out, hand_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_descriptor(
    events: Handle<PeerEvents>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    subscription::descriptor(events, descriptor_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_close(events: Handle<PeerEvents>) -> c_int {
    subscription::close(events)
}

/// An event as C reads it.
fn hand_out(event: &Event) -> *const CPeerEvent {
    let mut parcel = Parcel::default();
    let mut c_event = CPeerEvent {
        kind: event.kind.number(),
        cause: 0,
        monotonic_ns: event.monotonic_ns,
        from: 0,
        to: 0,
        token: ptr::null(),
        id: ptr::null(),
        service: 0,
        origin: 0,
        within_ms: 0,
        for_ms: 0,
        missed: 0,
        text: ptr::null(),
        label: ptr::null(),
    };
    let c = &mut c_event;
    match &event.kind {
        EventKind::Role { from, to, token, cause } => {
            (c.from, c.to) = (from.number(), to.number());
            if let Some(token) = token {
                c.token = put_token(&mut parcel, *token);
            }
            (c.cause, c.text) = (cause.number(), parcel.text(&cause.to_string()));
        }
        EventKind::PrepareHandover { to, label, within_ms } => {
            c.label = parcel.text(label.as_str());
            (c.id, c.within_ms) = (put_id(&mut parcel, *to), *within_ms);
        }
        EventKind::EpochBump { token } => c.token = put_token(&mut parcel, *token),
        EventKind::Joined { id, label, service } => {
            c.label = parcel.text(label.as_str());
            (c.id, c.service) = (put_id(&mut parcel, *id), u32::from(*service));
        }
        EventKind::Left { id, label, service, cause } => {
            c.label = parcel.text(label.as_str());
            (c.id, c.service) = (put_id(&mut parcel, *id), u32::from(*service));
            (c.cause, c.text) = (cause.number(), parcel.text(&cause.to_string()));
        }
        EventKind::Suspected { id, label, service, cause } => {
            c.label = parcel.text(label.as_str());
            (c.id, c.service) = (put_id(&mut parcel, *id), u32::from(*service));
            (c.cause, c.text) = (cause.number(), parcel.text(&cause.to_string()));
        }
        EventKind::Spawn { service, nonce } => {
            (c.service, c.origin) = (u32::from(*service), *nonce)
        }
        EventKind::Paused { for_ms } => c.for_ms = *for_ms,
        EventKind::Missed { events } => c.missed = *events,
        EventKind::Stopped => {}
        EventKind::CannotSend { errno } => {
            let why = std::io::Error::from_raw_os_error(*errno).to_string();
            (c.cause, c.text) = (*errno, parcel.text(&why));
        }
        EventKind::SendsAgain { after_ms } => c.for_ms = *after_ms,
    }
    parcel.hand_out(c_event)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::event::masterless::{LeftCause, RoleCause, SuspicionCause, Token};
    use crate::ffi::table::take_back;
    use crate::wire::heartbeat::Status;
    use crate::wire::{Label, PeerId};

    const TAIL: &str = "0102030405060708090a0b";

    fn id() -> PeerId {
        PeerId::new(128, 7, TAIL.parse().unwrap())
    }

    #[track_caller]
    fn check(kind: EventKind, number: c_int, more: impl FnOnce(&CPeerEvent)) {
        let c_event = hand_out(&Event { monotonic_ns: 5, kind });
        // SAFETY: it lives until it is given back.
        let read = unsafe { &*c_event };
        assert_eq!((read.kind, read.monotonic_ns), (number, 5));
        more(read);
        take_back(c_event.addr()).unwrap();
    }

    fn text(text: *const c_char) -> &'static str {
        // SAFETY: these tests look at it before they give it back.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap()
    }

    #[track_caller]
    fn check_id(read: *const CIdentifier) {
        // SAFETY: as above.
        let read = unsafe { &*read };
        assert_eq!((text(read.tail), read.rank, read.sequence), (TAIL, 128, 7));
        assert_eq!(text(read.text), id().to_string());
    }

    #[test]
    fn each_event_has_its_number_and_its_fields() {
        let (token, label) = (Token { epoch: 3, id: id() }, Label::new("a/b"));
        let role = |token, cause| {
            let (from, to) = (Status::Standby, Status::Primary);
            EventKind::Role { from, to, token, cause }
        };
        check(role(Some(token), RoleCause::Unopposed), 1, |it| {
            assert_eq!((it.from, it.to, it.cause, text(it.text)), (2, 4, 6, "unopposed"));
            // SAFETY: it lives until it is given back, after this.
            let read = unsafe { &*it.token };
            assert_eq!((read.epoch, text(read.fence)), (3, token.fence().as_str()));
            check_id(read.id);
        });
        check(role(None, RoleCause::Barred), 1, |it| {
            assert!(it.token.is_null() && it.id.is_null())
        });
        check(EventKind::PrepareHandover { to: id(), label, within_ms: 400 }, 2, |it| {
            assert_eq!(text(it.label), "a/b");
            assert_eq!(it.within_ms, 400);
            check_id(it.id);
        });
        check(EventKind::EpochBump { token }, 3, |it| assert!(!it.token.is_null()));
        check(EventKind::Joined { id: id(), label, service: 9 }, 4, |it| {
            assert_eq!((it.service, text(it.label)), (9, "a/b"));
            check_id(it.id);
        });
        check(EventKind::Left { id: id(), label, service: 9, cause: LeftCause::Died }, 5, |it| {
            assert_eq!((it.service, it.cause, text(it.text)), (9, 2, "died"));
            assert_eq!(text(it.label), "a/b");
            check_id(it.id);
        });
        check(
            EventKind::Suspected { id: id(), label, service: 9, cause: SuspicionCause::Ended },
            6,
            |it| {
                assert_eq!((it.service, it.cause, text(it.text)), (9, 2, "ended"));
                assert_eq!(text(it.label), "a/b");
                check_id(it.id);
            },
        );
        let spawn = EventKind::Spawn { service: 9, nonce: 11 };
        check(spawn, 7, |it| assert_eq!((it.service, it.origin), (9, 11)));
        check(EventKind::Paused { for_ms: 900 }, 8, |it| assert_eq!(it.for_ms, 900));
        check(EventKind::Missed { events: 6 }, 9, |it| assert_eq!(it.missed, 6));
        check(EventKind::Stopped, 10, |it| assert!(it.text.is_null()));
        check(EventKind::CannotSend { errno: libc::EPERM }, 11, |it| {
            assert_eq!(it.cause, libc::EPERM);
            assert!(text(it.text).starts_with("Operation not permitted"), "{}", text(it.text));
        });
        check(EventKind::SendsAgain { after_ms: 700 }, 12, |it| assert_eq!(it.for_ms, 700));
    }
}
