//! Entry points for fuzzers. Compiled with `cfg(fuzzing)` only.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::Limits;

use crate::url::ParsedUrl;
use crate::wire::native;

/// Parses a URL.
pub fn url(text: &str) {
    let _ = ParsedUrl::parse(text);
}

/// Filters the bytes of a broker, as they reach the engine.
pub fn frames(bytes: &[u8]) {
    crate::connection::fuzz_frames(bytes);
}

/// Decodes a delivery with properties and headers made of `bytes` as each kind of message.
///
/// Results are dropped: only a panic is a finding.
pub fn headers(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut properties = BasicProperties::default().with_headers(input.table(0));
    for _ in 0..input.byte() % 8 {
        let text = input.short_string();
        properties = match input.byte() % 5 {
            0 => properties.with_type(text),
            1 => properties.with_correlation_id(text),
            2 => properties.with_reply_to(text),
            3 => properties.with_expiration(text),
            _ => properties.with_content_type(text),
        };
    }
    let delivery = || {
        let mut raw = Delivery::mock(1, "".into(), "a.b".into(), false, b"[]".to_vec());
        raw.properties = properties.clone();
        raw
    };
    let limits = Limits::default();
    let _ = native::decode_request(&mut delivery(), &limits);
    let _ = native::decode_reply(delivery(), &limits);
    let _ = native::decode_job(&mut delivery(), &limits);
    let _ = native::decode_event(&mut delivery(), &limits);
    let _ = native::decode_dead_letter(&delivery());
    let _ = native::attempt(&delivery());
}

/// Decodes a batch of calls and a batch of replies with this body.
pub fn batches(bytes: &[u8]) {
    let delivery = |kind: &str| {
        let mut raw = Delivery::mock(1, "".into(), "a.b".into(), false, bytes.to_vec());
        let properties = BasicProperties::default().with_type(kind.into());
        raw.properties = properties.with_reply_to("r".into()).with_expiration("1000".into());
        raw
    };
    let limits = Limits::default();
    let calls = delivery("polywire.batch.calls");
    if let Ok(batch) = native::CallBatch::decode(calls, |deadline| deadline) {
        for index in 0..batch.len() {
            let _ = (batch.request(index, &limits), batch.single(index));
        }
        let _ = batch.calls().count();
    }
    let _ = native::decode_replies(&mut delivery("polywire.batch.replies"), &limits);
}

/// The rest of a fuzzer's input. Zeros follow the last byte.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// Takes a byte; 0 after the end.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes up to 63 bytes. The byte before them is their number.
    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte() % 64).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }

    /// Takes a text of at most 60 characters, which have 240 bytes at most. AMQP allows 255.
    fn short_string(&mut self) -> ShortString {
        String::from_utf8_lossy(&self.bytes()).chars().take(60).collect::<String>().into()
    }

    /// Takes a table of at most 15 entries. Tables are nested four deep at most, so the recursion
    /// ends.
    ///
    /// Seven of eight names are those of the wire, so that the decoders find headers to read.
    fn table(&mut self, depth: u8) -> FieldTable {
        let mut table = FieldTable::default();
        for _ in 0..self.byte() % 16 {
            let name = match self.byte() % 8 {
                0 => "polywire.fault".into(),
                1 => "polywire.fault.kind".into(),
                2 => "polywire.fault.message".into(),
                3 => "polywire.fault.details".into(),
                4 => "polywire.attempt".into(),
                5 => "polywire.topic".into(),
                6 => "x-delivery-count".into(),
                _ => self.short_string(),
            };
            let value = match self.byte() % 8 {
                0 => AMQPValue::Boolean(true),
                1 => AMQPValue::ShortShortInt(self.byte() as i8),
                2 => AMQPValue::LongLongInt(i64::from(self.byte()) << 56),
                3 => AMQPValue::LongUInt(u32::from(self.byte())),
                4 if depth < 3 => AMQPValue::FieldTable(self.table(depth + 1)),
                5 => AMQPValue::Void,
                _ => AMQPValue::LongString(self.bytes().into()),
            };
            table.insert(name, value);
        }
        table
    }
}
