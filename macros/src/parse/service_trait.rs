//! A service trait as data, and the checks that reject it.

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
use super::taken_names::TakenNames;
use super::type_parameters::TypeParameters;

/// A trait that can be a service.
///
/// The names of methods and nested services on the wire differ, unless both members are under
/// `cfg`. In a service for events, the same holds for the topics of its methods.
pub(crate) struct ServiceTrait {
    /// The attributes, with documentation and `cfg`.
    pub(crate) attrs: Vec<Attribute>,
    /// The visibility of the trait, which the generated items and their functions share.
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    /// The written supertraits. `Send`, `Sync` and `'static` are added when the trait is generated.
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    /// The methods, in the order of the trait.
    pub(crate) methods: Vec<Method>,
    /// The nested services, in the order of the trait.
    pub(crate) nested: Vec<Nested>,
    pub(crate) patterns: Patterns,
    /// Names that the trait does not use.
    pub(crate) type_parameters: TypeParameters,
}

impl ServiceTrait {
    /// Parses the annotated trait.
    ///
    /// # Errors
    ///
    /// At least the first mistake of each member. A mistake in the options of the service, or in
    /// the trait itself, is reported alone. Names are compared only once all members are valid, and
    /// topics only once all names differ.
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
        let names = methods.iter().map(|method| (&method.options.name, method.is_conditional()));
        let words = nested.iter().map(|service| (&service.name, service.is_conditional()));
        check_names(names.chain(words), "another method has this name on the wire")?;
        if patterns.publish {
            let topics =
                methods.iter().map(|method| (&method.options.topic, method.is_conditional()));
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
    /// Parses a function of the trait, and rejects every other item.
    ///
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

/// Rejects two members with one name, unless both are under `cfg`.
///
/// `true` beside a name means that its member is under `cfg`. `message` is the error, without its
/// advice.
///
/// The names of methods within nested services are not compared. If a method has the full name of
/// such a method, `Router::nest` panics when the server is created; its panic has the name.
fn check_names<'n>(names: impl Iterator<Item = (&'n LitStr, bool)>, message: &str) -> Result<()> {
    let mut taken = TakenNames::default();
    all(names.map(|(name, is_conditional)| match taken.take(name.value(), is_conditional) {
        true => Ok(()),
        false => Err(Error::new(name.span(), format!("{message}: choose one of its own"))),
    }))
    .map(drop)
}
