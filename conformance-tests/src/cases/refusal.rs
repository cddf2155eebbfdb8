//! The error of an operation, and its refusal for want of a capability.

use polywire_core::{CallError, Error, ErrorKind};

use crate::verdict::{Failure, Verdict};

/// Checks how opening an endpoint handle ended: it must succeed, or fail as unsupported where the
/// capability is lacking.
///
/// # Errors
///
/// [`Failure::Failed`], naming the capability, if it ended in another way.
#[allow(clippy::needless_pass_by_value, reason = "owned and borrowed errors fit alike")]
pub(super) fn opens_unless_lacking(
    capability: &str,
    is_lacking: bool,
    error: Option<&Error>,
) -> Verdict {
    match error {
        Some(error) if !is_lacking => Err(Failure::new(format!(
            "{capability} is there, and asking for it failed as {error:?}"
        ))),
        error => supported_unless_lacking(capability, is_lacking, error),
    }
}

/// Checks how an operation ended: not as unsupported, or as unsupported where the capability is
/// lacking. Another failure, such as a missing receiver, is none of this check.
///
/// # Errors
///
/// [`Failure::Failed`], naming the capability, if it ended in another way.
#[allow(clippy::needless_pass_by_value, reason = "owned and borrowed errors fit alike")]
pub(super) fn supported_unless_lacking(
    capability: &str,
    is_lacking: bool,
    error: Option<&Error>,
) -> Verdict {
    let is_refused = error.is_some_and(|error| error.kind() == ErrorKind::Unsupported);
    match (is_lacking, error) {
        (lacking, _) if lacking == is_refused => Ok(()),
        (true, None) => {
            Err(Failure::new(format!("{capability} is lacking, and asking for it succeeded")))
        }
        (true, Some(error)) => Err(Failure::new(format!(
            "{capability} is lacking, and asking for it failed as {error:?}"
        ))),
        (false, error) => {
            let refusal = error.map(|error| format!("{error:?}")).unwrap_or_default();
            Err(Failure::new(format!(
                "{capability} is there, and asking for it failed as {refusal}"
            )))
        }
    }
}

/// The error on this side that a call failed with.
pub(super) fn error_of<T>(outcome: &Result<T, CallError>) -> Option<&Error> {
    match outcome {
        Err(CallError::Failed(error)) => Some(error),
        _ => None,
    }
}
