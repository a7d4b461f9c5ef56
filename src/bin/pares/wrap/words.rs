//! What front and guard tell each other: words of nine bytes on a pair of sockets. Whoever reads
//! its end knows that the other process is gone.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// One word. Its first byte says which, the rest is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// To the guard: `pares run` has got this signal.
    Signal(i32),
    /// To the guard: CMD may begin.
    Go,
    /// To the guard: CMD stands still until you are sure that you hold what CMD needs.
    Frozen,
    /// To the front: this is the number of the process group in which CMD begins after `Go`.
    Ready(i32),
    /// To the front: CMD has stopped by this signal.
    Stopped(i32),
    /// To the front: CMD goes on after a stop.
    Continued,
    /// To the front: role or permit is held, whatever happened meanwhile.
    Sure,
    /// To the front: CMD may go on until this moment of the monotonic clock, in nanoseconds.
    Lease(i64),
    /// To the front: how it all ended: an exit code, or the signal that ended CMD, as a negative
    /// number.
    Ended(i32),
}

impl Word {
    pub(super) fn bytes(self) -> [u8; 9] {
        let (kind, number) = match self {
            Word::Signal(signal) => (b's', signal.into()),
            Word::Go => (b'g', 0),
            Word::Frozen => (b'f', 0),
            Word::Ready(group) => (b'r', group.into()),
            Word::Stopped(signal) => (b't', signal.into()),
            Word::Continued => (b'c', 0),
            Word::Sure => (b'h', 0),
            Word::Lease(until) => (b'l', until),
            Word::Ended(how) => (b'e', how.into()),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&i64::to_ne_bytes(number));
        bytes
    }

    fn from(bytes: [u8; 9]) -> Option<Self> {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[1..]);
        let number = i64::from_ne_bytes(number);
        let small = i32::try_from(number);
        Some(match bytes[0] {
            b's' => Word::Signal(small.ok()?),
            b'g' => Word::Go,
            b'f' => Word::Frozen,
            b'r' => Word::Ready(small.ok()?),
            b't' => Word::Stopped(small.ok()?),
            b'c' => Word::Continued,
            b'h' => Word::Sure,
            b'l' => Word::Lease(number),
            b'e' => Word::Ended(small.ok()?),
            _ => return None,
        })
    }
}

/// Tells the other one something. That it is gone is known by reading.
pub(crate) fn tell(mut to: &UnixStream, word: Word) {
    _ = to.write_all(&word.bytes());
}

/// The next word; `None` once the other one is gone.
pub(crate) fn hear(mut from: &UnixStream) -> io::Result<Option<Word>> {
    let mut bytes = [0; 9];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(Word::from(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_heard_as_it_was_told() {
        let (one, other) = UnixStream::pair().unwrap();
        let words = [
            Word::Signal(34),
            Word::Go,
            Word::Frozen,
            Word::Ready(4_194_304),
            Word::Stopped(20),
            Word::Continued,
            Word::Sure,
            Word::Lease(i64::MAX),
            Word::Ended(-15),
        ];
        words.iter().for_each(|word| tell(&one, *word));
        drop(one);
        words.iter().for_each(|word| assert_eq!(hear(&other).unwrap(), Some(*word)));
        assert_eq!(hear(&other).unwrap(), None);
    }
}
