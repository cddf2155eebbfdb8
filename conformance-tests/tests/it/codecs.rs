//! The contract of codecs, checked on the built-in ones and on some that break it.

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_conformance::codecs;
use polywire_core::{Codec, Result};
use serde::{Deserialize, Serialize};

/// Returns the sentences of the contract that a codec breaks.
fn broken_by(codec: &impl Codec) -> Vec<&'static str> {
    codecs::check(codec)
        .into_iter()
        .filter(|(_, verdict)| verdict.is_err())
        .map(|(said, _)| said)
        .collect()
}

#[test]
fn built_in_codecs_keep_the_contract() {
    for (sentence, verdict) in codecs::check(&Json).into_iter().chain(codecs::check(&MessagePack)) {
        verdict.unwrap_or_else(|failure| panic!("{sentence}: {failure}"));
    }
}

/// JSON with a flaw in its handling of bytes.
#[derive(Clone)]
struct BrokenJson {
    clears: bool,
    before_reading: fn(&[u8]) -> &[u8],
}

impl Codec for BrokenJson {
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
fn codec_that_clears_the_buffer_is_caught() {
    let broken = BrokenJson { clears: true, before_reading: |bytes| bytes };
    assert_eq!(broken_by(&broken), ["encoding appends to the buffer"]);
}

#[test]
fn codec_that_accepts_half_a_value_is_caught() {
    // Input that is too short is replaced by another value.
    let broken = BrokenJson {
        clears: false,
        before_reading: |bytes| if bytes.len() < 9 { br#"["",[]]"# } else { bytes },
    };
    assert!(broken_by(&broken).contains(&"input that ends before the value does is refused"));
}

#[test]
fn codec_that_panics_is_caught() {
    let broken = BrokenJson {
        clears: false,
        before_reading: |bytes| &bytes[usize::from(bytes.first() == Some(&0xff)) * 1_000..],
    };
    assert_eq!(broken_by(&broken), ["decoding any bytes ends without a panic"]);
}
