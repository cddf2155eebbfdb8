//! The contract of codecs, on those that are built in, and on some that break it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_conformance::codecs;
use polywire_core::{Codec, Result};
use serde::{Deserialize, Serialize};

/// The sentences that a codec breaks.
fn broken_by(codec: &impl Codec) -> Vec<&'static str> {
    codecs::check(codec)
        .into_iter()
        .filter(|(_, verdict)| verdict.is_err())
        .map(|(said, _)| said)
        .collect()
}

#[test]
fn the_built_in_ones_keep_it() {
    for (sentence, verdict) in codecs::check(&Json).into_iter().chain(codecs::check(&MessagePack)) {
        verdict.unwrap_or_else(|failure| panic!("{sentence}: {failure}"));
    }
}

/// JSON, but for what it does to the bytes.
#[derive(Clone)]
struct Odd {
    clears: bool,
    before_reading: fn(&[u8]) -> &[u8],
}

impl Codec for Odd {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        if self.clears {
            buf.clear();
        }
        Json.encode(value, buf)
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        Json.decode((self.before_reading)(bytes))
    }
}

#[test]
fn one_that_clears_the_buffer_is_caught() {
    let odd = Odd { clears: true, before_reading: |bytes| bytes };
    assert_eq!(broken_by(&odd), ["writing appends to what is there"]);
}

#[test]
fn one_that_takes_half_a_value_is_caught() {
    // Whatever is too short for the sample's own bytes is taken for something else.
    let odd = Odd {
        clears: false,
        before_reading: |bytes| if bytes.len() < 9 { br#"["",[]]"# } else { bytes },
    };
    assert!(broken_by(&odd).contains(&"what ends before the value does is refused"));
}

#[test]
fn one_that_panics_is_caught() {
    let odd = Odd {
        clears: false,
        before_reading: |bytes| &bytes[usize::from(bytes.first() == Some(&0xff)) * 1_000..],
    };
    assert_eq!(broken_by(&odd), ["whatever the bytes are, reading them ends without a panic"]);
}
