//! Properties and headers of a delivery of RabbitMQ, built from the bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_amqp::fuzz::headers(bytes));
