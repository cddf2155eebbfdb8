//! The trait itself.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::docs::doc;
use crate::parse::{Argument, Method, ServiceTrait};

/// The trait, whose futures can be sent between threads.
pub(super) fn definition(service: &ServiceTrait) -> TokenStream {
    let ServiceTrait { attrs, vis, ident, supertraits, methods } = service;
    let (client, server) = (format_ident!("{ident}Client"), format_ident!("{ident}Server"));
    let doc = doc(&["", &format!("[`{client}`] calls such a service, [`{server}`] serves it.")]);
    let supertraits = supertraits.iter();
    let methods = methods.iter().map(method);
    quote! {
        #(#attrs)*
        #doc
        #vis trait #ident: #(#supertraits +)* ::std::marker::Send + ::std::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

fn method(method: &Method) -> TokenStream {
    let Method { attrs, ident, arguments, output, .. } = method;
    let arguments = arguments.iter().map(|Argument { ident, ty }| quote!(#ident: #ty));
    quote! {
        #(#attrs)*
        fn #ident(
            &self,
            #(#arguments),*
        ) -> impl ::std::future::Future<Output = #output> + ::std::marker::Send;
    }
}
