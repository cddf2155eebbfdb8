//! What every codec must do: the contract of [`Codec`], one function a sentence, for any codec to
//! be checked by.
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

use crate::verdict::ensure;
use crate::{Failure, OrFail, Verdict};

/// Checks a codec by all of them: each sentence, and how it ended.
pub fn check<C: Codec>(codec: &C) -> Vec<(&'static str, Verdict)> {
    vec![
        ("values come back as they were", values_come_back(codec)),
        ("writing appends to what is there", writing_appends(codec)),
        ("what goes on after the value is refused", what_goes_on_is_refused(codec)),
        ("what ends before the value does is refused", what_ends_early_is_refused(codec)),
        (
            "a value of another type is refused, with a word about it",
            another_type_is_refused(codec),
        ),
        (
            "whatever the bytes are, reading them ends without a panic",
            strange_bytes_are_borne(codec),
        ),
    ]
}

/// A bit of everything that programs send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    flag: bool,
    small: i8,
    large: i64,
    unsigned: u64,
    real: f64,
    letter: char,
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

fn sample() -> Sample {
    Sample {
        flag: true,
        small: i8::MIN,
        large: i64::MIN,
        unsigned: u64::MAX,
        real: -0.1,
        letter: 'ß',
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

/// Values come back as they were.
///
/// # Errors
///
/// [`Failure`], if they do not.
pub fn values_come_back<C: Codec>(codec: &C) -> Verdict {
    comes_back(codec, &sample())?;
    comes_back(codec, &i64::MAX)?;
    comes_back(codec, &f64::MIN_POSITIVE)?;
    comes_back(codec, &String::new())?;
    comes_back(codec, &())?;
    comes_back(codec, &Vec::<u8>::new())?;
    comes_back(codec, &(1_u8, "two".to_owned(), vec![3.0_f32]))
}

fn comes_back<C: Codec, T>(codec: &C, value: &T) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let back: T = codec.decode(&written(codec, value)?).or_fail("what was written is read")?;
    ensure!(back == *value, "{value:?} came back as {back:?}");
    Ok(())
}

/// Writing appends to what is there.
///
/// # Errors
///
/// [`Failure`], if it does not.
pub fn writing_appends<C: Codec>(codec: &C) -> Verdict {
    let mut buf = BytesMut::from("before");
    codec.encode(&7, &mut buf).or_fail("a number is written")?;
    ensure!(
        buf.starts_with(b"before"),
        "what stood in the buffer became {:?}",
        buf.escape_ascii().to_string()
    );
    let back: i32 = codec.decode(&buf[b"before".len()..]).or_fail("what was appended is read")?;
    ensure!(back == 7, "the 7 that was appended is read as {back}");
    Ok(())
}

/// What goes on after the value is refused.
///
/// # Errors
///
/// [`Failure`], if it is not.
pub fn what_goes_on_is_refused<C: Codec>(codec: &C) -> Verdict {
    let mut twice = written(codec, &sample())?;
    twice.extend_from_slice(&written(codec, &sample())?);
    refused::<C, Sample>(codec, &twice, "a value with another one after it")
}

/// What ends before the value does is refused.
///
/// # Errors
///
/// [`Failure`], if it is not.
pub fn what_ends_early_is_refused<C: Codec>(codec: &C) -> Verdict {
    let whole = written(codec, &("a text", vec![1, 2, 3]))?;
    for length in 0..whole.len() {
        let what = format!("a value of which {length} of {} bytes are there", whole.len());
        refused::<C, (String, Vec<i32>)>(codec, &whole[..length], &what)?;
    }
    Ok(())
}

/// A value of another type is refused, with a word about it.
///
/// # Errors
///
/// [`Failure`], if it is not.
pub fn another_type_is_refused<C: Codec>(codec: &C) -> Verdict {
    refused::<C, u32>(codec, &written(codec, "a text")?, "a text read as a number")?;
    refused::<C, String>(codec, &written(codec, &vec![1, 2])?, "a list read as a text")?;
    refused::<C, u8>(codec, &written(codec, &300)?, "300 read as a byte")?;
    refused::<C, (u8, u8)>(
        codec,
        &written(codec, &(1, "two"))?,
        "a text read as the second number of a pair",
    )
}

fn refused<C: Codec, T: DeserializeOwned>(codec: &C, bytes: &[u8], what: &str) -> Verdict {
    let Err(error) = codec.decode::<T>(bytes) else {
        return Err(Failure::new(format!("{what} was taken")));
    };
    ensure!(error.kind() == ErrorKind::Codec, "{what} was refused as {error:?}");
    ensure!(!error.to_string().is_empty(), "{what} was refused without a word");
    Ok(())
}

/// Whatever the bytes are, reading them ends without a panic.
///
/// # Errors
///
/// [`Failure`], if it does not.
pub fn strange_bytes_are_borne<C: Codec>(codec: &C) -> Verdict {
    let whole = written(codec, &sample())?;
    let mut state = 1_u64;
    for round in 0..5_000 {
        // Knuth's generator: the same bytes in every run.
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let bytes: Vec<u8> = match round % 2 {
            0 => (0..next() % 64).map(|_| next() as u8).collect(),
            _ => {
                let mut bytes = whole[..whole.len().min(300)].to_vec();
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
                bytes
            }
        };
        let read = catch_unwind(AssertUnwindSafe(|| drop(codec.decode::<Sample>(&bytes))));
        ensure!(read.is_ok(), "reading {} panicked", bytes.escape_ascii());
    }
    Ok(())
}

fn written<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> Verdict<BytesMut> {
    let mut buf = BytesMut::new();
    codec.encode(value, &mut buf).or_fail("a value is written")?;
    Ok(buf)
}
