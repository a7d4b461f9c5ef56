//! The datagram of masterless groups: one heartbeat, at most 1,200 bytes, authenticated as a whole.
//!
//! All integers are big-endian. The length has to be exactly what the fields say.
//!
//! | at | size | field | |
//! |---:|-----:|-------|---|
//! | 0 | 2 | magic | 0x4D47 |
//! | 2 | 1 | version | 1 |
//! | 3 | 1 | key | which of the receiver's keys the tag was made with |
//! | 4 | 8 | group | the first bytes of SHA-256 of the group's name |
//! | 12 | 8 | session | a random number of this one life of the sender |
//! | 20 | 8 | counter | 1 and more, grows with each datagram of a session |
//! | 28 | 16 | id | `rank: 8 . seq: 32 . tail: 88`: who is smaller has the higher priority |
//! | 44 | 1 | status | 0 joining, 1 standby, 2 to become primary, 3 primary, 4 leaving |
//! | 45 | 1 | flags | 1 request, 2 strong, 4 no pre-emption, 8 can start, 16 eligible |
//! | 46 | 2 | service | the service type |
//! | 48 | 2 | workload | |
//! | 50 | 4 | interval | milliseconds between two heartbeats |
//! | 54 | 8 | epoch | the sender's own term if it is primary, else the highest it knows |
//! | 62 | 4 | origin | the nonce of the start that the sender was started for, else 0 |
//! | 66 | 1 | counts | views (low half) and starts (high half), 4 at most of each |
//! | 67 | 1 | present | 1 directive, 2 handed to |
//! | 68 | 30 each | view | `service: 2, id: 16, epoch: 8, age: 4` (milliseconds): whom the sender follows |
//! | | 8 each | start | `service: 2, nonce: 4, load: 1, started: 1`: whom the sender is about to start |
//! | | 16 | directive | `tail: 11, rank: 1, nonce: 4`: the rank that another is to have |
//! | | 11 | handed to | the tail of the successor that a primary named |
//! | end | 16 | tag | HMAC-SHA256 of all before it under the group's key, its first 16 bytes |
//!
//! The tag is checked before any field but the length, the magic, the version, the group and the
//! key's number is looked at.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::DecodeError;
use super::field::{Field, Reader, byte_enum, record};
use super::proof::Key;
use crate::error::ConfigError;

/// The most that one datagram may hold: it shall pass every network in one piece.
pub(crate) const MAX_DATAGRAM: usize = 1200;

/// The most views, and the most starts, in one heartbeat.
pub(crate) const MAX_LISTED: usize = 4;

const MAGIC: u16 = 0x4d47;
const VERSION: u8 = 1;
const TAG: usize = 16;

/// Numbers that grow stay below this, so that adding to one that a hostile member has sent does not
/// overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// The longest age that a view may tell, in milliseconds: 24 days.
pub(crate) const MAX_AGE: u32 = 1 << 31;

byte_enum! {
    /// What a process is in its group.
    pub enum PeerStatus {
        /// It listens, and is not admitted yet.
        0 Joining,
        /// It is ready to become primary, if it is to be.
        1 Standby,
        /// It is about to become primary, unless somebody objects.
        2 ToBecomePrimary,
        /// It does what only one does.
        3 Primary,
        /// It leaves.
        4 Leaving,
    }
}

/// Who one process is: unique by its tail, ordered by its value. Who is smaller has the higher
/// priority.
///
/// It has three parts: the rank, which is configured and can be changed; the sequence, which grows
/// with each process that is admitted, so that of equal ranks the oldest has priority; and the
/// random tail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u128);

/// The random part of a [`PeerId`], by which a process is known whatever its priority becomes. Its
/// text is 22 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tail(pub(crate) [u8; 11]);

/// The sequence of one that is not admitted yet.
pub(crate) const UNADMITTED: u32 = u32::MAX;

