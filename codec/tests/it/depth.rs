//! Nesting: the codecs write no value that they cannot read, and no body exhausts the stack.

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_core::{Codec, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Seq(Vec<Seq>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    inner: Option<Box<Struct>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Newtype {
    In(Box<Newtype>),
    End,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Fields {
    In { inner: Box<Fields> },
    End,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tuple {
    In(Box<Tuple>, u8),
    End,
}

/// Returns the number of nestings that are written and read, and checks that none is only written.
fn deepest<C: Codec, T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    codec: &C,
    end: T,
    nest: impl Fn(T) -> T,
) -> usize {
    let mut value = end;
    for depth in 0..300 {
        let mut buf = BytesMut::new();
        match codec.encode(&value, &mut buf) {
            Ok(()) => assert_eq!(codec.decode::<T>(&buf).unwrap(), value, "at {depth}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Codec);
                let shown = format!("{error:?}");
                assert!(shown.contains("deeper than 127 levels"), "{shown}");
                return depth - 1;
            }
        }
        value = nest(value);
    }
    panic!("no value was too deep");
}

#[test]
fn written_values_can_be_read() {
    fn check<C: Codec>(codec: &C) {
        assert_eq!(deepest(codec, Seq(vec![]), |seq| Seq(vec![seq])), 126);
        let nest = |inner| Struct { inner: Some(Box::new(inner)) };
        assert_eq!(deepest(codec, Struct { inner: None }, nest), 126);
        let nest = |inner| Newtype::In(Box::new(inner));
        assert_eq!(deepest(codec, Newtype::End, nest), 127);
        let nest = |inner| Fields::In { inner: Box::new(inner) };
        assert_eq!(deepest(codec, Fields::End, nest), 63);
        let nest = |inner| Tuple::In(Box::new(inner), 0);
        assert_eq!(deepest(codec, Tuple::End, nest), 63);
    }
    check(&Json);
    check(&MessagePack);
}

#[test]
fn deep_body_does_not_exhaust_the_stack() {
    let packed = [&b"\x81\xa2In".repeat(1 << 20)[..], b"\xa3End"].concat();
    let json = [&br#"{"In":"#.repeat(1 << 20)[..], br#""End""#, &b"}".repeat(1 << 20)].concat();
    for error in [
        MessagePack.decode::<Newtype>(&packed).unwrap_err(),
        MessagePack.decode::<Seq>(&[0x91; 1 << 20]).unwrap_err(),
        Json.decode::<Newtype>(&json).unwrap_err(),
        Json.decode::<Seq>(&[b'['; 1 << 20]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
}
