//! The table of types in the documentation, line by line.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_core::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::unusual::{
    self, Adjacent, Color, Flattened, FlattenedMap, Internal, InternalMap, UnitStruct, Untagged,
    Wrapper,
};

/// Returns the cell of the table for a value: its outcome after encoding and decoding.
fn outcome<C: Codec, T: Serialize + DeserializeOwned + Debug>(codec: &C, value: &T) -> String {
    let mut buf = BytesMut::new();
    if codec.encode(value, &mut buf).is_err() {
        return "cannot be encoded".to_owned();
    }
    // Not compared by equality, since NaN is not equal to itself.
    match codec.decode::<T>(&buf) {
        Ok(read) if format!("{read:?}") == format!("{value:?}") => "kept".to_owned(),
        Ok(read) => format!("becomes `{read:?}`"),
        Err(_) => "cannot be decoded".to_owned(),
    }
}

/// A value whose outcome is known for both codecs.
type Sample = Box<dyn Fn() -> (String, String)>;

fn sample<T: Serialize + DeserializeOwned + Debug + 'static>(value: T) -> Sample {
    Box::new(move || (outcome(&MessagePack, &value), outcome(&Json, &value)))
}

/// Returns the samples of each line of the table.
fn lines() -> Vec<(&'static str, Vec<Sample>)> {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let bytes = || ByteBuf::from(b"\x00\xff");
    vec![
        (
            "`bool`, `char`, `String`, integers of up to 64 bits",
            vec![
                sample(true),
                sample('\u{1f600}'),
                sample(String::from("\0\u{7f}")),
                sample(u64::MAX),
                sample(i64::MIN),
            ],
        ),
        ("`i128`, `u128`", vec![sample(i128::MIN), sample(u128::MAX), sample(Some(7_u128))]),
        (
            "finite `f32`, `f64`",
            vec![sample(f32::MIN_POSITIVE), sample(f64::MAX), sample(-0.0_f64), sample(0.1_f32)],
        ),
        (
            "`NaN` and infinite numbers, also in keys of maps",
            vec![
                sample(f64::NAN),
                sample(f32::INFINITY),
                sample(Some(f64::NEG_INFINITY)),
                sample(Wrapper(f64::NAN)),
                sample(vec![(1, f64::NAN)]),
                sample(Flattened { id: 1, inner: Wrapper(f64::INFINITY) }),
                sample(Adjacent::Value(f32::NAN)),
            ],
        ),
        ("`Vec<u8>`, `[u8; N]`", vec![sample(vec![0_u8, 255]), sample([0_u8, 255])]),
        (
            "`bytes::Bytes`, `serde_bytes::ByteBuf`",
            vec![
                sample(bytes()),
                sample(bytes::Bytes::from_static(b"\xff")),
                sample(Some(bytes())),
            ],
        ),
        (
            "`Some` of a value",
            vec![sample(Some(1)), sample(Some(Some(1))), sample(Some(String::new()))],
        ),
        (
            "`Some(None)`, `Some(())`",
            vec![sample(Some(None::<u8>)), sample(Some(())), sample(Some(Wrapper(())))],
        ),
        ("`Some` of a unit struct", vec![sample(Some(UnitStruct))]),
        (
            "`Duration`, `SystemTime`",
            vec![sample(Duration::MAX), sample(SystemTime::UNIX_EPOCH + Duration::from_nanos(1))],
        ),
        (
            "`IpAddr`, `SocketAddr`, `uuid::Uuid`",
            vec![sample(ip), sample(SocketAddr::from((ip, 80))), sample(uuid::Uuid::from_u128(7))],
        ),
        (
            "maps with keys of `String`, `char`, `bool`, integers, `f64`, `IpAddr`, unit variants",
            vec![
                sample(BTreeMap::from([("a".to_owned(), 1)])),
                sample(BTreeMap::from([('a', 1)])),
                sample(BTreeMap::from([(true, 1)])),
                sample(BTreeMap::from([(-1_i8, 1)])),
                sample(BTreeMap::from([(u128::MAX, 1)])),
                sample(BTreeMap::from([(Color::Red, 1)])),
                sample(BTreeMap::from([(Wrapper(7_u64), 1)])),
                sample(BTreeMap::from([(Some(7_u64), 1)])),
                sample(BTreeMap::from([(ip, 1)])),
                sample(unusual::FloatKey::map(0.1)),
            ],
        ),
        (
            "maps with other keys: tuples, lists, bytes, `()`, `None`",
            vec![
                sample(BTreeMap::from([((1, 2), 3)])),
                sample(BTreeMap::from([(vec![1], 3)])),
                sample(BTreeMap::from([(bytes(), 3)])),
                sample(BTreeMap::from([((), 3)])),
                sample(BTreeMap::from([(None::<u8>, 3)])),
            ],
        ),
        (
            "enums with the tag outside, or beside the content",
            vec![
                sample(Ok::<u8, String>(1)),
                sample(Color::Red),
                sample(Color::Mixed { red: 1, ip }),
                sample(Color::Number(u128::MAX)),
                sample(Color::Pair(1, 2)),
                sample(Adjacent::Value(ip)),
                sample(Adjacent::Value(u128::MAX)),
                sample(Adjacent::Value(BTreeMap::from([(1, 2)]))),
            ],
        ),
        (
            "`flatten`, `tag`, `untagged` around text, numbers of up to 64 bits, `bool`, bytes, `Option`, lists",
            vec![
                sample(Flattened { id: 1, inner: Wrapper(String::from("a")) }),
                sample(Flattened { id: 1, inner: Wrapper(u64::MAX) }),
                sample(Flattened { id: 1, inner: Wrapper(i64::MIN) }),
                sample(Flattened { id: 1, inner: Wrapper(0.1) }),
                sample(Flattened { id: 1, inner: Wrapper(bytes()) }),
                sample(Flattened { id: 1, inner: Wrapper(vec![Some(1), None]) }),
                sample(Internal::Value { value: String::from("a") }),
                sample(Internal::Value { value: u64::MAX }),
                sample(Internal::Value { value: bytes() }),
                sample(Internal::Value { value: Some(vec!['a']) }),
                sample(Untagged::Value { value: 0.1 }),
                sample(Untagged::Value { value: bytes() }),
            ],
        ),
        (
            "`flatten`, `tag`, `untagged` around `i128`, `u128`",
            vec![
                sample(Flattened { id: 1, inner: Wrapper(u128::MAX) }),
                sample(Internal::Value { value: i128::MIN }),
                sample(Untagged::Value { value: u128::MAX }),
                sample(Flattened { id: 1, inner: Wrapper(7_u128) }),
                sample(Internal::Value { value: -7_i128 }),
            ],
        ),
        (
            "`flatten`, `tag`, `untagged` around `IpAddr`, `SocketAddr`",
            vec![
                sample(Flattened { id: 1, inner: Wrapper(ip) }),
                sample(Internal::Value { value: ip }),
                sample(Untagged::Value { value: SocketAddr::from((ip, 80)) }),
            ],
        ),
        (
            "`flatten`, `tag`, `untagged` around `uuid::Uuid`",
            vec![
                sample(Flattened { id: 1, inner: Wrapper(uuid::Uuid::from_u128(7)) }),
                sample(Internal::Value { value: uuid::Uuid::from_u128(7) }),
                sample(Untagged::Value { value: uuid::Uuid::from_u128(7) }),
            ],
        ),
        (
            "a flattened map with keys of `String`",
            vec![sample(FlattenedMap { id: 1, map: HashMap::from([("a".to_owned(), 1)]) })],
        ),
        (
            "`flatten`, `tag`, `untagged` around a map with keys of integers or `bool`",
            vec![
                sample(FlattenedMap { id: 1, map: HashMap::from([(7, 1)]) }),
                sample(Flattened { id: 1, inner: Wrapper(BTreeMap::from([(7, 1)])) }),
                sample(InternalMap::Value(BTreeMap::from([(7, 1)]))),
                sample(Internal::Value { value: BTreeMap::from([(7, 1)]) }),
                sample(Untagged::Value { value: BTreeMap::from([(true, 1)]) }),
            ],
        ),
        (
            "a flattened map with the name of another field as a key",
            vec![sample(FlattenedMap { id: 1, map: HashMap::from([("id".to_owned(), 1)]) })],
        ),
        (
            "a number of elements that differs from the announced one",
            vec![sample(unusual::Miscounted::new())],
        ),
    ]
}

#[test]
fn each_line_of_the_table_holds() {
    let mut table = String::new();
    for (types, samples) in lines() {
        let outcomes: Vec<_> = samples.iter().map(|sample| sample()).collect();
        let (messagepack, json) = &outcomes[0];
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{types}: {outcomes:?}");
        table += &format!("| {types} | {messagepack} | {json} |\n");
    }
    let documented = include_str!("../../docs/types.md");
    let rows = documented.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: String =
        rows.take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    assert_eq!(rows, table);
}
