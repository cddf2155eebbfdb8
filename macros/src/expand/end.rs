//! What the client, the pusher and the publisher have in common: each is a typed coat around an
//! end.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Visibility};

use super::docs::{self, doc};
use crate::parse::{Nested, ServiceTrait};

/// One of the typed ends.
pub(super) struct End {
    /// What it is called after the name of the trait, and what it is a coat around.
    pub(super) suffix: &'static str,
    /// What it does, of the trait's methods.
    pub(super) does: &'static str,
    /// What it connects to: the name of the parameter.
    pub(super) to: &'static str,
    /// Whether calls may go through middleware.
    pub(super) layered: bool,
    /// Whether it calls methods by their names, which have that of a nested service before them.
    /// Topics are the same wherever they are.
    pub(super) names: bool,
}

impl End {
    /// The name of the typed end.
    pub(super) fn name(&self, service: &ServiceTrait) -> Ident {
        format_ident!("{}{}", service.ident, self.suffix)
    }

    fn inner(&self) -> Ident {
        format_ident!("{}", self.suffix)
    }

    /// The parameters of the type, as they stand behind its name.
    fn parameters(&self) -> TokenStream {
        if self.layered { quote!(<D, S>) } else { quote!(<D>) }
    }

    /// The struct.
    pub(super) fn definition(&self, service: &ServiceTrait) -> TokenStream {
        let ServiceTrait { vis, ident, .. } = service;
        let (name, inner, parameters) = (self.name(service), self.inner(), self.parameters());
        let options = if self.layered { ", or that calls through middleware" } else { "" };
        let doc = doc(&[
            &format!(
                "{} the methods of a [`{ident}`], which a [`{ident}Server`] carries out.",
                self.does
            ),
            "",
            &format!(
                "Written by [`#[service]`](::polywire::service) for [`{ident}`]. Connect it, or make it from a"
            ),
            &format!("[`{inner}`](::polywire::{inner}) that was connected with options{options}."),
            "Cloning is cheap.",
        ]);
        let declared =
            if self.layered { quote!(<D, S = ::polywire::rpc::Requester>) } else { quote!(<D>) };
        let cfgs = service.cfgs();
        quote! {
            #(#cfgs)*
            #doc
            #[derive(::std::clone::Clone)]
            #vis struct #name #declared(::polywire::#inner #parameters);
        }
    }

    /// What it can do, beside the functions that are given.
    pub(super) fn impls(&self, service: &ServiceTrait, functions: &TokenStream) -> TokenStream {
        let (name, inner, parameters) = (self.name(service), self.inner(), self.parameters());
        let connect = self.connect(&service.vis);
        let bounds = match self.layered {
            true => quote!(<D: ::polywire::Dialect, S: ::polywire::Service>),
            false => quote!(<D: ::polywire::Dialect>),
        };
        let text = name.to_string();
        quote! {
            impl<D: ::polywire::Dialect> #name<D> { #connect }

            impl #bounds #name #parameters { #functions }

            impl #parameters ::std::convert::From<::polywire::#inner #parameters> for #name #parameters {
                fn from(end: ::polywire::#inner #parameters) -> Self {
                    Self(end)
                }
            }

            impl #parameters ::std::convert::AsRef<::polywire::#inner #parameters> for #name #parameters {
                fn as_ref(&self) -> &::polywire::#inner #parameters {
                    &self.0
                }
            }

            impl #parameters ::std::fmt::Debug for #name #parameters {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.debug_tuple(#text).field(&self.0).finish()
                }
            }
        }
    }

    /// The functions that hand out the same end of each nested service.
    pub(super) fn nested(&self, service: &ServiceTrait) -> TokenStream {
        service.nested.iter().map(|nested| self.accessor(nested, &service.vis)).collect()
    }

    fn accessor(&self, nested: &Nested, vis: &Visibility) -> TokenStream {
        let (ident, name, end, parameters) =
            (&nested.ident, &nested.name, nested.end(self.suffix), self.parameters());
        let attrs = attributes(&nested.attrs);
        let doc = docs::of_nested(nested, self.suffix);
        let inner = match self.names {
            true => quote!(self.0.nested(::polywire::Address::from_static(#name)?)?),
            false => quote!(::std::clone::Clone::clone(&self.0)),
        };
        let bounds = self.layered.then(|| quote!(where S: ::std::clone::Clone,));
        quote! {
            #(#attrs)*
            #doc
            #vis fn #ident(&self) -> ::polywire::Result<#end #parameters> #bounds {
                ::std::result::Result::Ok(::std::convert::From::from(#inner))
            }
        }
    }

    fn connect(&self, vis: &Visibility) -> TokenStream {
        let (inner, to) = (self.inner(), format_ident!("{}", self.to));
        let doc = doc(&[
            &format!("Connects to `{to}` on `transport`, to be spoken to in `dialect`."),
            "",
            "# Errors",
            "",
            &format!("As [`{inner}::connect`](::polywire::{inner}::connect)."),
        ]);
        quote! {
            #doc
            #vis async fn connect<T: ::polywire::Transport>(
                transport: &T,
                #to: impl ::std::convert::TryInto<
                    ::polywire::Address,
                    Error: ::std::convert::Into<::polywire::Error>,
                >,
                dialect: D,
            ) -> ::polywire::Result<Self> {
                ::std::result::Result::map(::polywire::#inner::connect(transport, #to, dialect).await, Self)
            }
        }
    }
}

/// The attributes of a method, or a nested service, that its function at a typed end has, too.
pub(super) fn attributes(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    let carried_over = |attr: &&Attribute| {
        ["cfg", "deprecated", "doc"].iter().any(|kept| attr.path().is_ident(kept))
    };
    attrs.iter().filter(carried_over)
}
