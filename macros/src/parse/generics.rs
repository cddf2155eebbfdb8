//! The check that an annotated item is not generic.

use syn::{Error, Generics, Result};

/// Rejects generic parameters and `where` clauses with `message`.
///
/// The error points at the parameters, or at the clause.
pub(super) fn check_not_generic(generics: &Generics, message: &str) -> Result<()> {
    if !generics.params.is_empty() {
        return Err(Error::new_spanned(&generics.params, message));
    }
    match &generics.where_clause {
        Some(clause) => Err(Error::new_spanned(clause, message)),
        None => Ok(()),
    }
}
