//! The typed pusher.

use proc_macro2::TokenStream;
use quote::quote;

use super::arguments;
use super::docs;
use super::end::End;
use crate::parse::{Method, ServiceTrait};

/// The pusher as a typed handle.
pub(super) const PUSHER: End =
    End { suffix: "Pusher", does: "Pushes jobs for", to: "queue", layered: false, names: true };

/// The methods of the pusher.
pub(super) fn impls(service: &ServiceTrait) -> TokenStream {
    let methods = service.methods.iter().map(|method| function(method, service));
    let nested = PUSHER.nested(service);
    PUSHER.impls(service, &quote!(#(#methods)* #nested))
}

/// The pusher function of a method. `push_call` adds the prefix of a nested pusher.
///
/// ```text
/// pub async fn resize(&self, name: String) -> Result<()> {
///     self.0.push_call(Address::from_static("resize")?, &__resize_arguments { name }).await
/// }
/// ```
fn function(method: &Method, service: &ServiceTrait) -> TokenStream {
    let (vis, ident, name) = (&service.vis, &method.ident, &method.options.name);
    let attrs = docs::of_job(method);
    let parameters = arguments::parameters(method);
    let arguments = arguments::together(method);
    quote! {
        #attrs
        #vis async fn #ident(&self, #(#parameters),*) -> ::polywire::Result<()> {
            self.0.push_call(::polywire::Address::from_static(#name)?, &#arguments).await
        }
    }
}
