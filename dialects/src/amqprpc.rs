//! amqprpc over RabbitMQ, as client and as server: py-amqprpc and go-amqprpc, the calls of Go's
//! `net/rpc` in the properties of a message.
//!
//! [`Amqprpc`] is both halves of the format: a [`Dialect`](polywire_core::Dialect) for the bodies
//! and an [`AmqpLayout`](polywire_amqp::AmqpLayout) for the messages. `docs/migrate/amqprpc.md`
//! shows how a service moves.

// The files, from the body outwards:
//
// - `argument`: the one argument of a call. `one_argument`: its reading into each type.
// - `error_texts`: error texts and the faults that stand for them.
// - `reply_address`: the way back of a reply.
// - `dialect` and `layout`: the two halves. `topology`: the queues.
//
// The crate has what all dialects share: `format` for bodies, `request_id` for their replies.

mod argument;
mod dialect;
mod error_texts;
mod layout;
mod one_argument;
mod reply_address;
mod settings;
mod topology;

pub use self::settings::Amqprpc;
