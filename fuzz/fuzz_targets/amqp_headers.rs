//! Properties and headers of a delivery of RabbitMQ, made of what the bytes say.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_amqp::fuzz::headers(bytes));
