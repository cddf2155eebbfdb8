//! The contract of [`Codec`], one function for each sentence, to check any codec.
//!
//! ```
//! use polywire_codec::Json;
//!
//! for (sentence, verdict) in polywire_conformance::codecs::check(&Json) {
//!     assert!(verdict.is_ok(), "{sentence}: {verdict:?}");
//! }
//! ```

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use polywire_core::{Codec, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::verdict::{Failure, OrFail, Verdict, ensure};

/// Checks a codec by the whole contract. Returns each sentence with its verdict.
pub fn check<C: Codec>(codec: &C) -> Vec<(&'static str, Verdict)> {
    vec![
        ("values come back unchanged", values_come_back(codec)),
        ("encoding appends to the buffer", encoding_appends(codec)),
        ("input that goes on after the value is refused", longer_input_is_refused(codec)),
        ("input that ends before the value does is refused", shorter_input_is_refused(codec)),
        ("a value of another type is refused, with a message", another_type_is_refused(codec)),
        ("decoding any bytes ends without a panic", any_bytes_end_without_a_panic(codec)),
    ]
}

/// A value with fields of every kind of type.
///
/// Integers of each sign and size, text, options, lists, maps, and enums with several kinds of
/// variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    flag: bool,
    small: i8,
    large: i64,
    unsigned: u64,
    real: f64,
    character: char,
    text: String,
    nothing: Option<u32>,
    something: Option<u32>,
    list: Vec<(u8, String)>,
    map: BTreeMap<String, i32>,
    choice: Vec<Choice>,
    unit: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Plain,
    Tuple(u8, String),
    Struct { name: String },
}

/// A sample with values at their bounds.
///
/// One text has 70,000 bytes, more than a length of two bytes can say. Texts hold a zero byte,
/// quotes, and characters of two and three bytes in UTF-8.
fn sample() -> Sample {
    Sample {
        flag: true,
        small: i8::MIN,
        large: i64::MIN,
        unsigned: u64::MAX,
        real: -0.1,
        character: 'ß',
        text: "zürich \u{0} \"quoted\" 北京".to_owned(),
        nothing: None,
        something: Some(0),
        list: vec![(0, String::new()), (255, "x".repeat(70_000))],
        map: BTreeMap::from([(String::new(), 1), ("a.b".to_owned(), -1)]),
        choice: vec![
            Choice::Plain,
            Choice::Tuple(1, "b".into()),
            Choice::Struct { name: "c".into() },
        ],
        unit: (),
    }
}

/// Checks that values come back unchanged: numbers at their bounds, text, options, lists, maps and
/// enums.
///
/// # Errors
///
/// [`Failure`], naming the value, if one does not.
pub fn values_come_back<C: Codec>(codec: &C) -> Verdict {
    comes_back(codec, &sample())?;
    comes_back(codec, &i64::MAX)?;
    comes_back(codec, &f64::MIN_POSITIVE)?;
    comes_back(codec, &String::new())?;
    comes_back(codec, &())?;
    comes_back(codec, &Vec::<u8>::new())?;
    comes_back(codec, &(1_u8, "two".to_owned(), vec![3.0_f32]))
}

/// Checks that a value comes back unchanged.
fn comes_back<C: Codec, T>(codec: &C, value: &T) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let back: T = codec.decode(&encoded(codec, value)?).or_fail("an encoded value is decoded")?;
    ensure!(back == *value, "{value:?} came back as {back:?}");
    Ok(())
}

/// Checks that encoding appends to the bytes that are in the buffer.
///
/// # Errors
///
/// [`Failure`], if those bytes change, or the value cannot be decoded from the rest.
pub fn encoding_appends<C: Codec>(codec: &C) -> Verdict {
    let mut buf = BytesMut::from("before");
    codec.encode(&7, &mut buf).or_fail("a number is encoded")?;
    ensure!(
        buf.starts_with(b"before"),
        "the bytes in the buffer became {:?}",
        buf.escape_ascii().to_string()
    );
    let back: i32 =
        codec.decode(&buf[b"before".len()..]).or_fail("the appended value is decoded")?;
    ensure!(back == 7, "the appended 7 is decoded as {back}");
    Ok(())
}

/// Checks that a value with another value after it is refused.
///
/// The second value is the same as the first one.
///
/// # Errors
///
/// [`Failure`], if it is decoded, or refused with an error of another kind than `Codec`.
pub fn longer_input_is_refused<C: Codec>(codec: &C) -> Verdict {
    let mut twice = encoded(codec, &sample())?;
    twice.extend_from_slice(&encoded(codec, &sample())?);
    refused::<C, Sample>(codec, &twice, "a value with another one after it")
}

/// Checks that a value is refused wherever it is cut off.
///
/// # Errors
///
/// [`Failure`], naming the length, if a part of a value is decoded.
pub fn shorter_input_is_refused<C: Codec>(codec: &C) -> Verdict {
    let whole = encoded(codec, &("a text", vec![1, 2, 3]))?;
    for length in 0..whole.len() {
        let what = format!("a value of which {length} of {} bytes are there", whole.len());
        refused::<C, (String, Vec<i32>)>(codec, &whole[..length], &what)?;
    }
    Ok(())
}

/// Checks that a value of another type is refused, with a message.
///
/// # Errors
///
/// [`Failure`], if it is decoded, or the error has no message.
pub fn another_type_is_refused<C: Codec>(codec: &C) -> Verdict {
    refused::<C, u32>(codec, &encoded(codec, "a text")?, "a text decoded as a number")?;
    refused::<C, String>(codec, &encoded(codec, &vec![1, 2])?, "a list decoded as a text")?;
    refused::<C, u8>(codec, &encoded(codec, &300)?, "300 decoded as a byte")?;
    refused::<C, (u8, u8)>(
        codec,
        &encoded(codec, &(1, "two"))?,
        "a text decoded as the second number of a pair",
    )
}

/// Checks that decoding fails as `Codec`, with a message.
///
/// `what` begins the sentence of the failure.
fn refused<C: Codec, T: DeserializeOwned>(codec: &C, bytes: &[u8], what: &str) -> Verdict {
    let Err(error) = codec.decode::<T>(bytes) else {
        return Err(Failure::new(format!("{what} was accepted")));
    };
    ensure!(error.kind() == ErrorKind::Codec, "{what} was refused as {error:?}");
    ensure!(!error.to_string().is_empty(), "{what} was refused without a message");
    Ok(())
}

/// Checks that 5,000 inputs, random ones and damaged values, are decoded without a panic. The
/// inputs are the same in every run.
///
/// # Errors
///
/// [`Failure`], naming the input that panics.
pub fn any_bytes_end_without_a_panic<C: Codec>(codec: &C) -> Verdict {
    let whole = encoded(codec, &sample())?;
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..5_000 {
        let bytes: Vec<u8> = match round % 2 {
            0 => (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
            _ => {
                let mut bytes = whole[..whole.len().min(300)].to_vec();
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
                bytes
            }
        };
        let read = catch_unwind(AssertUnwindSafe(|| drop(codec.decode::<Sample>(&bytes))));
        ensure!(read.is_ok(), "decoding {} panicked", bytes.escape_ascii());
    }
    Ok(())
}

/// Encodes a value into a fresh buffer.
fn encoded<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> Verdict<BytesMut> {
    let mut buf = BytesMut::new();
    codec.encode(value, &mut buf).or_fail("a value is encoded")?;
    Ok(buf)
}
