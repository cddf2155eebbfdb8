//! Code generation for a service trait and for an error type.

mod arguments;
mod client;
mod docs;
mod end;
mod fault;
mod publisher;
mod pusher;
mod send_options;
mod server;
mod service;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use self::fault::expand as expand_fault;
use crate::parse::ServiceTrait;

/// Generates the trait, its server, and the typed endpoint handles that call it.
///
/// Only names for the user are public; all others are in the scope of a constant.
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
        // Names keep the case that the user wrote; a program may use only one of the handles.
        #(#cfgs)*
        #[allow(dead_code, deprecated, non_camel_case_types, non_snake_case, unused_variables)]
        const _: () = {
            #(#arguments)*
            #(#end_impls)*
            #server_impls
        };
    }
}

/// The typed handles for the patterns of the service: the struct of each and its methods.
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
