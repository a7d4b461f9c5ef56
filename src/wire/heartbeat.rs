//! The datagram of masterless groups: one heartbeat, at most 1,200 bytes, authenticated as a whole.
//!
//! All integers are big-endian. The length must be exactly what the fields say.
//!
//! | at | size | field | |
//! |---:|-----:|-------|---|
//! | 0 | 2 | magic | 0x4D47 |
//! | 2 | 1 | version | 2 |
//! | 3 | 1 | key | which of the receiver's keys the tag was made with |
//! | 4 | 8 | group | the first bytes of SHA-256 of the group's name |
//! | 12 | 8 | session | a random number of this one life of the sender |
//! | 20 | 8 | counter | 1 and more, grows with each datagram of a session |
//! | 28 | 16 | id | `rank: 8 . seq: 32 . tail: 88`: a smaller value has the higher priority |
//! | 44 | 1 | status | 0 joining, 1 standby, 2 to become primary, 3 primary, 4 leaving |
//! | 45 | 1 | flags | 1 request, 2 strong, 4 no pre-emption, 8 can start, 16 eligible |
//! | 46 | 2 | service | the service type |
//! | 48 | 2 | workload | |
//! | 50 | 4 | interval | milliseconds between two heartbeats |
//! | 54 | 8 | epoch | the sender's own epoch if it is primary, otherwise the largest it knows |
//! | 62 | 4 | origin | the nonce of the start that created the sender, otherwise 0 |
//! | 66 | 1 | counts | views (low half) and starts (high half), 4 at most of each |
//! | 67 | 1 | present | 1 directive, 2 handed to |
//! | 68 | 30 each | view | `service: 2, id: 16, epoch: 8, age: 4` (milliseconds): a primary that the sender follows |
//! | | 8 each | start | `service: 2, nonce: 4, load: 1, started: 1`: a process that the sender is about to start |
//! | | 16 | directive | `tail: 11, rank: 1, nonce: 4`: the rank that another must take |
//! | | 11 | handed to | the tail of the successor that a primary named |
//! | | 1 to 33 | label | its length, at most 32, and its UTF-8, which is safe to print |
//! | end | 16 | tag | HMAC-SHA256 of all before it under the group's key, its first 16 bytes |
//!
//! The [`seal`](super::seal) checks the tag before it reads any field but the length, the magic,
//! the version, the group and the key's number.

use super::DecodeError;
use super::field::{Field, Reader, byte_enum, record};
use super::label::Label;
use super::peer_id::{PeerId, Tail};
use super::values::name_bytes;

/// The most bytes of one datagram, which must pass every network in one piece.
pub(crate) const MAX_DATAGRAM: usize = 1200;

/// The most views, and the most starts, in one heartbeat.
pub(crate) const MAX_LISTED: usize = 4;

/// Numbers that grow stay below this. Adding to a number from a hostile member then does not
/// overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// The longest age that a view may tell, in milliseconds: 24 days.
pub(crate) const MAX_AGE: u32 = 1 << 31;

byte_enum! {
    /// The status of a process in its group.
    #[non_exhaustive]
    pub enum Status {
        /// The process listens, and is not admitted yet.
        0 Joining,
        /// The process is admitted, and may become primary.
        1 Standby,
        /// The process is about to become primary, unless another one objects.
        2 ToBecomePrimary,
        /// The process is primary: it does what only one process may do.
        3 Primary,
        /// The process leaves.
        4 Leaving,
    }
}

name_bytes!(Status: Joining = "joining", Standby = "standby",
    ToBecomePrimary = "to-become-primary", Primary = "primary", Leaving = "leaving");

record! {
    /// The process that this one follows as primary of one service type, and how long ago it heard
    /// that process itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct View {
        pub(crate) service: u16,
        pub(crate) id: PeerId,
        pub(crate) epoch: u64,
        pub(crate) age_ms: u32,
    }
}

record! {
    /// A process of this service type is about to be started, or has been.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Start {
        pub(crate) service: u16,
        pub(crate) nonce: u32,
        pub(crate) load: u8,
        pub(crate) started: bool,
    }
}

record! {
    /// An order to another process to take this rank.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Directive {
        pub(crate) target: Tail,
        pub(crate) rank: u8,
        pub(crate) nonce: u32,
    }
}

