//! Errors of decoding.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::{Json, MessagePack};
use polywire_core::{Codec, Error};
use serde::Deserialize;

/// Type whose decoding fails with another error each time.
#[derive(Debug)]
struct Moody;

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        static PASS: AtomicU32 = AtomicU32::new(1);
        u8::deserialize(value)?;
        let pass = PASS.fetch_add(1, Ordering::Relaxed);
        Err(serde::de::Error::custom(format!("pass {} of two", 2 - pass % 2)))
    }
}

/// Type whose decoding fails at first only.
#[derive(Debug)]
struct Forgiving;

impl<'de> Deserialize<'de> for Forgiving {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        static PASS: AtomicU32 = AtomicU32::new(0);
        u8::deserialize(value)?;
        match PASS.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Err(serde::de::Error::custom("the first pass fails")),
            _ => Ok(Self),
        }
    }
}

#[test]
fn error_of_the_first_pass_wins() {
    fn check<C: Codec>(codec: &C, one: &[u8]) {
        let error = codec.decode::<(Moody,)>(one).unwrap_err();
        assert!(format!("{error:?}").contains("pass 1 of two"), "{error:?}");
        assert_eq!(error.detail("path"), None, "the path is that of another failure");
        let error = codec.decode::<(Forgiving,)>(one).unwrap_err();
        assert!(format!("{error:?}").contains("the first pass fails"), "{error:?}");
    }
    check(&MessagePack, b"\x91\x01");
    check(&Json, b"[1]");
}

#[test]
fn error_names_the_argument_that_is_wrong() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only decoded")]
    struct Ban {
        ip: std::net::IpAddr,
        minutes: u32,
    }
    let check = |error: Error| {
        assert_eq!(error.detail("path"), Some("minutes"), "{error:?}");
        assert!(format!("{error:?}").contains("expected u32"), "{error:?}");
    };
    let json = br#"{"ip": "127.0.0.1", "minutes": "ten"}"#;
    check(Json.decode::<Ban>(json).unwrap_err());
    let packed = b"\x82\xa2ip\x81\xa2V4\x94\x7f\x00\x00\x01\xa7minutes\xa3ten";
    check(MessagePack.decode::<Ban>(packed).unwrap_err());
}

#[test]
fn data_after_the_value_is_an_error_even_if_it_is_cut() {
    for bytes in [&b"\x01\x92"[..], b"\x01\x92\x01", b"\x01\xd9\xff", b"\x01\xc1", b"\x01\xa5a"] {
        let error = MessagePack.decode::<u8>(bytes).unwrap_err();
        let text = "cannot decode the MessagePack: data follows the value (type: u8)";
        assert_eq!(error.to_string(), text, "{bytes:x?}");
    }
    for bytes in [&b"1 ["[..], b"1]", b"1 \"", b"1 1"] {
        let error = Json.decode::<u8>(bytes).unwrap_err();
        let text = "cannot decode the JSON: data follows the value (type: u8): ";
        assert!(error.to_string().starts_with(text), "{bytes:x?}: {error}");
    }
}

/// Type that counts how often its expectation is formatted.
#[derive(Debug)]
struct Counted;

static FORMATTED: AtomicU32 = AtomicU32::new(0);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_u64(CountedVisitor)
    }
}

struct CountedVisitor;

impl serde::de::Visitor<'_> for CountedVisitor {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FORMATTED.fetch_add(1, Ordering::Relaxed);
        f.write_str("a counted number")
    }

    fn visit_u64<E>(self, _: u64) -> Result<Counted, E> {
        Ok(Counted)
    }
}

#[test]
fn expectation_of_the_wrong_value_alone_is_formatted() {
    let bytes = [&[0xdc, 0x27, 0x10][..], &[1; 9_999], b"\xa1x"].concat();
    let error = MessagePack.decode::<Vec<Counted>>(&bytes).unwrap_err();
    assert_eq!(error.detail("path"), Some("[9999]"), "{error:?}");
    assert!(format!("{error:?}").contains("string, expected a counted number"), "{error:?}");
    assert_eq!(FORMATTED.load(Ordering::Relaxed), 1);
}
