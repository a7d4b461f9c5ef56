//! The seal of a group's datagrams: the head of each, and the tag over all of it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::field::{Field, Reader};
use super::heartbeat::{Heartbeat, MAX_DATAGRAM};
use super::proof::Key;

const MAGIC: u16 = 0x4d47;
/// Version 1 had no label.
const VERSION: u8 = 2;
const TAG: usize = 16;

/// Why a datagram was dropped. Its content has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Foreign {
    /// It does not have the right length, or is not ours from the first byte.
    Shape,
    Version,
    Group,
    Key,
    /// It was made without the key, or changed on its way.
    Tag,
    /// It is authentic, but not what the table allows.
    Field,
}

/// The facts that all members of one group share.
#[derive(Clone)]
pub(crate) struct Seal {
    group: [u8; 8],
    /// The key to send with, then the key that is also accepted, by their numbers.
    keys: Vec<(u8, Key)>,
}

impl Seal {
    pub(crate) fn new(group: &str, key: (u8, Key), also: Option<(u8, Key)>) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(group.as_bytes())[..8]);
        Seal { group: first, keys: [Some(key), also].into_iter().flatten().collect() }
    }

    /// Makes the datagram of a heartbeat.
    pub(crate) fn close(&self, beat: &Heartbeat) -> Vec<u8> {
        self.sign(|out| beat.put(out))
    }

    /// Seals any body of a datagram of this group: what a process with the key may send.
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

    /// Returns the content of an authentic datagram of this group.
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
    use super::super::heartbeat::*;
    use super::super::label::Label;
    use super::super::peer_id::{PeerId, Tail};
    use super::*;
    use crate::wire::heartbeat::Status;

    fn tail(byte: u8) -> Tail {
        Tail([byte; 11])
    }

    fn beat() -> Heartbeat {
        Heartbeat {
            session: 0x1122_3344_5566_7788,
            counter: 5,
            id: PeerId::new(128, 3, Tail([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])),
            status: Status::Primary,
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
            label: Label::EMPTY,
        }
    }

    fn full() -> Heartbeat {
        let mut beat = beat();
        let (other, service) = (PeerId::new(10, 1, tail(0xee)), 7);
        assert!(beat.views.push(View { service, id: other, epoch: 8, age_ms: 150 }));
        assert!(beat.starts.push(Start { service: 2, nonce: 77, load: 1, started: true }));
        beat.directive = Some(Directive { target: tail(0xee), rank: 255, nonce: 42 });
        beat.handed_to = Some(tail(0xdd));
        beat.label = Label::new("worker-1/größe");
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
            "4d47 02 09 37a8eec1ce19687d 1122334455667788 0000000000000005 \
             80000000030102030405060708090a0b 03 18 0007 012c \
             000000c8 0000000000000009 abcdef01 00 00 00 9d49e04ed15ab31f6694b5df04920c04",
        );
        check_bytes(
            full(),
            "4d47 02 09 37a8eec1ce19687d 1122334455667788 0000000000000005 \
             80000000030102030405060708090a0b 03 18 0007 012c \
             000000c8 0000000000000009 abcdef01 11 03 0007 0a00000001eeeeeeeeeeeeeeeeeeeeee \
             0000000000000008 00000096 \
             0002 0000004d 01 01 eeeeeeeeeeeeeeeeeeeeee ff 0000002a dddddddddddddddddddddd \
             10 776f726b65722d312f6772c3b6c39f65 \
             f6b16dbb60cd85ddf70ce4aaefcf296f",
        );
    }

    #[test]
    fn the_largest_heartbeat_is_far_below_what_a_network_passes_in_one_piece() {
        let mut beat = full();
        let (view, start) =
            (*beat.views.iter().next().unwrap(), *beat.starts.iter().next().unwrap());
        while beat.views.push(view) {}
        while beat.starts.push(start) {}
        beat.label = Label::new(&"x".repeat(32));
        let datagram = seal().close(&beat);
        assert_eq!(datagram.len(), 296);
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
        assert_eq!(change(2, 1), Err(Foreign::Version));
        assert_eq!(change(2, 3), Err(Foreign::Version));
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
        let label = body - "worker-1/größe".len() - 1;
        assert_eq!(forge(label, &[17]), Err(Foreign::Field), "a label beyond the end");
        assert_eq!(forge(label, &[15]), Err(Foreign::Field), "a byte after the label");
        assert_eq!(forge(label, &[14]), Err(Foreign::Field), "half a character");
        assert_eq!(forge(label + 1, b"\x1b"), Err(Foreign::Field), "a control character");
        assert_eq!(forge(label + 1, b"\xff"), Err(Foreign::Field), "not UTF-8");
        assert_eq!(forge(44, &[1]), Ok(Heartbeat { status: Status::Standby, ..full() }));
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
}