/// What a process says with each beat. It is small and of fixed size, so reading one allocates
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) session: u64,
    pub(crate) counter: u64,
    pub(crate) id: PeerId,
    pub(crate) status: Status,
    pub(crate) flags: u8,
    pub(crate) service: u16,
    pub(crate) workload: u16,
    pub(crate) interval_ms: u32,
    pub(crate) epoch: u64,
    pub(crate) origin: u32,
    pub(crate) views: Few<View>,
    pub(crate) starts: Few<Start>,
    pub(crate) directive: Option<Directive>,
    pub(crate) handed_to: Option<Tail>,
    pub(crate) label: Label,
}

impl Heartbeat {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.session.put(out);
        self.counter.put(out);
        self.id.put(out);
        self.status.put(out);
        self.flags.put(out);
        self.service.put(out);
        self.workload.put(out);
        self.interval_ms.put(out);
        self.epoch.put(out);
        self.origin.put(out);
        out.push((self.starts.len() << 4 | self.views.len()) as u8);
        out.push(u8::from(self.directive.is_some()) | u8::from(self.handed_to.is_some()) << 1);
        self.views.iter().for_each(|view| view.put(out));
        self.starts.iter().for_each(|start| start.put(out));
        self.directive.iter().for_each(|directive| directive.put(out));
        self.handed_to.iter().for_each(|tail| tail.put(out));
        self.label.put(out);
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut beat = Heartbeat {
            session: Field::take(reader)?,
            counter: number(reader)?,
            id: Field::take(reader)?,
            status: Field::take(reader)?,
            flags: within(
                Field::take(reader)?,
                REQUEST | STRONG | NO_PREEMPTION | CAN_START | ELIGIBLE,
            )?,
            service: Field::take(reader)?,
            workload: Field::take(reader)?,
            interval_ms: Field::take(reader)?,
            epoch: number(reader)?,
            origin: Field::take(reader)?,
            views: Few::default(),
            starts: Few::default(),
            directive: None,
            handed_to: None,
            label: Label::EMPTY,
        };
        let counts = u8::take(reader)?;
        let present = within(u8::take(reader)?, 3)?;
        beat.views = Few::take(reader, counts & 0x0f)?;
        beat.starts = Few::take(reader, counts >> 4)?;
        if beat.views.iter().any(|view| view.epoch >= MAX_NUMBER || view.age_ms > MAX_AGE) {
            return Err(DecodeError::BadValue("view"));
        }
        if present & 1 != 0 {
            beat.directive = Some(Field::take(reader)?);
        }
        if present & 2 != 0 {
            beat.handed_to = Some(Field::take(reader)?);
        }
        beat.label = Field::take(reader)?;
        Ok(beat)
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    u64::take(reader).and_then(|number| {
        if number < MAX_NUMBER { Ok(number) } else { Err(DecodeError::BadValue("number")) }
    })
}

/// A bit without a meaning today may get one: a sender that sets it now is not understood.
fn within(bits: u8, known: u8) -> Result<u8, DecodeError> {
    if bits & !known == 0 { Ok(bits) } else { Err(DecodeError::BadValue("flags")) }
}

/// At most [`MAX_LISTED`] of something, from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Few<T>([Option<T>; MAX_LISTED]);

impl<T: Copy> Default for Few<T> {
    fn default() -> Self {
        Few([None; MAX_LISTED])
    }
}

impl<T: Copy> Few<T> {
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// Adds one; returns false if there is no room.
    pub(crate) fn push(&mut self, item: T) -> bool {
        let room = self.0.iter_mut().find(|room| room.is_none());
        room.map(|room| *room = Some(item)).is_some()
    }

    fn take(reader: &mut Reader<'_>, count: u8) -> Result<Self, DecodeError>
    where
        T: Field,
    {
        let mut few = Few::default();
        for _ in 0..count {
            if !few.push(T::take(reader)?) {
                return Err(DecodeError::BadValue("count"));
            }
        }
        Ok(few)
    }
}

/// Every process that hears this must send a heartbeat soon.
pub(crate) const REQUEST: u8 = 1;
/// The sender is sure to be in the larger part of a divided group.
pub(crate) const STRONG: u8 = 2;
/// The sender, as primary, must not be relieved by a better process.
pub(crate) const NO_PREEMPTION: u8 = 4;
/// The sender can start processes.
pub(crate) const CAN_START: u8 = 8;
/// The sender may become primary at this moment.
pub(crate) const ELIGIBLE: u8 = 16;
