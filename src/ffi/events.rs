//! `pares_events_*`: what happens to an instance, waited for or polled.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::given::{Handle, Slot};
use super::instance::Member;
use super::number::{CEnum, word};
use super::parcel::Parcel;
use super::subscription::{self, Subscription};
use crate::event::{Event, EventKind};

/// `pares_events`.
pub(crate) type Events = Subscription<Event>;

/// `pares_event`, in the layout of `pares.h`.
#[repr(C)]
pub(super) struct CEvent {
    pub(super) kind: c_int,
    pub(super) cause: c_int,
    pub(super) monotonic_ns: u64,
    pub(super) term: u64,
    pub(super) members: u64,
    pub(super) permit: u64,
    pub(super) units: u64,
    pub(super) in_use: u64,
    pub(super) limit: u64,
    pub(super) missed: u64,
    pub(super) name: *const c_char,
    pub(super) resource: *const c_char,
    pub(super) key: *const c_char,
    pub(super) value: *const c_char,
    pub(super) value_bytes: usize,
    pub(super) topic: *const c_char,
    pub(super) payload: *const c_void,
    pub(super) payload_bytes: usize,
    pub(super) text: *const c_char,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_event_kind_name(kind: c_int) -> *const c_char {
    word::<EventKind>(kind, c"unknown event")
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_events_open(
    instance: Handle<Member>,
    events_out: Slot<Handle<Events>>,
) -> c_int {
    subscription::open(|| Ok(instance.get("instance")?.instance.events()), events_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_events_next(
    events: Handle<Events>,
    timeout_ms: u64,
    event_out: Slot<*const CEvent>,
) -> c_int {
    subscription::next(events, timeout_ms, event_out, hand_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_events_descriptor(
    events: Handle<Events>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    subscription::descriptor(events, descriptor_out)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_events_close(events: Handle<Events>) -> c_int {
    subscription::close(events)
}

/// An event as C reads it.
fn hand_out(event: &Event) -> *const CEvent {
    let mut parcel = Parcel::default();
    let mut c_event = CEvent {
        kind: event.kind.number(),
        cause: 0,
        monotonic_ns: event.monotonic_ns,
        term: 0,
        members: 0,
        permit: 0,
        units: 0,
        in_use: 0,
        limit: 0,
        missed: 0,
        name: ptr::null(),
        resource: ptr::null(),
        key: ptr::null(),
        value: ptr::null(),
        value_bytes: 0,
        topic: ptr::null(),
        payload: ptr::null(),
        payload_bytes: 0,
        text: ptr::null(),
    };
    let c = &mut c_event;
    match &event.kind {
        EventKind::Supervisor { term } => c.term = *term,
        EventKind::Subordinate { term, supervisor } => {
            (c.term, c.name) = (*term, parcel.text(supervisor));
        }
        EventKind::Contending { cause } => {
            (c.cause, c.text) = (cause.number(), parcel.text(&cause.to_string()));
        }
        EventKind::Settled { term, members } => (c.term, c.members) = (*term, u64::from(*members)),
        EventKind::PermitLost { permit, resource, units } => {
            (c.permit, c.resource, c.units) = (*permit, parcel.text(resource), *units);
        }
        EventKind::OverLimit { resource, in_use, limit } => {
            (c.resource, c.in_use, c.limit) = (parcel.text(resource), *in_use, *limit);
        }
        EventKind::Setting { key, value } => {
            c.key = parcel.text(key);
            if let Some(value) = value {
                (c.value, c.value_bytes) =
                    (parcel.bytes(value.clone().into_bytes()).cast(), value.len());
            }
        }
        EventKind::Message { from, topic, payload } => {
            (c.name, c.topic) = (parcel.text(from), parcel.text(topic));
            (c.payload, c.payload_bytes) = (parcel.bytes(payload.to_vec()), payload.len());
        }
        EventKind::StopAsked => {}
        EventKind::Stopped => {}
        EventKind::Missed { events } => c.missed = *events,
        EventKind::Stalled { name, cause } => {
            c.name = parcel.text(name);
            (c.cause, c.text) = (cause.number(), parcel.text(cause.as_str()));
        }
        EventKind::Resumed { name } => c.name = parcel.text(name),
        EventKind::ListenerRevived { address } => c.text = parcel.text(address),
    }
    parcel.hand_out(c_event)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::sync::Arc;

    use super::super::table::take_back;
    use super::*;
    use crate::event::{ContendingCause, StallCause};

    #[track_caller]
    fn check(kind: EventKind, number: c_int, more: impl FnOnce(&CEvent)) {
        let c_event = hand_out(&Event { monotonic_ns: 5, kind });
        // SAFETY: it lives until it is given back.
        let read = unsafe { &*c_event };
        assert_eq!((read.kind, read.monotonic_ns), (number, 5));
        more(read);
        take_back(c_event.addr()).unwrap();
    }

    fn text<'a>(text: *const c_char) -> &'a str {
        // SAFETY: these tests read the texts of an event that has not been given back.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap()
    }

    #[test]
    fn every_kind_of_event_says_what_it_has_to_say() {
        check(EventKind::Supervisor { term: 3 }, 1, |it| assert_eq!(it.term, 3));
        check(EventKind::Subordinate { term: 3, supervisor: "one".into() }, 2, |it| {
            assert_eq!(text(it.name), "one")
        });
        let obstructed = ContendingCause::Obstructed {
            finding: "the port is held".into(),
            remedy: "choose another".into(),
            settings: &["port"],
        };
        check(EventKind::Contending { cause: obstructed }, 3, |it| {
            assert_eq!(
                (it.cause, text(it.text)),
                (5, "the port is held; choose another (Config::port)")
            );
        });
        check(EventKind::Settled { term: 3, members: 2 }, 4, |it| {
            assert_eq!((it.term, it.members), (3, 2))
        });
        check(EventKind::PermitLost { permit: 9, resource: "r".into(), units: 2 }, 5, |it| {
            assert_eq!((it.permit, it.units, text(it.resource)), (9, 2, "r"));
        });
        check(EventKind::OverLimit { resource: "r".into(), in_use: 4, limit: 3 }, 6, |it| {
            assert_eq!((it.in_use, it.limit, text(it.resource)), (4, 3, "r"));
        });
        check(EventKind::Setting { key: "k".into(), value: Some("a\0b".into()) }, 7, |it| {
            assert_eq!((text(it.key), text(it.value), it.value_bytes), ("k", "a", 3));
        });
        check(EventKind::Setting { key: "k".into(), value: None }, 7, |it| {
            assert!(it.value.is_null())
        });
        let message = EventKind::Message {
            from: "one".into(),
            topic: "t".into(),
            payload: Arc::from(&b"hi"[..]),
        };
        check(message, 8, |it| {
            assert_eq!(
                (text(it.name), text(it.topic), text(it.payload.cast())),
                ("one", "t", "hi")
            );
            assert_eq!(it.payload_bytes, 2);
        });
        check(EventKind::StopAsked, 9, |_| {});
        check(EventKind::Stopped, 10, |_| {});
        check(EventKind::Missed { events: 6 }, 11, |it| assert_eq!(it.missed, 6));
        let stalled = EventKind::Stalled { name: "one".into(), cause: StallCause::NoProgress };
        check(stalled, 12, |it| {
            assert_eq!((text(it.name), it.cause, text(it.text)), ("one", 5, "no-progress"))
        });
        check(EventKind::Resumed { name: "one".into() }, 13, |it| assert_eq!(text(it.name), "one"));
        let revived = EventKind::ListenerRevived { address: "[::1]:80".into() };
        check(revived, 14, |it| assert_eq!(text(it.text), "[::1]:80"));
    }
}
