//! The serving end.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use super::arguments;
use super::docs::doc;
use crate::parse::{Method, ServiceTrait};

/// The struct of the server.
pub(super) fn definition(service: &ServiceTrait) -> TokenStream {
    let ServiceTrait { vis, ident, .. } = service;
    let server = name(service);
    let doc = doc(&[
        &format!("Carries out the methods of a [`{ident}`]."),
        "",
        &format!(
            "Written by [`#[service]`](::polywire::service) for [`{ident}`]. It is a [`Service`], to be given to"
        ),
        "[`Server::serve`](::polywire::Server::serve) or to middleware.",
        "",
        "[`Service`]: ::polywire::Service",
    ]);
    let cfgs = service.cfgs();
    quote! {
        #(#cfgs)*
        #doc
        #vis struct #server<T, D> {
            router: ::polywire::Router<D>,
            service: ::std::marker::PhantomData<fn() -> T>,
        }
    }
}

/// What the server can do.
pub(super) fn impls(service: &ServiceTrait) -> TokenStream {
    let (server, vis, ident) = (name(service), &service.vis, &service.ident);
    let doc = doc(&["A server that calls the methods of `service` for its clients, who speak `dialect`."]);
    let methods = service.methods.iter().map(|method| registration(ident, method));
    let service_impls = service_impls(&server);
    quote! {
        impl<T: #ident, D: ::polywire::Dialect> #server<T, D> {
            #doc
            #[must_use]
            #vis fn new(service: T, dialect: D) -> Self {
                let service = ::std::sync::Arc::new(service);
                let router = ::polywire::Router::new(dialect);
                #(#methods)*
                Self { router, service: ::std::marker::PhantomData }
            }
        }

        #service_impls
    }
}

fn name(service: &ServiceTrait) -> Ident {
    format_ident!("{}Server", service.ident)
}

/// The statement that adds a method to the router.
fn registration(service: &Ident, method: &Method) -> TokenStream {
    let Method { ident, name, fault, .. } = method;
    let cfgs = method.cfgs();
    let fields = method.arguments.iter().map(|argument| &argument.ident);
    let arguments = taken(method);
    // It stands where the user wrote the fault, so that an error about another type shows there.
    let here = Span::call_site().located_at(fault.span());
    let fault = quote_spanned!(here=> |fault: #fault| -> ::polywire::Fault { fault });
    quote! {
        #(#cfgs)*
        let router = router.method(#name, {
            let service = ::std::sync::Arc::clone(&service);
            move |arguments: #arguments| {
                let service = ::std::sync::Arc::clone(&service);
                async move {
                    let outcome = <T as #service>::#ident(&service, #(arguments.#fields),*).await;
                    ::std::result::Result::map_err(outcome, #fault)
                }
            }
        });
    }
}

/// The type of the arguments as a handler takes them: if there are none, their absence will do as well.
fn taken(method: &Method) -> TokenStream {
    let arguments = arguments::ident(method);
    match method.arguments.is_empty() {
        true => quote!(::std::option::Option<#arguments>),
        false => quote!(#arguments),
    }
}

fn service_impls(server: &Ident) -> TokenStream {
    let name = server.to_string();
    quote! {
        impl<T: 'static, D: ::polywire::Dialect> ::polywire::Service for #server<T, D> {
            fn call(
                &self,
                request: ::polywire::Request,
            ) -> impl ::std::future::Future<
                Output = ::std::result::Result<::polywire::Reply, ::polywire::CallError>,
            > + ::std::marker::Send {
                ::polywire::Service::call(&self.router, request)
            }
        }

        impl<T, D> ::std::fmt::Debug for #server<T, D> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_tuple(#name).field(&self.router).finish()
            }
        }
    }
}
