//! nameko 2 and 3 over RabbitMQ, as client and as server.
//!
//! [`Nameko`] is both halves of the format: a [`Dialect`](polywire_core::Dialect) for the bodies
//! and an [`AmqpLayout`](polywire_amqp::AmqpLayout) for the messages. `docs/migrate/nameko.md`
//! shows how a service moves.

// The files, from the body outwards:
//
// - `arguments`: positional and named arguments. `outcome`: results and errors.
// - `exceptions`: exceptions of Python and the faults that stand for them.
// - `context_headers`: nameko's context data. `reply_address`: the way back of a reply.
// - `typed_value`: dates, decimals and other values of Python.
// - `dialect` and `layout`: the two halves. `topology`: queues and exchanges.
//
// The crate has what all dialects share: `format` for bodies, `request_id` for their replies.

mod arguments;
mod context_headers;
mod dialect;
mod exceptions;
mod layout;
mod outcome;
mod reply_address;
mod settings;
mod topology;
mod typed_value;

pub use self::settings::Nameko;
pub use self::topology::SINGLETON;
pub use self::typed_value::TypedValue;
