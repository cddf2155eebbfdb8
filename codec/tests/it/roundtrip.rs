//! Round trips: every value of serde's data model survives both codecs.
//!
//! The tests at the end cover the values that a format cannot represent or distinguish.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_core::{Codec, ErrorKind, Result};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

fn round_trip<C: Codec, T: Serialize + DeserializeOwned>(codec: &C, value: &T) -> Result<T> {
    let mut buf = BytesMut::new();
    codec.encode(value, &mut buf)?;
    codec.decode(&buf)
}

#[track_caller]
fn survives_both<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(round_trip(&Json, value).as_ref().ok(), Some(value), "JSON");
    assert_eq!(round_trip(&MessagePack, value).as_ref().ok(), Some(value), "MessagePack");
}

/// Compares the text, since `NaN` is not equal to itself.
#[track_caller]
fn survives_messagepack<T: Serialize + DeserializeOwned + Debug>(value: &T) {
    let read = round_trip(&MessagePack, value).unwrap();
    assert_eq!(format!("{read:?}"), format!("{value:?}"), "MessagePack");
}

/// Value of each kind of serde's data model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    F32(f32),
    F64(f64),
    Char(char),
    String(String),
    Bytes(ByteBuf),
    Option(Option<Box<Value>>),
    Unit(()),
    UnitStruct(UnitStruct),
    UnitVariant,
    NewtypeStruct(NewtypeStruct),
    Seq(Vec<Value>),
    Tuple((u8, Box<Value>)),
    TupleStruct(TupleStruct),
    TupleVariant(Box<Value>, i64),
    Map(BTreeMap<String, Value>),
    MapOfNumbers(BTreeMap<i64, Value>),
    Struct(Struct),
    StructVariant { first: Box<Value>, second: Option<u32> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UnitStruct;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NewtypeStruct(Box<Value>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TupleStruct(Box<Value>, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    first: Box<Value>,
    second: String,
}

impl Value {
    /// Returns whether JSON can represent all numbers in the value.
    fn is_finite(&self) -> bool {
        match self {
            Self::F32(number) => number.is_finite(),
            Self::F64(number) => number.is_finite(),
            Self::Option(Some(inner))
            | Self::NewtypeStruct(NewtypeStruct(inner))
            | Self::Tuple((_, inner))
            | Self::TupleStruct(TupleStruct(inner, _))
            | Self::TupleVariant(inner, _)
            | Self::Struct(Struct { first: inner, .. })
            | Self::StructVariant { first: inner, .. } => inner.is_finite(),
            Self::Seq(values) => values.iter().all(Self::is_finite),
            Self::Map(values) => values.values().all(Self::is_finite),
            Self::MapOfNumbers(values) => values.values().all(Self::is_finite),
            _ => true,
        }
    }
}

fn plain() -> impl Strategy<Value = Value> {
    let f32s = proptest::num::f32::ANY;
    let f64s = proptest::num::f64::ANY;
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<i128>().prop_map(Value::I128),
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        any::<u64>().prop_map(Value::U64),
        any::<u128>().prop_map(Value::U128),
        f32s.prop_map(Value::F32),
        f64s.prop_map(Value::F64),
        any::<char>().prop_map(Value::Char),
        any::<String>().prop_map(Value::String),
        any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(ByteBuf::from(bytes))),
        Just(Value::Option(None)),
        Just(Value::Unit(())),
        Just(Value::UnitStruct(UnitStruct)),
        Just(Value::UnitVariant),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    plain().prop_recursive(6, 64, 8, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let many = || proptest::collection::vec(inner.clone(), 0..8);
        prop_oneof![
            boxed().prop_map(|value| Value::Option(Some(value))),
            boxed().prop_map(|value| Value::NewtypeStruct(NewtypeStruct(value))),
            many().prop_map(Value::Seq),
            (any::<u8>(), boxed()).prop_map(Value::Tuple),
            (boxed(), any::<String>())
                .prop_map(|(first, second)| Value::TupleStruct(TupleStruct(first, second))),
            (boxed(), any::<i64>()).prop_map(|(first, second)| Value::TupleVariant(first, second)),
            proptest::collection::btree_map(any::<String>(), inner.clone(), 0..8)
                .prop_map(Value::Map),
            proptest::collection::btree_map(any::<i64>(), inner.clone(), 0..8)
                .prop_map(Value::MapOfNumbers),
            (boxed(), any::<String>())
                .prop_map(|(first, second)| Value::Struct(Struct { first, second })),
            (boxed(), any::<Option<u32>>())
                .prop_map(|(first, second)| Value::StructVariant { first, second }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_survives_both_codecs(value in value()) {
        survives_messagepack(&value);
        if value.is_finite() {
            survives_both(&value);
        } else {
            let error = Json.encode(&value, &mut BytesMut::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_value_or_an_error(bytes in any::<Vec<u8>>()) {
        let _ = Json.decode::<Value>(&bytes);
        let _ = MessagePack.decode::<Value>(&bytes);
    }

    #[test]
    fn a_cut_value_is_an_error(value in value(), cut in any::<proptest::sample::Index>()) {
        let mut buf = BytesMut::new();
        MessagePack.encode(&value, &mut buf).unwrap();
        assert!(MessagePack.decode::<Value>(&buf[..cut.index(buf.len())]).is_err());
    }
}

#[test]
fn dates_and_numbers_of_the_usual_crates_survive() {
    let moment = chrono::DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
    survives_both(&moment);
    survives_both(&moment.date_naive());
    survives_both(&moment.naive_utc().time());
    let moment =
        time::OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_789).unwrap();
    survives_both(&moment);
    survives_both(&moment.date());
    survives_both(&time::Duration::new(-5, -7));
    survives_both(&std::time::Duration::new(5, 7));
    survives_both(&uuid::Uuid::from_u128(0x0123_4567_89ab_cdef));
    survives_both(&bytes::Bytes::from_static(b"\x00\xff"));
}

#[test]
fn uuid_and_bytes_are_short_in_messagepack() {
    let mut buf = BytesMut::new();
    MessagePack.encode(&uuid::Uuid::from_u128(7), &mut buf).unwrap();
    assert_eq!(&buf[..2], b"\xc4\x10", "bin 8, of 16 bytes");
    buf.clear();
    MessagePack.encode(&bytes::Bytes::from_static(b"\xff"), &mut buf).unwrap();
    assert_eq!(&buf[..], b"\xc4\x01\xff");
}

/// Application type, encoded as MessagePack's extension type 42.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Money((i8, ByteBuf));

impl Money {
    fn cents(cents: u64) -> Self {
        Self((42, ByteBuf::from(cents.to_be_bytes())))
    }
}

#[test]
fn extension_type_survives_messagepack() {
    let price = Money::cents(1999);
    let mut buf = BytesMut::new();
    MessagePack.encode(&price, &mut buf).unwrap();
    assert_eq!(&buf[..2], b"\xd7\x2a", "fixext 8, of type 42");
    assert_eq!(MessagePack.decode::<Money>(&buf).unwrap(), price);
    let list = vec![Money::cents(1), Money::cents(2)];
    assert_eq!(round_trip(&MessagePack, &list).unwrap(), list);
}

// Exceptions.

#[test]
fn nested_none_becomes_none() {
    // Both formats encode `None` and `()` as one null value.
    assert_eq!(round_trip(&Json, &Some(None::<u8>)).unwrap(), None);
    assert_eq!(round_trip(&MessagePack, &Some(None::<u8>)).unwrap(), None);
    assert_eq!(round_trip(&Json, &Some(())).unwrap(), None);
    assert_eq!(round_trip(&MessagePack, &Some(())).unwrap(), None);
}

#[test]
fn json_has_finite_numbers_only() {
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(round_trip(&Json, &odd).unwrap_err().kind(), ErrorKind::Codec);
        assert_eq!(round_trip(&MessagePack, &odd).unwrap().to_bits(), odd.to_bits());
    }
}

#[test]
fn json_keys_are_strings_and_numbers() {
    let odd = BTreeMap::from([((1, 2), 3)]);
    assert_eq!(round_trip(&Json, &odd).unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(round_trip(&MessagePack, &odd).unwrap(), odd);
}

#[test]
fn json_encodes_bytes_as_numbers() {
    let mut buf = BytesMut::new();
    Json.encode(&ByteBuf::from(b"\x01\xff"), &mut buf).unwrap();
    assert_eq!(&buf[..], b"[1,255]");
}
