//! Results of several parts of an item, with all of their errors.

use syn::{Error, Result};

/// Collects all values, or all errors as one.
///
/// Every result is looked at, so a user sees all mistakes in one run of the compiler. The values
/// keep the order of the results.
pub(super) fn all<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut errors = None::<Error>;
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    errors.map_or(Ok(values), Err)
}
