//! The arguments of a method as one value, named on the wire.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::parse::{Argument, Method};

/// The struct of the arguments. What serde derives writes a map, and reads maps and arrays.
pub(super) fn definition(method: &Method) -> TokenStream {
    let struct_name = ident(method);
    let fields = method.arguments.iter().map(|Argument { ident, ty }| quote!(#ident: #ty));
    let expecting = expecting(method);
    let cfgs = method.cfgs();
    quote! {
        #(#cfgs)*
        #[derive(::polywire::__private::serde::Serialize, ::polywire::__private::serde::Deserialize)]
        #[serde(crate = "::polywire::__private::serde", expecting = #expecting)]
        struct #struct_name { #(#fields),* }
    }
}

/// The name of the struct: one that a user's own type is unlikely to have.
pub(super) fn ident(method: &Method) -> Ident {
    format_ident!("__{}_arguments", method.ident)
}

fn expecting(method: &Method) -> String {
    let names: Vec<_> = method.arguments.iter().map(|argument| argument.ident.unraw().to_string()).collect();
    match names.is_empty() {
        true => "no arguments".to_owned(),
        false => format!("the arguments ({})", names.join(", ")),
    }
}
