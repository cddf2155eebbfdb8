//! The context of a handler, and its propagation into the messages that the handler sends.

mod baggage;
mod call_stack;
mod current_context;
mod handler_context;
mod propagation;

pub use self::baggage::Baggage;
pub use self::call_stack::CallStack;
pub(crate) use self::current_context::within_call;
pub use self::handler_context::Context;
pub(crate) use self::propagation::{limit_deadline, propagate};
