//! The typed publisher.

use proc_macro2::TokenStream;
use quote::quote;

use super::arguments;
use super::docs;
use super::end::End;
use crate::parse::{Method, ServiceTrait};

/// The publisher as a typed handle.
pub(super) const PUBLISHER: End = End {
    suffix: "Publisher",
    does: "Publishes events for",
    to: "channel",
    layered: false,
    names: false,
};

/// The methods of the publisher.
pub(super) fn impls(service: &ServiceTrait) -> TokenStream {
    let methods = service.methods.iter().map(|method| function(method, service));
    let nested = PUBLISHER.nested(service);
    PUBLISHER.impls(service, &quote!(#(#methods)* #nested))
}

/// The publisher function of a method.
///
/// The event has the topic of the method, and its arguments as the body:
///
/// ```text
/// pub async fn paid(&self, order: u64) -> Result<()> {
///     self.0.publish(Address::from_static("orders.paid")?, &__paid_arguments { order }).await
/// }
/// ```
fn function(method: &Method, service: &ServiceTrait) -> TokenStream {
    let (vis, ident, topic) = (&service.vis, &method.ident, &method.options.topic);
    let attrs = docs::of_event(method);
    let parameters = arguments::parameters(method);
    let arguments = arguments::together(method);
    quote! {
        #attrs
        #vis async fn #ident(&self, #(#parameters),*) -> ::polywire::Result<()> {
            self.0.publish(::polywire::Address::from_static(#topic)?, &#arguments).await
        }
    }
}
