//! Whatever frames come, they end in a message or in a sentence about them; and a message survives being written again.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_zmq::fuzz::envelope(bytes));
