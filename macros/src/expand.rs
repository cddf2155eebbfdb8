//! The code that is written for a trait.

mod arguments;
mod client;
mod docs;
mod server;
mod service;

use proc_macro2::TokenStream;
use quote::quote;

use crate::parse::ServiceTrait;

/// Writes the trait, its client and its server.
///
/// Only names that the user should see are in the open; the rest is in the scope of a constant.
pub(crate) fn expand(service: &ServiceTrait) -> TokenStream {
    let definition = service::definition(service);
    let client = client::definition(service);
    let server = server::definition(service);
    let arguments = service.methods.iter().map(arguments::definition);
    let client_impls = client::impls(service);
    let server_impls = server::impls(service);
    let cfgs = service.cfgs();
    quote! {
        #definition
        #client
        #server
        // Names are as the user wrote them, and perhaps only one of the two ends is used.
        #(#cfgs)*
        #[allow(dead_code, deprecated, non_camel_case_types, non_snake_case, unused_variables)]
        const _: () = {
            #(#arguments)*
            #client_impls
            #server_impls
        };
    }
}
