//! The serving end.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use super::arguments;
use super::docs::doc;
use crate::parse::{Failure, Method, Nested, ServiceTrait};

/// The struct of the server.
pub(super) fn definition(service: &ServiceTrait) -> TokenStream {
    let ServiceTrait { vis, ident, patterns, .. } = service;
    let server = name(service);
    let ends = [
        (patterns.call, "[`Server::serve`](::polywire::Server::serve)"),
        (patterns.push, "[`Worker::serve`](::polywire::Worker::serve)"),
        (patterns.publish, "[`Listener::serve`](::polywire::Listener::serve)"),
    ];
    let ends: Vec<_> = ends.into_iter().filter(|(wanted, _)| *wanted).map(|(_, end)| end).collect();
    let doc = doc(&[
        &format!("Carries out the methods of a [`{ident}`]."),
        "",
        &format!(
            "Written by [`#[service]`](::polywire::service) for [`{ident}`]. It is a [`Service`], to be given to"
        ),
        &format!("{}, or to middleware.", ends.join(", ")),
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
    let new = doc(&[
        "A server that calls the methods of `service` for its clients, who speak `dialect`.",
    ]);
    let into_router = doc(&[
        "The methods as a router, to be [nested](::polywire::Router::nest) in another one, or given more methods.",
    ]);
    let methods = service.methods.iter().map(|method| registration(service, method));
    let nested = service.nested.iter().map(|nested| nesting(&service.ident, nested));
    let service_impls = service_impls(&server);
    quote! {
        impl<T: #ident, D: ::polywire::Dialect> #server<T, D> {
            #new
            #[must_use]
            #vis fn new(service: T, dialect: D) -> Self {
                let service = ::std::sync::Arc::new(service);
                let router = ::polywire::Router::new(::std::clone::Clone::clone(&dialect));
                #(#methods)*
                #(#nested)*
                Self { router, service: ::std::marker::PhantomData }
            }

            #into_router
            #[must_use]
            #vis fn into_router(self) -> ::polywire::Router<D> {
                self.router
            }
        }

        #service_impls
    }
}

fn name(service: &ServiceTrait) -> Ident {
    format_ident!("{}Server", service.ident)
}

/// The statement that adds a method to the router.
fn registration(service: &ServiceTrait, method: &Method) -> TokenStream {
    let (name, topic, cfgs) = (&method.options.name, &method.options.topic, method.cfgs());
    let handler = handler(&service.ident, method);
    let patterns = &service.patterns;
    let added = match (patterns.call || patterns.push, patterns.publish) {
        (true, true) => {
            quote!(.method(#name, ::std::clone::Clone::clone(&handler)).on(#topic, handler))
        }
        (true, false) => quote!(.method(#name, handler)),
        (false, _) => quote!(.on(#topic, handler)),
    };
    quote! {
        #(#cfgs)*
        let router = {
            let handler = #handler;
            router #added
        };
    }
}

/// The statement that adds a nested service to the router.
fn nesting(service: &Ident, nested: &Nested) -> TokenStream {
    let (ident, name, server, cfgs) =
        (&nested.ident, &nested.name, nested.end("Server"), nested.cfgs());
    quote! {
        #(#cfgs)*
        let router = {
            let nested = <T as #service>::#ident(&service);
            let nested = #server::new(nested, ::std::clone::Clone::clone(&dialect));
            router.nest(#name, nested.into_router())
        };
    }
}

/// The closure that carries out a method.
fn handler(service: &Ident, method: &Method) -> TokenStream {
    let ident = &method.ident;
    let fields = method.arguments.iter().map(|argument| &argument.ident);
    let (taken, filled_in) = (arguments::taken(method), arguments::filled_in(method));
    let outcome =
        outcome(method, &quote!(<T as #service>::#ident(&service, #(arguments.#fields),*).await));
    quote! {{
        let service = ::std::sync::Arc::clone(&service);
        move |arguments: #taken| {
            let service = ::std::sync::Arc::clone(&service);
            async move {
                #filled_in
                #outcome
            }
        }
    }}
}

/// What the handler answers, made of what the method answers.
fn outcome(method: &Method, call: &TokenStream) -> TokenStream {
    match &method.answer.failure {
        Failure::Never => quote! {
            #call;
            ::std::result::Result::<(), ::polywire::Fault>::Ok(())
        },
        // Of its own type, so that an error about another `Fault` than ours shows where the user
        // wrote it.
        Failure::Fault => {
            let output = &method.answer.output;
            let here = Span::call_site().located_at(output.span());
            quote_spanned!(here=> { let outcome: ::std::result::Result<_, ::polywire::Fault> = #call; outcome })
        }
        Failure::Declared(error) => {
            let here = Span::call_site().located_at(error.span());
            let into_fault = quote_spanned!(here=> <#error as ::polywire::Declared>::into_fault);
            quote!(::std::result::Result::map_err(#call, #into_fault))
        }
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
