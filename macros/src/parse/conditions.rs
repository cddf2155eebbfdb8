//! The `cfg` attributes of an annotated item.

use syn::Attribute;

/// Returns the `cfg` attributes among `attrs`.
pub(super) fn cfgs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
}
