//! The names of the variables of URLs.

/// The variable of the URL.
pub(crate) const URL_VARIABLE: &str = "POLYWIRE_URL";

/// Returns the variable of the URL of a name.
pub(crate) fn url_variable(name: &str) -> String {
    format!("{URL_VARIABLE}_{}", variable_name(name))
}

/// Returns a name as it is written in variables: in upper case, with `_` for everything else than
/// letters and digits.
///
/// Only ASCII letters and digits are kept. Names that differ in other characters, such as
/// `orders.eu` and `orders-eu`, share one variable, and so one URL.
pub(crate) fn variable_name(name: &str) -> String {
    let upper = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(upper).collect()
}
