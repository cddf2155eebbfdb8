//! The arguments of a method as one struct, with named fields on the wire.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::parse::{Argument, ArgumentDefault, Method};

/// The struct of the arguments. Its serde code writes a map and reads maps and arrays. In a map, an
/// argument may have its position as its name, so that both mix in one call.
///
/// For a method `search` whose second argument has a default:
///
/// ```text
/// #[derive(Serialize, Deserialize)]
/// #[serde(crate = "…", expecting = "the arguments (words, limit)")]
/// struct __search_arguments {
///     #[serde(alias = "0")] words: String,
///     #[serde(default = "__search_arguments::__default_limit")] #[serde(alias = "1")] limit: u32,
/// }
///
/// impl __search_arguments { fn __default_limit() -> u32 { 10 } }
/// ```
pub(super) fn definition(method: &Method) -> TokenStream {
    let struct_name = ident(method);
    let fields =
        (0..).zip(&method.arguments).map(|(position, argument)| field(method, argument, position));
    let defaults =
        method.arguments.iter().filter_map(|argument| default_function(method, argument));
    let expecting = expecting(method);
    let cfgs = method.cfgs();
    quote! {
        #(#cfgs)*
        #[derive(::polywire::__private::serde::Serialize, ::polywire::__private::serde::Deserialize)]
        #[serde(crate = "::polywire::__private::serde", expecting = #expecting)]
        struct #struct_name { #(#fields),* }

        #(#defaults)*
    }
}

/// The name of the struct, chosen so that it rarely collides with a type of the user.
///
/// For instance `__add_arguments`. Methods differ in their names, so the names of their structs do.
pub(super) fn ident(method: &Method) -> Ident {
    format_ident!("__{}_arguments", method.ident)
}

/// The parameters of the client's functions, one for each argument.
pub(super) fn parameters(method: &Method) -> impl Iterator<Item = TokenStream> {
    method.arguments.iter().map(|Argument { ident, ty, .. }| quote!(#ident: #ty))
}

/// The expression that builds the struct from the parameters.
///
/// For instance `__add_arguments { a, b }`. The parameters are moved.
pub(super) fn together(method: &Method) -> TokenStream {
    let struct_name = ident(method);
    let fields = method.arguments.iter().map(|argument| &argument.ident);
    quote!(#struct_name { #(#fields),* })
}

/// The type that a handler takes. If no argument is required, the whole struct may be absent.
///
/// An absent struct is null on the wire. A method without arguments counts as one whose arguments
/// are not required.
pub(super) fn taken(method: &Method) -> TokenStream {
    let struct_name = ident(method);
    match method.arguments.iter().all(|argument| argument.default.is_some()) {
        true => quote!(::std::option::Option<#struct_name>),
        false => quote!(#struct_name),
    }
}

/// The statement that fills in the defaults if the struct is absent.
///
/// `None` if an argument is required, or if there is no argument. Otherwise:
///
/// ```text
/// let arguments = arguments
///     .unwrap_or_else(|| __page_arguments { limit: __page_arguments::__default_limit() });
/// ```
pub(super) fn filled_in(method: &Method) -> Option<TokenStream> {
    let struct_name = ident(method);
    let fields = method.arguments.iter().map(|argument| &argument.ident);
    let defaults = method.arguments.iter().map(|argument| default(method, argument));
    let defaults = defaults.collect::<Option<Vec<_>>>().filter(|defaults| !defaults.is_empty())?;
    Some(
        quote!(let arguments = arguments.unwrap_or_else(|| #struct_name { #(#fields: #defaults),* });),
    )
}

/// The field of an argument. `position` counts from 0, and is the other name of the field on the
/// wire.
fn field(method: &Method, argument: &Argument, position: usize) -> TokenStream {
    let (struct_name, function) = (ident(method), default_name(argument));
    let (Argument { ident, ty, default }, position) = (argument, position.to_string());
    let serde = default.as_ref().map(|default| match default {
        ArgumentDefault::OfType => quote!(#[serde(default)]),
        ArgumentDefault::Value(_) => {
            let path = format!("{struct_name}::{function}");
            quote!(#[serde(default = #path)])
        }
    });
    quote!(#serde #[serde(alias = #position)] #ident: #ty)
}

/// The expression for the value of an absent argument.
///
/// `None` if the argument is required.
fn default(method: &Method, argument: &Argument) -> Option<TokenStream> {
    Some(match argument.default.as_ref()? {
        ArgumentDefault::OfType => quote!(::std::default::Default::default()),
        ArgumentDefault::Value(_) => {
            let (struct_name, function) = (ident(method), default_name(argument));
            quote!(#struct_name::#function())
        }
    })
}

/// The function that returns a written default.
///
/// serde takes the path of a function, not an expression. The function belongs to the struct: names
/// joined from those of the method and the argument could be equal for two methods. A string
/// literal is converted by `Into`, so that it fits a `String`. `None` without a written default.
fn default_function(method: &Method, argument: &Argument) -> Option<TokenStream> {
    let default = argument.default.as_ref()?;
    let ArgumentDefault::Value(value) = default else { return None };
    let (struct_name, function) = (ident(method), default_name(argument));
    let (ty, cfgs) = (&argument.ty, method.cfgs());
    let value =
        if default.is_text() { quote!(::std::convert::Into::into(#value)) } else { quote!(#value) };
    Some(quote! {
        #(#cfgs)*
        impl #struct_name {
            fn #function() -> #ty { #value }
        }
    })
}

/// The name of the function for a written default, such as `__default_limit`.
fn default_name(argument: &Argument) -> Ident {
    format_ident!("__default_{}", argument.ident)
}

/// The words of serde's error for a value that is neither a map nor an array.
fn expecting(method: &Method) -> String {
    let names: Vec<_> =
        method.arguments.iter().map(|argument| argument.ident.unraw().to_string()).collect();
    match names.is_empty() {
        true => "no arguments".to_owned(),
        false => format!("the arguments ({})", names.join(", ")),
    }
}
