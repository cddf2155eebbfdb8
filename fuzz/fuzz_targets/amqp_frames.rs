//! The bytes of a broker, in pieces, through the filter before the engine.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_amqp::fuzz::frames(bytes));
