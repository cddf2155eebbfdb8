//! URLs of both backends: parsed, or refused with a reason.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    polywire_zmq::fuzz::url(text);
    polywire_amqp::fuzz::url(text);
});
