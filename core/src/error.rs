//! Errors of this side ([`Error`]), faults of the peer ([`Fault`]), and the outcome of a failed
//! call ([`CallError`]).
//!
//! | type | failed | for code to branch on |
//! |---|---|---|
//! | [`Error`] | this process, its transport, or the way to the peer | [`ErrorKind`] |
//! | [`Fault`] | the method at the peer, or the peer's server | [`Code`] |
//! | [`CallError`] | a call, in one of these two ways or by its deadline | its variants |
//! | a [`Declared`] error | the method, in a way that its signature names | the error's own variants |

mod call_error;
mod call_target;
mod code;
mod declared;
mod fault;
mod kind;
mod local;
mod report;

pub use self::call_error::CallError;
pub use self::call_target::CallTarget;
pub use self::code::Code;
pub use self::declared::{Declared, Received};
pub(crate) use self::declared::{FaultDecoder, as_declared, as_fault};
pub use self::fault::Fault;
pub use self::kind::ErrorKind;
pub use self::local::{Error, Result};
pub(crate) use self::report::report;
