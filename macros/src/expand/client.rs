//! The typed client.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Visibility;

use super::arguments;
use super::docs::{self, doc};
use super::end::End;
use crate::parse::{FailureType, Method, ServiceTrait};

/// The client as a typed handle.
pub(super) const CLIENT: End =
    End { suffix: "Client", does: "Calls", to: "service", layered: true, names: true };

/// The methods of the client.
///
/// A function for each method, one for each nested service, and `with_timeout`, beside those of
/// every handle.
pub(super) fn impls(service: &ServiceTrait) -> TokenStream {
    let methods = service.methods.iter().map(|method| function(method, &service.vis));
    let with_timeout = with_timeout(service);
    let nested = CLIENT.nested(service);
    CLIENT.impls(service, &quote!(#(#methods)* #nested #with_timeout))
}

/// The function that returns the same client with another timeout. The service below must be
/// `Clone`.
fn with_timeout(service: &ServiceTrait) -> TokenStream {
    let (vis, below) = (&service.vis, &service.type_parameters.service);
    let doc = doc(&[
        "Returns a client whose calls all wait this long; this client keeps its own timeout.",
    ]);
    quote! {
        #doc
        #[must_use]
        #vis fn with_timeout(&self, timeout: ::std::time::Duration) -> Self
        where
            #below: ::std::clone::Clone,
        {
            Self(self.0.with_timeout(timeout))
        }
    }
}

/// The client function of a method.
///
/// Dropping the generated future cancels the call, as `CallBuilder::call` documents. The name was
/// checked when the trait was parsed, so `from_static` does not fail.
///
/// For a method with an error type of its own, and a timeout:
///
/// ```text
/// pub async fn withdraw(&self, amount: u64) -> Result<u64, CallError<BankError>> {
///     self.0.request(Address::from_static("withdraw")?)
///         .default_timeout(Duration::from_millis(5000))
///         .declares::<BankError>()
///         .call(&__withdraw_arguments { amount })
///         .await
/// }
/// ```
fn function(method: &Method, vis: &Visibility) -> TokenStream {
    let ident = &method.ident;
    let attrs = docs::of_call(method);
    let parameters = arguments::parameters(method);
    let (value, error, call) = (&method.answer.value, error(method), call(method));
    quote! {
        #attrs
        #vis async fn #ident(&self, #(#parameters),*) -> ::std::result::Result<#value, #error> {
            #call
        }
    }
}

/// The error type of a call. A one-way call cannot return a declared error.
fn error(method: &Method) -> TokenStream {
    match &method.answer.failure {
        FailureType::Declared(error) if !method.options.oneway => {
            quote!(::polywire::CallError<#error>)
        }
        _ => quote!(::polywire::CallError),
    }
}

/// The call, as one expression: a variable could collide with a parameter.
///
/// The chain ends in `send` for a one-way method and in `call` for others. If the method has an
/// error type of its own, `declares` precedes `call`. `ttl` and `keep_expired` precede `send` only,
/// since other methods cannot have these options.
fn call(method: &Method) -> TokenStream {
    let (name, arguments) = (&method.options.name, arguments::together(method));
    let timeout = method.options.timeout.map(duration);
    let timeout = timeout.map(|timeout| quote!(.default_timeout(#timeout)));
    let ttl = method.options.ttl.map(duration).map(|ttl| quote!(.ttl(#ttl)));
    let keep_expired = method.options.keep_expired.then(|| quote!(.keep_expired()));
    let idempotent = method.options.idempotent.then(|| quote!(.idempotent()));
    let once = method.options.at_most_once.then(|| quote!(.at_most_once()));
    let end = match &method.answer.failure {
        _ if method.options.oneway => quote!(.send(&#arguments)),
        FailureType::Declared(error) => quote!(.declares::<#error>().call(&#arguments)),
        _ => quote!(.call(&#arguments)),
    };
    let request = quote!(self.0.request(::polywire::Address::from_static(#name)?));
    quote!(#request #timeout #ttl #keep_expired #idempotent #once #end .await)
}

/// A duration as an expression.
///
/// In milliseconds, the finest unit that an option has.
fn duration(duration: Duration) -> TokenStream {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    quote!(::std::time::Duration::from_millis(#millis))
}