impl PeerId {
    pub(crate) fn new(rank: u8, sequence: u32, Tail(tail): Tail) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = rank;
        bytes[1..5].copy_from_slice(&sequence.to_be_bytes());
        bytes[5..].copy_from_slice(&tail);
        PeerId(u128::from_be_bytes(bytes))
    }

    /// Its rank: 0 to 254, who is smaller has the higher priority; with 255 it never becomes
    /// primary.
    #[must_use]
    pub fn rank(self) -> u8 {
        (self.0 >> 120) as u8
    }

    /// The how-manieth to be admitted it was; `u32::MAX` before that.
    #[must_use]
    pub fn sequence(self) -> u32 {
        (self.0 >> 88) as u32
    }

    /// The part that never changes.
    #[must_use]
    pub fn tail(self) -> Tail {
        let mut tail = [0; 11];
        tail.copy_from_slice(&self.0.to_be_bytes()[5..]);
        Tail(tail)
    }

    /// The whole as a number: comparing two numbers compares priorities.
    #[must_use]
    pub fn value(self) -> u128 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:08x}.{}", self.rank(), self.sequence(), self.tail())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Tail {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let digits =
            || text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or("-"));
        let mut tail = [0; 11];
        let plain = text.len() == 22 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let read = |(byte, pair): (&mut u8, &str)| {
            u8::from_str_radix(pair, 16).map(|value| *byte = value).is_ok()
        };
        if plain && tail.iter_mut().zip(digits()).all(read) {
            return Ok(Tail(tail));
        }
        Err(ConfigError::new("peer", text, "22 hexadecimal digits, as `pares peer ls` shows them"))
    }
}

impl Field for PeerId {
    const LEAST: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.to_be_bytes().put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(PeerId(u128::from_be_bytes(Field::take(reader)?)))
    }
}

impl Field for Tail {
    const LEAST: usize = 11;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Field::take(reader).map(Tail)
    }
}

record! {
    /// Whom a process follows as primary of one service type, and how long ago it heard that one
    /// itself.
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
    /// Another process is to have this rank.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Directive {
        pub(crate) target: Tail,
        pub(crate) rank: u8,
        pub(crate) nonce: u32,
    }
}

/// What a process says with each beat. Small and of fixed size, so that reading one allocates
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) session: u64,
    pub(crate) counter: u64,
    pub(crate) id: PeerId,
    pub(crate) status: PeerStatus,
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
}

impl Heartbeat {
    fn put(&self, out: &mut Vec<u8>) {
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
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
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
        Ok(beat)
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    u64::take(reader).and_then(|number| {
        if number < MAX_NUMBER { Ok(number) } else { Err(DecodeError::BadValue("number")) }
    })
}

/// A bit without a meaning today may get one: who sets it now is not understood.
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

    /// Adds one; false if there is no room.
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

/// Everybody who hears this is to send a heartbeat soon.
pub(crate) const REQUEST: u8 = 1;
/// Its sender is sure to be in the larger part of a divided group.
pub(crate) const STRONG: u8 = 2;
/// Its sender as primary is not to be relieved by a better one.
pub(crate) const NO_PREEMPTION: u8 = 4;
/// Its sender can start processes.
pub(crate) const CAN_START: u8 = 8;
/// Its sender may become primary just now.
pub(crate) const ELIGIBLE: u8 = 16;

/// Why a datagram was dropped. What it says has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Foreign {
    /// Not as long as it must be, or not ours from the first byte.
    Shape,
    Version,
    Group,
    Key,
    /// Not made by one who has the key, or changed on its way.
    Tag,
    /// Authentic, and not what the table allows.
    Field,
}

/// What all members of one group have in common.
#[derive(Clone)]
pub(crate) struct Seal {
    group: [u8; 8],
    /// The key to send with, then the one that is also accepted, by their numbers.
    keys: Vec<(u8, Key)>,
}

impl Seal {
    pub(crate) fn new(group: &str, key: (u8, Key), also: Option<(u8, Key)>) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(group.as_bytes())[..8]);
        Seal { group: first, keys: [Some(key), also].into_iter().flatten().collect() }
    }

    /// The datagram of a heartbeat.
    pub(crate) fn close(&self, beat: &Heartbeat) -> Vec<u8> {
        self.sign(|out| beat.put(out))
    }

    /// Any body of a datagram of this group under a right head and tag: what one who has the key
    /// may send.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn close_any(&self, body: &[u8]) -> Vec<u8> {
        self.sign(|out| out.extend_from_slice(body))
    }

    fn sign(&self, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (number, key) = &self.keys[0];
        let mut out = Vec::with_capacity(256);
        MAGIC.put(&mut out);
        out.extend_from_slice(&[VERSION, *number]);
        out.extend_from_slice(&self.group);
        put(&mut out);
        let tag = tag(key, &out);
        out.extend_from_slice(&tag);
        out
    }

    /// What an authentic datagram of this group says.
    pub(crate) fn open(&self, datagram: &[u8]) -> Result<Heartbeat, Foreign> {
        let body = datagram
            .len()
            .checked_sub(TAG)
            .filter(|_| datagram.len() <= MAX_DATAGRAM)
            .ok_or(Foreign::Shape)?;
        let (body, tag) = datagram.split_at(body);
        let mut reader = Reader::new(body);
        let mut head = || Some((u16::take(&mut reader).ok()?, <[u8; 10]>::take(&mut reader).ok()?));
        let (magic, [version, number, group @ ..]) = head().ok_or(Foreign::Shape)?;
        if magic != MAGIC {
            return Err(Foreign::Shape);
        }
        if version != VERSION {
            return Err(Foreign::Version);
        }
        if group != self.group {
            return Err(Foreign::Group);
        }
        // Two keys may have one number: they are numbered by what they are.
        let mut keys = self.keys.iter().filter(|(known, _)| *known == number).peekable();
        if keys.peek().is_none() {
            return Err(Foreign::Key);
        }
        // Before any field is looked at: what has no authentic tag has been written by nobody of
        // ours.
        if !keys.any(|(_, key)| mac(key, body).verify_truncated_left(tag).is_ok()) {
            return Err(Foreign::Tag);
        }
        let beat = Heartbeat::take(&mut reader);
        beat.and_then(|beat| reader.finish().map(|()| beat)).map_err(|_| Foreign::Field)
    }
}

