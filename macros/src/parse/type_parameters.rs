//! Names of the generated type parameters.

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::format_ident;

/// Names for the type parameters of the generated types and functions.
///
/// Names of types are not hygienic: a parameter `D` hides a type `D` of the user. So each parameter
/// is named by its letter only where the annotated item has no such name, and by the letter with a
/// number otherwise.
pub(crate) struct TypeParameters {
    /// The dialect of a handle or a server: `D`.
    pub(crate) dialect: Ident,
    /// The service below a client: `S`.
    pub(crate) service: Ident,
    /// The transport that a handle connects over, or the implementation of the trait: `T`.
    pub(crate) target: Ident,
}

impl TypeParameters {
    /// Chooses names that are not in `item`.
    ///
    /// `item` holds the names in attributes, bodies and groups as well. More names than needed are
    /// avoided, which does no harm.
    pub(super) fn beside(item: &TokenStream) -> Self {
        let mut taken = HashSet::new();
        collect_names(item.clone(), &mut taken);
        Self { dialect: free("D", &taken), service: free("S", &taken), target: free("T", &taken) }
    }
}

/// Adds all names of `tokens` to `names`.
fn collect_names(tokens: TokenStream, names: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_names(group.stream(), names),
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
            }
            TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Returns the letter, or the letter with the smallest number that makes it a new name.
fn free(letter: &str, taken: &HashSet<String>) -> Ident {
    let mut ident = format_ident!("{letter}");
    let mut number = 1_u32;
    while taken.contains(&ident.to_string()) {
        ident = format_ident!("{letter}{number}");
        number += 1;
    }
    ident
}
