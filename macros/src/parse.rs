//! The annotated trait or error type as data, and the checks that reject it.
//!
//! A check fails with a `syn::Error` at the part of the user's code that causes the error. Mistakes
//! in independent members appear in one run of the compiler.
//!
//! The checks see syntax alone. Types and paths are resolved by the compiler, in the generated
//! code. `expand` generates code for parsed data and rejects nothing.

mod argument;
mod collected;
mod conditions;
mod error;
mod generics;
mod given_options;
mod groups;
mod method;
mod nested;
mod options;
mod service_trait;
mod taken_names;
mod type_parameters;
mod types;

pub(crate) use self::argument::{Argument, ArgumentDefault};
pub(crate) use self::error::{ErrorType, FaultCase, is_skipped};
pub(crate) use self::method::Method;
pub(crate) use self::nested::Nested;
pub(crate) use self::service_trait::ServiceTrait;
pub(crate) use self::type_parameters::TypeParameters;
pub(crate) use self::types::FailureType;
