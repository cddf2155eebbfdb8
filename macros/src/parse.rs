//! The annotated trait or error type as data, and the checks that reject it.

mod argument;
mod collected;
mod conditions;
mod error;
mod generics;
mod method;
mod nested;
mod options;
mod service_trait;
mod taken_names;
mod type_parameters;
mod types;

pub(crate) use self::argument::{Argument, ArgumentDefault};
pub(crate) use self::error::{Case, ErrorType, is_skipped};
pub(crate) use self::method::Method;
pub(crate) use self::nested::Nested;
pub(crate) use self::service_trait::ServiceTrait;
pub(crate) use self::type_parameters::TypeParameters;
pub(crate) use self::types::Failure;
