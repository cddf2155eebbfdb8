//! Options that an item has so far.

use std::collections::HashSet;

use syn::Result;
use syn::meta::ParseNestedMeta;

/// The names of the options in all attributes of one kind on an item.
///
/// The attributes of a kind add up, so an option must not occur in two of them either.
#[derive(Default)]
pub(super) struct GivenOptions(HashSet<String>);

impl GivenOptions {
    /// Adds an option, and rejects a repeated one.
    ///
    /// Call this after the value of the option is parsed: then the error covers the value, too.
    pub(super) fn add(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match self.0.insert(option.clone()) {
            true => Ok(()),
            false => Err(meta.error(format!("`{option}` is set twice: leave one of them out"))),
        }
    }
}
