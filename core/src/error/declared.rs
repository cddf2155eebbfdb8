//! Errors that a method declares, and that cross the wire as themselves.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::dialect::Dialect;
use crate::error::{CallError, Fault, Result};
use crate::message::Message;

/// An error that a method declares: its callers get it back as itself, in [`CallError::Declared`].
///
/// Derive it: `#[derive(Fault)]`, which comes with the feature `macros`. On the wire it is a
/// [`Fault`], whose [kind](Fault::kind) says which error it is, and whose details hold its fields
/// in the format of the call. A caller that knows nothing of it sees that fault.
///
/// By hand, it is this:
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
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "only {} left", self.left) }
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
    /// What it is on the wire.
    fn into_fault(self) -> Fault;

    /// The error that the fault was; `None`, if it is none of this type, or its details cannot be
    /// read.
    fn from_fault<D: Dialect>(fault: &Received<'_, D>) -> Option<Self>;
}

/// A fault that came from the peer, with what it takes to read its details.
pub struct Received<'r, D> {
    dialect: &'r D,
    fault: &'r Fault,
    message: &'r Message,
}

impl<D: Dialect> Received<'_, D> {
    /// What the peer calls it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.fault.kind
    }

    /// The whole fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        self.fault
    }

    /// Its details as a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if they are not such a value, saying where and
    /// why.
    pub fn details<T: DeserializeOwned>(&self) -> Result<T> {
        let details = self.dialect.decode_details(self.fault, self.message);
        details.inspect_err(|error| {
            tracing::debug!(?error, kind = self.kind(), "a fault of unknown details")
        })
    }
}

impl<D> fmt::Debug for Received<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("fault", self.fault).finish_non_exhaustive()
    }
}

/// What a caller makes of a fault that came with a message.
pub(crate) type FaultDecoder<D, E> = fn(&D, Fault, &Message) -> CallError<E>;

/// Takes every fault for one.
pub(crate) fn as_fault<D, E>(_: &D, fault: Fault, _: &Message) -> CallError<E> {
    CallError::Fault(fault)
}

/// Takes a fault for the error that it was.
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
