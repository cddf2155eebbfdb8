//! Code generation for a service trait and for an error type.
//!
//! No function of these modules fails. Names of generated items that a user never writes begin with
//! two underscores.

mod arguments;
mod client;
mod code_blocks;
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
///
/// For the trait `Calculator` with one method for calls:
///
/// ```text
/// pub trait Calculator: Send + Sync + 'static { fn add(…) -> impl Future<…> + Send; }
/// pub struct CalculatorClient<D, S = Requester>(Client<D, S>);
/// pub struct CalculatorServer<T, D> { router: Router<D>, service: PhantomData<fn() -> T> }
/// const _: () = {
///     struct __add_arguments { a: i64, b: i64 }
///     impl<D: Dialect> CalculatorClient<D> { … }
///     impl<T: Calculator, D: Dialect> CalculatorServer<T, D> { … }
/// };
/// ```
///
/// The `cfg` attributes of the trait stand before each item at this level.
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
///
/// The first of a pair stands beside the trait, the second within the constant.
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
