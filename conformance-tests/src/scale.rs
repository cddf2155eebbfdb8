//! The scale of the cases that have a long form.

/// The variable of the environment that asks for the long form of cases.
const LONG: &str = "POLYWIRE_CONFORMANCE_LONG";

/// Returns the number of messages of a case: `long` if the environment asks for the long form, and
/// `usual` otherwise.
pub(crate) fn messages(usual: u32, long: u32) -> u32 {
    if std::env::var_os(LONG).is_some_and(|value| value == "1") { long } else { usual }
}
