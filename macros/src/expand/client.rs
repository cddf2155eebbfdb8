//! The calling end.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Visibility};

use super::arguments;
use super::docs::{self, doc};
use crate::parse::{Argument, Method, ServiceTrait};

/// The struct of the client.
pub(super) fn definition(service: &ServiceTrait) -> TokenStream {
    let ServiceTrait { vis, ident, .. } = service;
    let client = name(service);
    let doc = doc(&[
        &format!("Calls the methods of a [`{ident}`]."),
        "",
        &format!(
            "Written by [`#[service]`](::polywire::service) for [`{ident}`]. Connect it, or make it from a"
        ),
        "[`Client`](::polywire::Client): one that was connected with options, or that calls through middleware.",
        "Cloning is cheap.",
    ]);
    let cfgs = service.cfgs();
    quote! {
        #(#cfgs)*
        #doc
        #[derive(::std::clone::Clone)]
        #vis struct #client<D, S = ::polywire::Requester>(::polywire::Client<D, S>);
    }
}

/// What the client can do.
pub(super) fn impls(service: &ServiceTrait) -> TokenStream {
    let (client, vis) = (name(service), &service.vis);
    let connect = connect(vis);
    let with_timeout = with_timeout(vis);
    let methods = service.methods.iter().map(|method| function(method, vis));
    let conversions = conversions(&client);
    quote! {
        impl<D: ::polywire::Dialect> #client<D> { #connect }

        impl<D: ::polywire::Dialect, S: ::polywire::Service> #client<D, S> {
            #(#methods)*
            #with_timeout
        }

        #conversions
    }
}

fn name(service: &ServiceTrait) -> Ident {
    format_ident!("{}Client", service.ident)
}

fn connect(vis: &Visibility) -> TokenStream {
    let doc = doc(&[
        "Connects to `service` on `transport`, to be spoken to in `dialect`.",
        "",
        "# Errors",
        "",
        "As [`Client::connect`](::polywire::Client::connect).",
    ]);
    quote! {
        #doc
        #vis async fn connect<T: ::polywire::Transport>(
            transport: &T,
            service: impl ::std::convert::TryInto<
                ::polywire::Address,
                Error: ::std::convert::Into<::polywire::Error>,
            >,
            dialect: D,
        ) -> ::polywire::Result<Self> {
            ::std::result::Result::map(::polywire::Client::connect(transport, service, dialect).await, Self)
        }
    }
}

fn with_timeout(vis: &Visibility) -> TokenStream {
    let doc = doc(&["A client whose calls wait this long, beside this one."]);
    quote! {
        #doc
        #[must_use]
        #vis fn with_timeout(&self, timeout: ::std::time::Duration) -> Self
        where
            S: ::std::clone::Clone,
        {
            Self(self.0.with_timeout(timeout))
        }
    }
}

/// The function that calls a method.
fn function(method: &Method, vis: &Visibility) -> TokenStream {
    let Method { ident, name, value, .. } = method;
    let attrs = method.attrs.iter().filter(|attr| is_carried_over(attr));
    let doc = docs::ending(method);
    let parameters = method.arguments.iter().map(|Argument { ident, ty }| quote!(#ident: #ty));
    let fields = method.arguments.iter().map(|argument| &argument.ident);
    let arguments = arguments::ident(method);
    quote! {
        #(#attrs)*
        #doc
        #vis async fn #ident(
            &self,
            #(#parameters),*
        ) -> ::std::result::Result<#value, ::polywire::CallError> {
            self.0.call(::polywire::Address::from_static(#name)?, &#arguments { #(#fields),* }).await
        }
    }
}

fn is_carried_over(attr: &Attribute) -> bool {
    ["cfg", "deprecated", "doc"].iter().any(|kept| attr.path().is_ident(kept))
}

fn conversions(client: &Ident) -> TokenStream {
    let name = client.to_string();
    quote! {
        impl<D, S> ::std::convert::From<::polywire::Client<D, S>> for #client<D, S> {
            fn from(client: ::polywire::Client<D, S>) -> Self {
                Self(client)
            }
        }

        impl<D, S> ::std::convert::AsRef<::polywire::Client<D, S>> for #client<D, S> {
            fn as_ref(&self) -> &::polywire::Client<D, S> {
                &self.0
            }
        }

        impl<D, S> ::std::fmt::Debug for #client<D, S> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_tuple(#name).field(&self.0).finish()
            }
        }
    }
}
