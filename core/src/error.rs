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
mod declared_error;
mod error_kind;
mod fault;
mod fault_code;
mod local_error;
mod report;

pub use self::call_error::CallError;
pub use self::call_target::CallTarget;
pub use self::declared_error::{Declared, Received};
pub(crate) use self::declared_error::{FaultDecoder, as_declared, as_fault};
pub use self::error_kind::ErrorKind;
pub use self::fault::Fault;
pub use self::fault_code::Code;
pub use self::local_error::{Error, Result};
pub(crate) use self::report::report;
