//! Envelopes of ZeroMQ: decoding returns a message or an error, and an encoded message decodes to
//! the same message.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_zmq::fuzz::envelope(bytes));
