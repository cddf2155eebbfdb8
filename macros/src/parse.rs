//! The trait as data, and all that it may not be.

mod method;
mod name;
mod types;

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Error, Generics, Ident, Item, ItemTrait, Result, Token, TraitItem, TypeParamBound, Visibility,
};

pub(crate) use self::method::{Argument, Method};

/// A trait that can be a service.
pub(crate) struct ServiceTrait {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) methods: Vec<Method>,
}

impl ServiceTrait {
    /// Reads the trait that the macro stands on. The error tells everything that is wrong, not just the first.
    pub(crate) fn parse(options: &TokenStream, item: TokenStream) -> Result<Self> {
        if !options.is_empty() {
            return Err(Error::new_spanned(options, "unknown argument: `#[service]` takes none"));
        }
        let Item::Trait(item) = syn::parse2(item)? else {
            return Err(Error::new(Span::call_site(), "`#[service]` goes on a trait"));
        };
        check_plain(&item)?;
        let methods = all(item.items.into_iter().map(method))?;
        check_names(&methods)?;
        let ItemTrait { attrs, vis, ident, supertraits, .. } = item;
        Ok(Self { attrs, vis, ident, supertraits, methods })
    }

    /// The conditions under which the trait exists, which hold for all that is written for it.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        cfgs(&self.attrs)
    }
}

fn check_plain(item: &ItemTrait) -> Result<()> {
    item.modifiers.require_empty()?;
    if let Some(token) = item.unsafety {
        return Err(Error::new_spanned(token, "a service cannot be an unsafe trait"));
    }
    check_not_generic(&item.generics, "a service cannot be generic: name its types")
}

fn check_not_generic(generics: &Generics, message: &str) -> Result<()> {
    if !generics.params.is_empty() {
        return Err(Error::new_spanned(&generics.params, message));
    }
    match &generics.where_clause {
        Some(clause) => Err(Error::new_spanned(clause, message)),
        None => Ok(()),
    }
}

fn method(item: TraitItem) -> Result<Method> {
    match item {
        TraitItem::Fn(function) => Method::parse(function),
        other => Err(Error::new_spanned(other, "a service has methods only")),
    }
}

/// Two methods of one name are refused, unless conditions may see to it that only one of them exists.
fn check_names(methods: &[Method]) -> Result<()> {
    let mut taken = HashSet::new();
    let unconditional = methods.iter().filter(|method| method.cfgs().next().is_none());
    all(unconditional.map(|method| match taken.insert(method.name.value()) {
        true => Ok(()),
        false => Err(Error::new(method.name.span(), "another method has this name on the wire")),
    }))
    .map(drop)
}

fn cfgs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
}

/// All values, or all errors as one.
fn all<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut errors = None::<Error>;
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    errors.map_or(Ok(values), Err)
}
