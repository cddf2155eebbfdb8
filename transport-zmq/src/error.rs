//! The errors that several places make.

use std::sync::{Mutex, MutexGuard, PoisonError};

use polywire_core::{Error, ErrorKind};

/// What every use of a closed end says.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

/// Something the program said is malformed.
pub(crate) fn config(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message).unsent()
}

/// A reply that cannot go where the request came from.
pub(crate) fn caller_gone() -> Error {
    Error::new(ErrorKind::Unroutable, "the caller is gone")
}

/// A lock is poisoned only if a panic struck while it was held; no code of ours panics there, and
/// the data would be whole anyway.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
