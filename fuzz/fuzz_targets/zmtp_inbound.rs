//! The bytes of a ZeroMQ peer, in pieces, through the filter of the engine `zeromq`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_zmq::fuzz::inbound_filter(bytes));
