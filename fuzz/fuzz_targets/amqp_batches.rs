//! The body of a batch of calls, or of replies, over RabbitMQ.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polywire_amqp::fuzz::batches(bytes));
