//! Values that are validated when they are decoded and when they are encoded.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// A validator of values of type `T`.
///
/// One validator may cover all types that a crate such as `garde` can check, or there may be one
/// for each type.
pub trait Validate<T: ?Sized> {
    /// The description of an invalid value: the position and the cause.
    type Error: fmt::Display;

    /// Validates the value.
    ///
    /// # Errors
    ///
    /// The violations, if the value is invalid.
    fn validate(value: &T) -> Result<(), Self::Error>;
}

/// A value that the validator `V` accepts. An invalid value can neither be decoded nor encoded.
///
/// An invalid argument, or part of one, is refused with
/// [`Code::InvalidArguments`](crate::Code::InvalidArguments) and the violations; the handler does
/// not run. A result is validated twice. An invalid result does not leave its server: the caller
/// gets [`Code::Internal`](crate::Code::Internal). A caller that asks for a `Valid` result fails on
/// an invalid one, even if the server did not validate.
///
/// ```
/// # use polywire_codec::Json;
/// use polywire_core::{CallError, Client, Code, Router, Valid, Validate};
///
/// /// A share of a whole, from 0 to 1.
/// struct Share;
///
/// impl Validate<f64> for Share {
///     type Error = &'static str;
///
///     fn validate(share: &f64) -> Result<(), &'static str> {
///         if (0.0..=1.0).contains(share) { Ok(()) } else { Err("not between 0 and 1") }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let router = Router::new(Json)
///     .method("rest", async |share: Valid<f64, Share>| Ok(1.0 - *share))
///     .method("double", async |share: f64| Ok(Valid::<f64, Share>::from(2.0 * share)));
/// let client = Client::new(router, Json);
/// assert_eq!(client.call::<f64>("rest", &0.25).await?, 0.75);
///
/// let refused = client.call::<f64>("rest", &-1.0).await.unwrap_err();
/// assert_eq!(refused.fault().unwrap().code, Code::InvalidArguments);
/// let failed = client.call::<f64>("double", &0.75).await.unwrap_err();
/// assert_eq!(failed.fault().unwrap().code, Code::Internal);
/// # Ok(())
/// # }
/// ```
///
/// [`From`] does not validate, since encoding does. [`new`](Self::new) validates at once.
pub struct Valid<T, V> {
    value: T,
    validator: PhantomData<fn() -> V>,
}

impl<T, V: Validate<T>> Valid<T, V> {
    /// Validates `value` and wraps it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] with the validator's text, if the value is invalid.
    pub fn new(value: T) -> Result<Self> {
        match V::validate(&value) {
            Ok(()) => Ok(Self::from(value)),
            Err(error) => Err(Error::new(ErrorKind::Codec, error.to_string())),
        }
    }
}

impl<T, V> Valid<T, V> {
    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T, V> From<T> for Valid<T, V> {
    fn from(value: T) -> Self {
        Self { value, validator: PhantomData }
    }
}

impl<T, V> Deref for Valid<T, V> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize, V: Validate<T>> Serialize for Valid<T, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        V::validate(&self.value).map_err(S::Error::custom)?;
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, V: Validate<T>> Deserialize<'de> for Valid<T, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        V::validate(&value).map_err(D::Error::custom)?;
        Ok(Self::from(value))
    }
}

impl<T: Clone, V> Clone for Valid<T, V> {
    fn clone(&self) -> Self {
        Self::from(self.value.clone())
    }
}

impl<T: PartialEq, V> PartialEq for Valid<T, V> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: fmt::Debug, V> fmt::Debug for Valid<T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
