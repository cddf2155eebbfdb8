//! Faults as plain data.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Fault};

/// Fault as plain data, for any format of serde.
///
/// A missing field has its default: a fault without a code is [`Code::Internal`].
///
/// ```
/// use polywire_core::transport::kit::FaultEnvelope;
/// use polywire_core::{Code, Fault};
///
/// let fault = Fault::new(Code::Unavailable, "no room").permanent();
/// assert_eq!(FaultEnvelope::of(&fault).into_fault(), fault);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FaultEnvelope {
    /// Number of the code; see [`Code::as_u8`].
    pub code: u8,
    /// The peer's own name for the failure.
    pub kind: String,
    /// Description for people.
    pub message: String,
    /// Details, as the peer's codec wrote them.
    pub details: Vec<u8>,
    /// Set if another attempt would fail in the same way.
    pub is_permanent: bool,
}

impl FaultEnvelope {
    /// Copies a fault. A [value](Fault::with_value) that no dialect has written is left out.
    #[must_use]
    pub fn of(fault: &Fault) -> Self {
        Self {
            code: fault.code.as_u8(),
            kind: fault.kind.clone(),
            message: fault.message.clone(),
            details: fault.details.to_vec(),
            is_permanent: fault.is_permanent(),
        }
    }

    /// Returns the fault. An unknown code is [`Code::Internal`].
    #[must_use]
    pub fn into_fault(self) -> Fault {
        let Self { code, kind, message, details, is_permanent } = self;
        let fault = Fault::new(Code::from_u8(code), message).with_kind(kind).with_details(details);
        if is_permanent { fault.permanent() } else { fault }
    }
}
