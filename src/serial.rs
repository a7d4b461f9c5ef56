//! How public values are serialized, where the feature `serde` is on.
//!
//! What the library tells is only serialized: it makes these values, their structs and enums may
//! grow, and a program that reads an older text of one would miss what is new. Read back are
//! `masterless::Token`, `PeerId` and `Tail`, because a store keeps the largest token that it has
//! seen. An error is not a value: its text is what a person reads.

/// A type is serialized as its text.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
pub(crate) use as_text;

/// A type is read from the text that it is serialized as.
macro_rules! from_text {
    ($($type:ty),*) => {$(
        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(from)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use from_text;

/// A payload is serialized as bytes: in JSON as an array of numbers, because it may be no text.
#[cfg(feature = "serde")]
pub(crate) fn bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Metadata is serialized as a map, by key; of equal keys the last one counts.
#[cfg(feature = "serde")]
pub(crate) fn map<S: serde::Serializer>(
    pairs: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let map: std::collections::BTreeMap<_, _> =
        pairs.iter().map(|(key, value)| (key, value)).collect();
    serializer.collect_map(map)
}
