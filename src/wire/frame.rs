//! The bounds of a frame: a `u32` length, then as many bytes of body.

use byteorder::{BigEndian, ByteOrder};

use super::{DecodeError, Message};

/// The most bytes of a frame's body: the largest admin payload (1 MiB) and the fields around it.
pub(crate) const MAX_FRAME: usize = crate::config::MAX_PAYLOAD + 1024;

/// The most bytes of a frame's body before its sender has proved that it has the group's key: an
/// [`Opening`](super::Handshake::Opening) with the longest group name has 107 bytes, a refusal some
/// hundred. A stranger cannot make us keep more than this.
pub(crate) const MAX_STRANGER_FRAME: usize = 512;

const LENGTH: usize = size_of::<u32>();

/// Appends `message` to `out` as one frame.
pub(crate) fn put_frame(message: &Message, out: &mut Vec<u8>) {
    put_frame_with(out, |out| message.put(out));
}

/// Appends a frame with the body that `put` appends.
pub(super) fn put_frame_with(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    put(out);
    let body = out.len() - start - LENGTH;
    debug_assert!(body <= MAX_FRAME, "{} bytes in one frame", body);
    BigEndian::write_u32(&mut out[start..start + LENGTH], body as u32);
}

/// Takes bytes as they arrive and returns messages, however the stream was cut.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    /// Up to here the bytes have been taken out.
    taken: usize,
}

impl FrameBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole message; `None` while more bytes are needed.
    ///
    /// After an error the stream's boundaries are lost: the connection must be closed.
    #[inline] // else each message is copied on its way out
    pub(crate) fn next(&mut self, max_body: usize) -> Result<Option<Message>, DecodeError> {
        self.next_body(max_body)?.map(Message::decode).transpose()
    }

    /// The same, of a frame's body as it is.
    #[inline]
    pub(crate) fn next_body(&mut self, max_body: usize) -> Result<Option<&[u8]>, DecodeError> {
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
            // One large message must not make an idle connection large for ever. (Whoever waits for
            // more has looked here first.)
            self.bytes.shrink_to(1024);
        }
        let rest = &self.bytes[self.taken..];
        if rest.len() < LENGTH {
            return Ok(None);
        }
        let body = BigEndian::read_u32(rest) as usize;
        // Refused by its length alone, before any of it is waited for or kept.
        if body > max_body {
            return Err(DecodeError::TooLarge { bytes: body, limit: max_body });
        }
        if body == 0 {
            return Err(DecodeError::Truncated);
        }
        let Some(body) = rest.get(LENGTH..LENGTH + body) else { return Ok(None) };
        self.taken += LENGTH + body.len();
        Ok(Some(body))
    }

    /// Returns how many bytes are missing of the message that has come in part; 0 if none has, as
    /// far as can be seen.
    pub(crate) fn lacking(&self) -> usize {
        let rest = &self.bytes[self.taken..];
        if rest.len() < LENGTH {
            0
        } else {
            (LENGTH + BigEndian::read_u32(rest) as usize).saturating_sub(rest.len())
        }
    }

    /// Returns the memory that it holds, for fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns true if nothing is left over: an end of the stream here cuts no message in two.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
}
