//! A service trait as data, and the checks that reject it.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Error, Ident, Item, ItemTrait, LitStr, Result, Token, TraitItem, TypeParamBound,
    Visibility,
};

use super::collected::all;
use super::conditions::cfgs;
use super::generics::check_not_generic;
use super::method::Method;
use super::nested::Nested;
use super::options::Patterns;
use super::type_parameters::TypeParameters;

/// A trait that can be a service.
pub(crate) struct ServiceTrait {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) methods: Vec<Method>,
    pub(crate) nested: Vec<Nested>,
    pub(crate) patterns: Patterns,
    pub(crate) type_parameters: TypeParameters,
}

impl ServiceTrait {
    /// Parses the annotated trait. The error lists every fault of the trait, not only
    /// the first.
    pub(crate) fn parse(options: &TokenStream, item: TokenStream) -> Result<Self> {
        let patterns = Patterns::parse(options)?;
        let type_parameters = TypeParameters::beside(&item);
        let Item::Trait(item) = syn::parse2(item)? else {
            return Err(Error::new(
                Span::call_site(),
                "`#[service]` goes on a trait: the methods that can be called",
            ));
        };
        check_plain(&item)?;
        let (mut methods, mut nested) = (Vec::new(), Vec::new());
        for member in all(item.items.into_iter().map(|item| Member::parse(item, patterns)))? {
            match member {
                Member::Method(method) => methods.push(*method),
                Member::Nested(service) => nested.push(service),
            }
        }
        let unconditional = || methods.iter().filter(|method| method.cfgs().next().is_none());
        let words = nested
            .iter()
            .filter(|service| service.cfgs().next().is_none())
            .map(|service| &service.name);
        let names = unconditional().map(|method| &method.options.name).chain(words);
        check_names(names, "another method has this name on the wire")?;
        if patterns.publish {
            let topics = unconditional().map(|method| &method.options.topic);
            check_names(topics, "another method has this topic")?;
        }
        let ItemTrait { attrs, vis, ident, supertraits, .. } = item;
        Ok(Self { attrs, vis, ident, supertraits, methods, nested, patterns, type_parameters })
    }

    /// The `cfg` attributes of the trait, which apply to all generated items.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        cfgs(&self.attrs)
    }
}

/// Rejects traits with modifiers, with `unsafe`, and with generics.
fn check_plain(item: &ItemTrait) -> Result<()> {
    item.modifiers.require_empty()?;
    if let Some(token) = item.unsafety {
        return Err(Error::new_spanned(
            token,
            "a service cannot be an unsafe trait: leave `unsafe` out",
        ));
    }
    check_not_generic(
        &item.generics,
        "a service cannot be generic, since a caller elsewhere cannot choose the types: name them",
    )
}

/// The items that a service trait may contain.
enum Member {
    Method(Box<Method>),
    Nested(Nested),
}

impl Member {
    /// A function that is not async and returns `impl Trait` is a nested service; any other
    /// function is a method.
    fn parse(item: TraitItem, patterns: Patterns) -> Result<Self> {
        match item {
            TraitItem::Fn(function) if Nested::is_one(&function) => {
                Nested::parse(function, patterns).map(Self::Nested)
            }
            TraitItem::Fn(function) => {
                Method::parse(function, patterns).map(Box::new).map(Self::Method)
            }
            other => Err(Error::new_spanned(
                other,
                "a service has methods only: put this into a trait of its own",
            )),
        }
    }
}

/// Rejects two methods with one name. Methods under `cfg` are not compared, because at most one of
/// them may exist.
fn check_names<'n>(names: impl Iterator<Item = &'n LitStr>, message: &str) -> Result<()> {
    let mut taken = HashSet::new();
    all(names.map(|name| match taken.insert(name.value()) {
        true => Ok(()),
        false => Err(Error::new(name.span(), format!("{message}: choose one of its own"))),
    }))
    .map(drop)
}
