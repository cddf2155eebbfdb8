//! Types whose encoding is out of the ordinary.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

/// Newtype, or field `value` where it is flattened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Wrapper<T>(pub(crate) T);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnitStruct;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Color {
    Red,
    Number(u128),
    Pair(u8, u8),
    Mixed { red: u8, ip: IpAddr },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "content")]
pub(crate) enum Adjacent<T> {
    Value(T),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Internal<T> {
    Value { value: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum InternalMap<T> {
    Value(T),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Untagged<T> {
    Value { value: T },
}

/// A struct with a flattened struct, whose only field has the type `T`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flattened<T> {
    pub(crate) id: u8,
    #[serde(flatten, with = "field")]
    #[serde(bound(serialize = "T: Serialize", deserialize = "T: serde::de::DeserializeOwned"))]
    pub(crate) inner: Wrapper<T>,
}

mod field {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Wrapper;

    #[derive(Serialize, Deserialize)]
    struct Field<T> {
        value: T,
    }

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &Wrapper<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Field { value: &value.0 }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Wrapper<T>, D::Error> {
        Ok(Wrapper(Field::deserialize(deserializer)?.value))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedMap<K: Eq + Hash> {
    pub(crate) id: u8,
    #[serde(flatten)]
    pub(crate) map: HashMap<K, u8>,
}

/// A floating-point key, ordered by its bits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct FloatKey(pub(crate) f64);

impl FloatKey {
    pub(crate) fn map(key: f64) -> BTreeMap<Self, u8> {
        BTreeMap::from([(Self(key), 1)])
    }
}

impl PartialEq for FloatKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FloatKey {}

impl PartialOrd for FloatKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FloatKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A list of one element that announces two.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Miscounted(Vec<u8>);

impl Miscounted {
    pub(crate) fn new() -> Self {
        Self(vec![7])
    }
}

impl Serialize for Miscounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(2))?;
        list.serialize_element(&self.0[0])?;
        list.end()
    }
}