fn mac(key: &Key, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(&key.0).expect("any length will do");
    mac.update(body);
    mac
}

fn tag(key: &Key, body: &[u8]) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&mac(key, body).finalize().into_bytes()[..TAG]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(byte: u8) -> Tail {
        Tail([byte; 11])
    }

    fn beat() -> Heartbeat {
        Heartbeat {
            session: 0x1122_3344_5566_7788,
            counter: 5,
            id: PeerId::new(128, 3, Tail([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])),
            status: PeerStatus::Primary,
            flags: CAN_START | ELIGIBLE,
            service: 7,
            workload: 300,
            interval_ms: 200,
            epoch: 9,
            origin: 0xabcd_ef01,
            views: Few::default(),
            starts: Few::default(),
            directive: None,
            handed_to: None,
        }
    }

    fn full() -> Heartbeat {
        let mut beat = beat();
        let (other, service) = (PeerId::new(10, 1, tail(0xee)), 7);
        assert!(beat.views.push(View { service, id: other, epoch: 8, age_ms: 150 }));
        assert!(beat.starts.push(Start { service: 2, nonce: 77, load: 1, started: true }));
        beat.directive = Some(Directive { target: tail(0xee), rank: 255, nonce: 42 });
        beat.handed_to = Some(tail(0xdd));
        beat
    }

    fn seal() -> Seal {
        Seal::new("default", (9, Key([7; 32])), None)
    }

    /// The bytes were made independently, by Python's `hmac` and `struct` after the table.
    #[track_caller]
    fn check_bytes(beat: Heartbeat, hex: &str) {
        let datagram = seal().close(&beat);
        let text: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, hex.replace(' ', ""));
        assert_eq!(seal().open(&datagram), Ok(beat));
    }

    #[test]
    fn heartbeat_bytes() {
        check_bytes(
            beat(),
            "4d47 01 09 37a8eec1ce19687d 1122334455667788 0000000000000005 \
             80000000030102030405060708090a0b 03 18 0007 012c \
             000000c8 0000000000000009 abcdef01 00 00 5e40040449a9104beadb1789afe41d17",
        );
        check_bytes(
            full(),
            "4d47 01 09 37a8eec1ce19687d 1122334455667788 0000000000000005 \
             80000000030102030405060708090a0b 03 18 0007 012c \
             000000c8 0000000000000009 abcdef01 11 03 0007 0a00000001eeeeeeeeeeeeeeeeeeeeee \
             0000000000000008 00000096 \
             0002 0000004d 01 01 eeeeeeeeeeeeeeeeeeeeee ff 0000002a dddddddddddddddddddddd \
             2952b08c53abbbf2192f45adc1885c0b",
        );
    }

    #[test]
    fn the_largest_heartbeat_is_far_below_what_a_network_passes_in_one_piece() {
        let mut beat = full();
        let (view, start) =
            (*beat.views.iter().next().unwrap(), *beat.starts.iter().next().unwrap());
        while beat.views.push(view) {}
        while beat.starts.push(start) {}
        let datagram = seal().close(&beat);
        assert_eq!(datagram.len(), 263);
        assert_eq!(seal().open(&datagram), Ok(beat));
    }

    #[test]
    fn every_prefix_every_flipped_bit_and_every_byte_more_is_dropped() {
        for beat in [beat(), full()] {
            let datagram = seal().close(&beat);
            for length in 0..datagram.len() {
                assert!(seal().open(&datagram[..length]).is_err(), "{length} bytes of it");
            }
            for bit in 0..datagram.len() * 8 {
                let mut flipped = datagram.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(seal().open(&flipped).is_err(), "bit {bit} flipped");
            }
            assert_eq!(seal().open(&[&datagram[..], &[0]].concat()), Err(Foreign::Tag));
            assert_eq!(seal().open(&[0; MAX_DATAGRAM + 1]), Err(Foreign::Shape));
        }
    }

    #[test]
    fn what_is_foreign_is_told_apart() {
        let key = || (9, Key([7; 32]));
        let datagram = seal().close(&beat());
        let change = |at: usize, byte: u8| {
            let mut changed = datagram.clone();
            changed[at] = byte;
            seal().open(&changed)
        };
        assert_eq!(change(0, 0), Err(Foreign::Shape));
        assert_eq!(change(2, 2), Err(Foreign::Version));
        assert_eq!(Seal::new("other", key(), None).open(&datagram), Err(Foreign::Group));
        assert_eq!(
            Seal::new("default", (8, Key([7; 32])), None).open(&datagram),
            Err(Foreign::Key)
        );
        assert_eq!(
            Seal::new("default", (9, Key([8; 32])), None).open(&datagram),
            Err(Foreign::Tag)
        );
        assert_eq!(change(30, 1), Err(Foreign::Tag));
    }

    /// One with the key may still say what the table does not have.
    #[test]
    fn an_authentic_field_without_a_meaning_is_dropped() {
        let datagram = seal().close(&full());
        let body = datagram.len() - TAG;
        let forge = |at: usize, bytes: &[u8]| {
            let mut forged = datagram[..body].to_vec();
            forged[at..at + bytes.len()].copy_from_slice(bytes);
            let tag = tag(&Key([7; 32]), &forged);
            forged.extend_from_slice(&tag);
            seal().open(&forged)
        };
        assert_eq!(forge(20, &MAX_NUMBER.to_be_bytes()), Err(Foreign::Field), "counter");
        assert_eq!(forge(44, &[5]), Err(Foreign::Field), "status");
        assert_eq!(forge(45, &[32]), Err(Foreign::Field), "flags");
        assert_eq!(forge(54, &MAX_NUMBER.to_be_bytes()), Err(Foreign::Field), "epoch");
        assert_eq!(forge(66, &[0x15]), Err(Foreign::Field), "five views");
        assert_eq!(forge(66, &[0x51]), Err(Foreign::Field), "five starts");
        assert_eq!(forge(66, &[0x10]), Err(Foreign::Field), "one view fewer than there are");
        assert_eq!(forge(67, &[7]), Err(Foreign::Field), "present");
        assert_eq!(
            forge(68 + 18, &MAX_NUMBER.to_be_bytes()),
            Err(Foreign::Field),
            "epoch of a view"
        );
        assert_eq!(
            forge(68 + 26, &(MAX_AGE + 1).to_be_bytes()),
            Err(Foreign::Field),
            "age of a view"
        );
        assert_eq!(forge(68 + 30 + 7, &[2]), Err(Foreign::Field), "started");
        assert_eq!(forge(44, &[1]), Ok(Heartbeat { status: PeerStatus::Standby, ..full() }));
    }

    #[test]
    fn while_keys_are_changed_both_are_understood() {
        let (old, new) = ((1, Key([1; 32])), (2, Key([2; 32])));
        let before = Seal::new("g", old.clone(), Some(new.clone()));
        let after = Seal::new("g", new.clone(), Some(old.clone()));
        assert_eq!(after.open(&before.close(&beat())), Ok(beat()));
        assert_eq!(before.open(&after.close(&beat())), Ok(beat()));
        assert_eq!(Seal::new("g", new, None).open(&before.close(&beat())), Err(Foreign::Key));
        assert_eq!(Seal::new("g", old, None).open(&before.close(&beat())), Ok(beat()));
        let both = Seal::new("g", (1, Key([2; 32])), Some((1, Key([1; 32]))));
        assert_eq!(both.open(&before.close(&beat())), Ok(beat()), "both have one number");
    }

    #[test]
    fn an_identifier_is_its_parts_and_a_tail_its_text() {
        let id = PeerId::new(10, 7, tail(0xab));
        assert_eq!((id.rank(), id.sequence(), id.tail()), (10, 7, tail(0xab)));
        assert_eq!(id.to_string(), "0a.00000007.ababababababababababab");
        assert_eq!(id.tail().to_string().parse::<Tail>().ok(), Some(tail(0xab)));
        for bad in [
            "",
            "ab",
            "zbababababababababababab",
            "+babababababababababab",
            "ababababababababababababab",
        ] {
            assert!(bad.parse::<Tail>().is_err(), "{bad}");
        }
        assert!(PeerId::new(9, 8, tail(0xff)) < id && PeerId::new(10, 6, tail(0xff)) < id);
    }
}
