//! The integration tests of `it`, on engine `zeromq`.

#![cfg(feature = "engine-zeromq")]

#[path = "it/main.rs"]
mod it;

#[allow(unused_imports, reason = "the tests name their helpers from the root of the program")]
use self::it::support;
