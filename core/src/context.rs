//! The context of a handler, and its propagation into the messages that the handler sends.

mod baggage;
mod call_stack;
mod current;
mod handler_context;

pub use self::baggage::Baggage;
pub use self::call_stack::CallStack;
pub(crate) use self::current::{limit_deadline, propagate};
pub use self::handler_context::Context;
