//! The code that is written for a trait, and for an error.

mod arguments;
mod client;
mod docs;
mod end;
mod fault;
mod publisher;
mod pusher;
mod server;
mod service;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use self::fault::expand as expand_fault;
use crate::parse::ServiceTrait;

/// Writes the trait, its server, and the typed ends that call it.
///
/// Only names that the user should see are in the open; the rest is in the scope of a constant.
pub(crate) fn expand(service: &ServiceTrait) -> TokenStream {
    let definition = service::definition(service);
    let ends = ends(service);
    let (end_definitions, end_impls) =
        (ends.iter().map(|end| &end.0), ends.iter().map(|end| &end.1));
    let server = server::definition(service);
    let arguments = service.methods.iter().map(arguments::definition);
    let server_impls = server::impls(service);
    let cfgs = service.cfgs();
    quote! {
        #definition
        #(#end_definitions)*
        #server
        // Names are as the user wrote them, and perhaps only one of the two ends is used.
        #(#cfgs)*
        #[allow(dead_code, deprecated, non_camel_case_types, non_snake_case, unused_variables)]
        const _: () = {
            #(#arguments)*
            #(#end_impls)*
            #server_impls
        };
    }
}

/// The typed ends of the patterns that the service is for: the struct of each, and what it can do.
fn ends(service: &ServiceTrait) -> Vec<(TokenStream, TokenStream)> {
    let patterns = service.patterns;
    let mut ends = Vec::new();
    if patterns.call {
        ends.push((client::CLIENT.definition(service), client::impls(service)));
    }
    if patterns.push {
        ends.push((pusher::PUSHER.definition(service), pusher::impls(service)));
    }
    if patterns.publish {
        ends.push((publisher::PUBLISHER.definition(service), publisher::impls(service)));
    }
    ends
}
