//! The outcome of an operation.

use polywire_core::CallError;

/// The outcome of an operation, as far as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum OperationOutcome {
    /// The operation was done, or a peer or broker accepted it.
    Acknowledged,
    /// The operation was not done and never will be.
    Failed,
    /// The caller cannot know.
    Indeterminate,
}

impl OperationOutcome {
    /// The outcome of a call. A failure counts as failed for sure only if its error is
    /// [unsent](polywire_core::Error::is_unsent).
    pub fn of<T>(outcome: &Result<T, CallError>) -> Self {
        match outcome {
            Ok(_) => Self::Acknowledged,
            Err(CallError::Failed(error)) if error.is_unsent() => Self::Failed,
            Err(_) => Self::Indeterminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn only_an_unsent_call_failed_for_sure() {
        let error = Error::new(ErrorKind::Unroutable, "no server");
        let of = |outcome: Result<(), CallError>| OperationOutcome::of(&outcome);
        assert_eq!(of(Ok(())), OperationOutcome::Acknowledged);
        assert_eq!(of(Err(error.clone().into())), OperationOutcome::Indeterminate);
        assert_eq!(of(Err(error.unsent().into())), OperationOutcome::Failed);
        assert_eq!(of(Err(CallError::deadline_exceeded())), OperationOutcome::Indeterminate);
    }
}
