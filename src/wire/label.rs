//! The name for people of one process of a masterless group.

use std::fmt;

use super::DecodeError;
use super::field::{Field, Reader};

/// The most bytes of a label.
pub(crate) const MAX_LABEL: usize = 32;

/// The name for people of a process of a masterless group: at most 32 bytes of UTF-8 that are safe
/// to print.
///
/// A label does not identify a process: two processes may have the same one. A
/// [`Tail`](crate::masterless::Tail) does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    // The rest is zero, so that equal labels are equal bytes.
    bytes: [u8; MAX_LABEL],
    length: u8,
}

impl Label {
    /// The label of a process that has none.
    pub(crate) const EMPTY: Label = Label { bytes: [0; MAX_LABEL], length: 0 };

    /// Makes a label from any text.
    ///
    /// White space at either end is removed. Each control character, and each character that
    /// changes the direction of the text around it, becomes `?`, because others print the label on
    /// their terminals. The text is cut to 32 bytes, between two characters.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::masterless::Label;
    ///
    /// assert_eq!(Label::new("worker-1\n").as_str(), "worker-1");
    /// assert_eq!(Label::new("red \x1b[31m").as_str(), "red ?[31m");
    /// ```
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut label = Label::EMPTY;
        for c in text.trim().chars() {
            let c = if is_unsafe(c) { '?' } else { c };
            let at = usize::from(label.length);
            let Some(room) = label.bytes.get_mut(at..at + c.len_utf8()) else { break };
            c.encode_utf8(room);
            label.length += c.len_utf8() as u8;
        }
        label
    }

    /// Makes the label of a process that sets none: the machine's name up to its first dot, and the
    /// program's, as in `worker-1/scheduler`.
    ///
    /// If both do not fit, the program's name is cut first, to no less than 8 bytes.
    pub(crate) fn of(host: &str, program: &str) -> Self {
        let host = host.split('.').next().unwrap_or(host);
        match (host, program) {
            ("" | "(none)", alone) | (alone, "") => Label::new(alone),
            (host, program) => {
                let host = head(host, MAX_LABEL - 1 - program.len().min(8));
                Label::new(&format!("{host}/{program}"))
            }
        }
    }

    /// Returns the label as text; empty if the process has none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a label is made of characters")
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Returns true for a character that a terminal obeys instead of showing it, or that makes a line
/// read otherwise than it is.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// Returns as many whole characters as fit into `most` bytes.
fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

impl Field for Label {
    const LEAST: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        self.length.put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = u8::take(reader)?;
        let bytes = reader.bytes(usize::from(length))?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?;
        let mut label = Label { length, ..Label::EMPTY };
        match label.bytes.get_mut(..bytes.len()) {
            // None of ours says it: the sender is broken, or means harm.
            Some(room) if !text.contains(is_unsafe) => room.copy_from_slice(bytes),
            Some(_) | None => return Err(DecodeError::BadValue("label")),
        }
        Ok(label)
    }
}

crate::serial::as_text!(Label);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, label: &str) {
        assert_eq!(Label::new(text).as_str(), label);
        let mut bytes = Vec::new();
        Label::new(text).put(&mut bytes);
        assert_eq!(Label::take(&mut Reader::new(&bytes)), Ok(Label::new(text)));
    }

    #[test]
    fn any_text_makes_a_label_that_is_safe_to_print() {
        check("", "");
        check(" \t\n", "");
        check("worker-1\n", "worker-1");
        check("a b\\c\"", "a b\\c\"");
        check("\x1b[2J\x07\0\u{9b}31m", "?[2J???31m");
        check("two\nlines\tof\u{2028}it", "two?lines?of?it");
        check("left\u{202e}thgir \u{2066}x\u{2069}\u{200f}", "left?thgir ?x??");
        check("Köln/größe", "Köln/größe");
    }

    #[test]
    fn a_long_label_is_cut_at_a_character() {
        check(&"a".repeat(32), &"a".repeat(32));
        check(&"a".repeat(33), &"a".repeat(32));
        check(&"ö".repeat(17), &"ö".repeat(16));
        check(&format!("{}ö", "a".repeat(31)), &"a".repeat(31));
        check(&format!("{}😀b", "a".repeat(29)), &"a".repeat(29));
    }

    #[test]
    fn a_process_is_called_by_its_machine_and_its_program() {
        let of = |host: &str, program: &str| Label::of(host, program).as_str().to_owned();
        assert_eq!(of("worker-1", "scheduler"), "worker-1/scheduler");
        assert_eq!(of("worker-1.eu.example.com", "scheduler"), "worker-1/scheduler");
        assert_eq!(of("", "scheduler"), "scheduler");
        assert_eq!(of("(none)", "scheduler"), "scheduler", "Linux before a name is set");
        assert_eq!(of("worker-1", ""), "worker-1");
        assert_eq!(of("", ""), "");
        let (host, program) = ("h".repeat(64), "p".repeat(64));
        assert_eq!(of(&host, "top"), format!("{}/top", "h".repeat(28)));
        assert_eq!(of(&host, &program), format!("{}/{}", "h".repeat(23), "p".repeat(8)));
        assert_eq!(of("h", &program), format!("h/{}", "p".repeat(30)));
        assert_eq!(of(&"ö".repeat(20), "top"), format!("{}/top", "ö".repeat(14)));
    }

    #[test]
    fn a_label_that_none_of_ours_makes_is_no_label() {
        let take = |bytes: &[u8]| Label::take(&mut Reader::new(bytes)).err();
        let long = [&[33][..], &[b'a'; 33]].concat();
        assert_eq!(take(&long), Some(DecodeError::BadValue("label")));
        assert_eq!(take(&[2, b'a', 0x1b]), Some(DecodeError::BadValue("label")));
        assert_eq!(take(&[3, 0xe2, 0x80, 0xae]), Some(DecodeError::BadValue("label")));
        assert_eq!(take(&[2, 0xc3, 0x28]), Some(DecodeError::NotUtf8));
        assert_eq!(take(&[1, 0xc3]), Some(DecodeError::NotUtf8), "half a character");
        assert_eq!(take(&[2, b'a']), Some(DecodeError::Truncated));
        assert_eq!(take(&[]), Some(DecodeError::Truncated));
    }
}
