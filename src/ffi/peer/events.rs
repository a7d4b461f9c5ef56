//! `pares_peer_events_*`: what happens to a peer, waited for or polled.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::{CIdentifier, CToken, put_id, put_token, status_number};
use crate::event::masterless::{Event, EventKind, LeftCause, RoleCause, SuspicionCause};
use crate::ffi::given::{Handle, Slot};
use crate::ffi::parcel::Parcel;
use crate::ffi::result::guarded;
use crate::ffi::subscription::Subscription;
use crate::ffi::table::table;
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

/// The numbers of `pares_peer_event_kind`, with their names.
pub(in crate::ffi) const PEER_KINDS: [(c_int, &CStr); 12] = [
    (1, c"role"),
    (2, c"prepare-handover"),
    (3, c"epoch-bump"),
    (4, c"joined"),
    (5, c"left"),
    (6, c"suspected"),
    (7, c"spawn"),
    (8, c"paused"),
    (9, c"missed"),
    (10, c"stopped"),
    (11, c"cannot-send"),
    (12, c"sends-again"),
];

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_event_kind_name(kind: c_int) -> *const c_char {
    PEER_KINDS
        .iter()
        .find(|(number, _)| *number == kind)
        .map_or(c"unknown event", |(_, name)| *name)
        .as_ptr()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_open(
    peer: Handle<Peer>,
    events_out: Slot<Handle<PeerEvents>>,
) -> c_int {
    guarded(|| {
        let events_out = events_out.open("events_out")?;
        let events = PeerEvents::new(peer.get("peer")?.events());
        events_out.set(Handle::of(table().add(events)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_next(
    events: Handle<PeerEvents>,
    timeout_ms: u64,
    event_out: Slot<*const CPeerEvent>,
) -> c_int {
    guarded(|| {
        let event_out = event_out.open("event_out")?;
        let event = events.get("events")?.next(timeout_ms)?;
        event_out.set(hand_out(&event));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_descriptor(
    events: Handle<PeerEvents>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let descriptor_out = descriptor_out.open("descriptor_out")?;
        descriptor_out.set(events.get("events")?.descriptor()?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_events_close(events: Handle<PeerEvents>) -> c_int {
    guarded(|| {
        if let Some(events) = events.take()? {
            events.close();
        }
        Ok(())
    })
}

/// An event as C reads it.
fn hand_out(event: &Event) -> *const CPeerEvent {
    let mut parcel = Parcel::default();
    let mut c_event = CPeerEvent {
        kind: 0,
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
            (c.kind, c.from, c.to) = (1, status_number(*from), status_number(*to));
            if let Some(token) = token {
                c.token = put_token(&mut parcel, *token);
            }
            (c.cause, c.text) = (role_cause_number(*cause), parcel.text(&cause.to_string()));
        }
        EventKind::PrepareHandover { to, label, within_ms } => {
            c.label = parcel.text(label.as_str());
            (c.kind, c.id, c.within_ms) = (2, put_id(&mut parcel, *to), *within_ms);
        }
        EventKind::EpochBump { token } => (c.kind, c.token) = (3, put_token(&mut parcel, *token)),
        EventKind::Joined { id, label, service } => {
            c.label = parcel.text(label.as_str());
            (c.kind, c.id, c.service) = (4, put_id(&mut parcel, *id), u32::from(*service));
        }
        EventKind::Left { id, label, service, cause } => {
            c.label = parcel.text(label.as_str());
            (c.kind, c.id, c.service) = (5, put_id(&mut parcel, *id), u32::from(*service));
            (c.cause, c.text) = (left_cause_number(*cause), parcel.text(&cause.to_string()));
        }
        EventKind::Suspected { id, label, service, cause } => {
            c.label = parcel.text(label.as_str());
            (c.kind, c.id, c.service) = (6, put_id(&mut parcel, *id), u32::from(*service));
            (c.cause, c.text) = (suspicion_cause_number(*cause), parcel.text(&cause.to_string()));
        }
        EventKind::Spawn { service, nonce } => {
            (c.kind, c.service, c.origin) = (7, u32::from(*service), *nonce)
        }
        EventKind::Paused { for_ms } => (c.kind, c.for_ms) = (8, *for_ms),
        EventKind::Missed { events } => (c.kind, c.missed) = (9, *events),
        EventKind::Stopped => c.kind = 10,
        EventKind::CannotSend { errno } => {
            let why = std::io::Error::from_raw_os_error(*errno).to_string();
            (c.kind, c.cause, c.text) = (11, *errno, parcel.text(&why));
        }
        EventKind::SendsAgain { after_ms } => (c.kind, c.for_ms) = (12, *after_ms),
    }
    parcel.hand_out(c_event)
}

/// The numbers of `pares_role_cause`.
pub(in crate::ffi) fn role_cause_number(cause: RoleCause) -> c_int {
    match cause {
        RoleCause::Started => 1,
        RoleCause::Admitted => 2,
        RoleCause::Vacant => 3,
        RoleCause::Failover => 4,
        RoleCause::Preempt => 5,
        RoleCause::Unopposed => 6,
        RoleCause::Named => 7,
        RoleCause::Outranked => 8,
        RoleCause::Refuted => 9,
        RoleCause::Unyielding => 10,
        RoleCause::Barred => 11,
        RoleCause::HandedOver => 12,
        RoleCause::Overdue => 13,
        RoleCause::Superseded => 14,
        RoleCause::Unheard => 15,
        RoleCause::Paused => 16,
        RoleCause::NoQuorum => 17,
        RoleCause::Collision => 18,
        RoleCause::Surplus => 19,
        RoleCause::Left => 20,
        RoleCause::CannotSend => 21,
    }
}

/// The numbers of `pares_suspicion_cause`.
pub(in crate::ffi) fn suspicion_cause_number(cause: SuspicionCause) -> c_int {
    match cause {
        SuspicionCause::Silent => 1,
        SuspicionCause::Ended => 2,
    }
}

/// The numbers of `pares_peer_left_cause`.
pub(in crate::ffi) fn left_cause_number(cause: LeftCause) -> c_int {
    match cause {
        LeftCause::Left => 1,
        LeftCause::Died => 2,
        LeftCause::Forgotten => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::masterless::Token;
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
