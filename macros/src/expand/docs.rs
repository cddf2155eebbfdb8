//! The documentation of what is written.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit};

use crate::parse::Method;

/// Attributes that document an item with these lines.
pub(super) fn doc(lines: &[&str]) -> TokenStream {
    quote!(#(#[doc = #lines])*)
}

/// What a client adds to the documentation of a method, which may have told of its own faults already.
pub(super) fn ending(method: &Method) -> TokenStream {
    let texts: Vec<_> = method.attrs.iter().filter_map(text).collect();
    if texts.iter().flat_map(|text| text.lines()).any(|line| line.trim() == "# Errors") {
        return doc(&["", "Otherwise as [`Client::call`](::polywire::Client::call)."]);
    }
    let summary = match texts.is_empty() {
        true => format!("Calls `{}`.", method.name.value()),
        false => String::new(),
    };
    doc(&[&summary, "", "# Errors", "", "As [`Client::call`](::polywire::Client::call)."])
}

/// The text of a doc comment.
fn text(attr: &Attribute) -> Option<String> {
    let meta = attr.meta.require_name_value().ok().filter(|meta| meta.path.is_ident("doc"))?;
    match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}
