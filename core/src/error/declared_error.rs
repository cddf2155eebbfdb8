//! Declared errors: errors of a method that cross the wire as themselves.

use std::convert::Infallible;
use std::fmt;

use serde::de::DeserializeOwned;

use super::{CallError, Fault, Result};
use crate::dialect::Dialect;
use crate::message::Message;

/// An error that a method declares, so that callers get it back in [`CallError::Declared`].
///
/// Derive it: `#[derive(Fault)]`, which comes with the feature `macros`. On the wire a declared
/// error is a [`Fault`]. The fault's [kind](Fault::kind) names the error, and its details hold the
/// error's fields in the format of the call. A caller that does not declare the error gets that
/// fault.
///
/// An implementation by hand:
///
/// ```
/// # use polywire_codec::MessagePack;
/// use std::fmt;
///
/// use polywire_core::{CallError, Client, Code, Declared, Dialect, Fault, Router};
/// use polywire_core::error::Received;
///
/// #[derive(Debug, PartialEq)]
/// struct OutOfStock {
///     left: u32,
/// }
///
/// impl Declared for OutOfStock {
///     fn into_fault(self) -> Fault {
///         Fault::of(Code::Application, &self).with_kind("OutOfStock").with_value(self.left)
///     }
///
///     fn from_fault<D: Dialect>(fault: &Received<'_, D>) -> Option<Self> {
///         let left = (fault.kind() == "OutOfStock").then(|| fault.details().ok())??;
///         Some(Self { left })
///     }
/// }
/// # impl fmt::Display for OutOfStock {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
/// #         write!(f, "only {} left", self.left)
/// #     }
/// # }
/// # impl std::error::Error for OutOfStock {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let shop = Router::new(MessagePack).method("order", |count: u32| async move {
///     if count > 3 { Err(OutOfStock { left: 3 })? }
///     Ok(count)
/// });
/// let client = Client::new(shop, MessagePack);
/// let ordered = client.request("order").declares::<OutOfStock>().call::<u32>(&5).await;
/// assert!(matches!(ordered, Err(CallError::Declared(OutOfStock { left: 3 }))));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error that a method can declare",
    label = "not a `polywire::Fault`, and none can be made of it",
    note = "derive it: `#[derive(Debug, polywire::Fault)]`, and implement `std::error::Error`; or answer `polywire::Fault`"
)]
pub trait Declared: std::error::Error + Send + Sync + Sized + 'static {
    /// Converts the error into the fault that crosses the wire.
    fn into_fault(self) -> Fault;

    /// Converts a fault back into the error.
    ///
    /// Returns `None` if the fault is no error of this type, or if its details cannot be read.
    fn from_fault<D: Dialect>(fault: &Received<'_, D>) -> Option<Self>;
}

/// A fault from the peer, together with the dialect that reads its details.
pub struct Received<'r, D> {
    dialect: &'r D,
    fault: &'r Fault,
    message: &'r Message,
}

impl<D: Dialect> Received<'_, D> {
    /// Returns the peer's own name for the failure.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.fault.kind
    }

    /// Returns the whole fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        self.fault
    }

    /// Decodes the details into a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the details are no such value, with the
    /// position and the cause.
    pub fn details<T: DeserializeOwned>(&self) -> Result<T> {
        let details = self.dialect.decode_details(self.fault, self.message);
        details.inspect_err(|error| {
            tracing::debug!(?error, kind = self.kind(), "cannot decode the details of a fault");
        })
    }
}

impl<D> fmt::Debug for Received<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("fault", self.fault).finish_non_exhaustive()
    }
}

/// A conversion of a received fault, and the message that carried it, into the error of a call.
pub(crate) type FaultDecoder<D, E> = fn(&D, Fault, &Message) -> CallError<E>;

/// Converts every fault into [`CallError::Fault`].
pub(crate) fn as_fault<D, E>(_: &D, fault: Fault, _: &Message) -> CallError<E> {
    CallError::Fault(fault)
}

/// Converts a fault into [`CallError::Declared`] if the method declares it.
pub(crate) fn as_declared<D: Dialect, E: Declared>(
    dialect: &D,
    fault: Fault,
    message: &Message,
) -> CallError<E> {
    match E::from_fault(&Received { dialect, fault: &fault, message }) {
        Some(error) => CallError::Declared(error),
        None => CallError::Fault(fault),
    }
}

/// Converts a declared error back into its [`Fault`], for callers of methods that declare
/// different errors.
impl<E: Declared> From<CallError<E>> for CallError {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::DeadlineExceeded(target) => Self::DeadlineExceeded(target),
            CallError::Failed(error) => Self::Failed(error),
            CallError::Fault(fault) => Self::Fault(fault),
            CallError::Declared(error) => Self::Fault(error.into_fault()),
        }
    }
}

/// Converts like [the plain `CallError`](#impl-From<CallError>-for-Fault); a declared error of the
/// called method becomes its fault.
impl<E: Declared> From<CallError<E>> for Fault {
    fn from(error: CallError<E>) -> Self {
        CallError::<Infallible>::from(error).into()
    }
}

/// Converts a declared error into the fault that crosses the wire, so that `?` works in a handler
/// that returns any fault.
impl<E: Declared> From<E> for Fault {
    fn from(error: E) -> Self {
        error.into_fault()
    }
}
