//! What stands before an event: channel and topic, or a hello.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_zmq::fuzz::first_frame(bytes));
