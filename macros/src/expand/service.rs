//! The service trait itself.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{arguments, client, docs, publisher, pusher};
use crate::parse::{Method, Nested, ServiceTrait};

/// The trait, with futures that are `Send`.
///
/// An `async fn` of a public trait has a future that may not be `Send`, so each method becomes a
/// plain function:
///
/// ```text
/// pub trait Calculator: Send + Sync + 'static {
///     fn add(&self, a: i64, b: i64) -> impl Future<Output = (Result<i64, Fault>)> + Send;
///     fn loans(&self) -> impl Loans;
/// }
/// ```
///
/// An implementation may still write `async fn add`.
pub(super) fn definition(service: &ServiceTrait) -> TokenStream {
    let ServiceTrait { attrs, vis, ident, supertraits, methods, nested, .. } = service;
    let doc = docs::continued(attrs, &others(service));
    let supertraits = supertraits.iter();
    let (methods, nested) = (methods.iter().map(method), nested.iter().map(accessor));
    quote! {
        #(#attrs)*
        #doc
        #vis trait #ident: #(#supertraits +)* ::std::marker::Send + ::std::marker::Sync + 'static {
            #(#methods)*
            #(#nested)*
        }
    }
}

/// The documentation of the items beside the trait.
fn others(service: &ServiceTrait) -> String {
    let patterns = service.patterns;
    let mut others = format!("[`{}`] serves it", format_ident!("{}Server", service.ident));
    let ends = [
        (patterns.call, client::CLIENT, "calls its methods"),
        (patterns.push, pusher::PUSHER, "pushes jobs for it"),
        (patterns.publish, publisher::PUBLISHER, "publishes events for it"),
    ];
    for (_, end, does) in ends.into_iter().filter(|(wanted, ..)| *wanted) {
        others += &format!(", [`{}`] {does}", end.name(service));
    }
    others + "."
}

/// The method of the trait, with the attributes of the user. A method without a return type has the
/// output `()`.
fn method(method: &Method) -> TokenStream {
    let Method { attrs, ident, .. } = method;
    let parameters = arguments::parameters(method);
    let output = method.answer.output.iter();
    quote! {
        #(#attrs)*
        fn #ident(
            &self,
            #(#parameters),*
        ) -> impl ::std::future::Future<Output = (#(#output)*)> + ::std::marker::Send;
    }
}

/// The function that returns a nested service.
fn accessor(nested: &Nested) -> TokenStream {
    let (Nested { attrs, ident, .. }, service) = (nested, nested.service());
    quote! {
        #(#attrs)*
        fn #ident(&self) -> impl #service;
    }
}
