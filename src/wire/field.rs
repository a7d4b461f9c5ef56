//! The form of one value on the wire: integers are big-endian, and everything of variable size
//! follows its count.

use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};

use super::DecodeError;

/// Reads fields one after the other from the body of a frame.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Reader { rest: body }
    }

    /// Takes the next `count` bytes, which are borrowed: a forged count costs its sender the frame,
    /// and costs us nothing.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}

/// A value that can stand in a message.
pub(crate) trait Field: Sized {
    /// The fewest bytes that it can have: from these and what has arrived follows how many of them
    /// a frame holds at most.
    const LEAST: usize;
    fn put(&self, out: &mut Vec<u8>);
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! integers {
    ($($int:ty, $write:ident, $read:ident;)*) => {$(
        impl Field for $int {
            const LEAST: usize = size_of::<$int>();
            fn put(&self, out: &mut Vec<u8>) {
                let mut bytes = [0; size_of::<$int>()];
                BigEndian::$write(&mut bytes, *self);
                out.extend_from_slice(&bytes);
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(BigEndian::$read(reader.bytes(size_of::<$int>())?))
            }
        }
    )*};
}

integers! {
    u16, write_u16, read_u16;
    u32, write_u32, read_u32;
    u64, write_u64, read_u64;
}

impl Field for u8 {
    const LEAST: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.bytes(1)?[0])
    }
}

impl Field for bool {
    const LEAST: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            // One value, one spelling: what decodes must encode back to the same bytes.
            _ => Err(DecodeError::BadValue("bool")),
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    const LEAST: usize = N;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(reader.bytes(N)?);
        Ok(array)
    }
}

impl Field for String {
    const LEAST: usize = 2;
    /// A longer string than `u16` can count is cut at a character: only texts for people (details
    /// of refusals) can be that long, everything else is limited when it is accepted.
    fn put(&self, out: &mut Vec<u8>) {
        let mut end = self.len().min(usize::from(u16::MAX));
        while !self.is_char_boundary(end) {
            end -= 1;
        }
        (end as u16).put(out);
        out.extend_from_slice(&self.as_bytes()[..end]);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u16::take(reader)?;
        let bytes = reader.bytes(usize::from(count))?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::NotUtf8)
    }
}

/// Bytes that a program defines: the content of an admin call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

impl Field for Payload {
    const LEAST: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.0.len()).expect("payloads are limited far below 4 GiB");
        count.put(out);
        out.extend_from_slice(&self.0);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u32::take(reader)?;
        Ok(Payload(reader.bytes(count as usize)?.to_vec()))
    }
}

/// Large and rare fields stand apart, which keeps all other messages small: each is moved several
/// times.
impl<T: Field> Field for Box<T> {
    const LEAST: usize = T::LEAST;
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::take(reader).map(Box::new)
    }
}

/// A value that is kept and told to many is not copied for each of them.
impl<T: Field> Field for Arc<T> {
    const LEAST: usize = T::LEAST;
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::take(reader).map(Arc::new)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    const LEAST: usize = A::LEAST + B::LEAST;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::take(reader)?, B::take(reader)?))
    }
}

impl<T: Field> Field for Option<T> {
    const LEAST: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::take(reader)? { Ok(Some(T::take(reader)?)) } else { Ok(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    const LEAST: usize = 2;
    fn put(&self, out: &mut Vec<u8>) {
        let count = u16::try_from(self.len()).expect("lists are limited far below 65,536 items");
        count.put(out);
        self.iter().for_each(|item| item.put(out));
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u16::take(reader)?;
        const { assert!(T::LEAST > 0, "a list of nothing could claim any number of items") };
        // The peer wrote the count, and may have lied: no more is reserved than can be in what has
        // arrived.
        let mut items = Vec::with_capacity(usize::from(count).min(reader.rest.len() / T::LEAST));
        for _ in 0..count {
            items.push(T::take(reader)?);
        }
        Ok(items)
    }
}

/// An enum that is one byte on the wire. A number is never given a second meaning.
macro_rules! byte_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $number:literal $variant:ident,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $variant = $number,)* }

        impl $crate::wire::field::Field for $name {
            const LEAST: usize = 1;
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
            fn take(
                reader: &mut $crate::wire::field::Reader<'_>,
            ) -> Result<Self, $crate::wire::DecodeError> {
                match <u8 as $crate::wire::field::Field>::take(reader)? {
                    $($number => Ok($name::$variant),)*
                    _ => Err($crate::wire::DecodeError::BadValue(stringify!($name))),
                }
            }
        }
    };
}

/// A struct whose fields stand on the wire in the order they are declared.
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$doc:meta])* $fvis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$doc])* $fvis $field: $type,)* }

        impl $crate::wire::field::Field for $name {
            const LEAST: usize = 0 $(+ <$type as $crate::wire::field::Field>::LEAST)*;
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::wire::field::Field::put(&self.$field, out);)*
            }
            fn take(
                reader: &mut $crate::wire::field::Reader<'_>,
            ) -> Result<Self, $crate::wire::DecodeError> {
                Ok($name { $($field: $crate::wire::field::Field::take(reader)?,)* })
            }
        }
    };
}

pub(crate) use {byte_enum, record};
