//! The first frame of an event: channel and topic, or a synchronization marker.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_zmq::fuzz::first_frame(bytes));
