//! A nested service.

use quote::format_ident;
use syn::{
    Attribute, Error, Ident, LitStr, Path, PathArguments, Result, ReturnType, Signature,
    TraitItemFn, Type, TypeParamBound,
};

use super::conditions::cfgs;
use super::groups::type_within;
use super::method::check_plain_signature;
use super::options::{self, Options, Patterns};

/// A function of the trait that returns another service: `fn loans(&self) -> impl Loans;`. Its
/// methods are prefixed by a word.
///
/// The nested trait is expanded by another run of the macro, so its methods are unknown here.
pub(crate) struct Nested {
    /// The attributes, without `#[method]`.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) ident: Ident,
    /// The prefix of its methods.
    ///
    /// The default is the name of the function. A written name may have several dotted words.
    pub(crate) name: LitStr,
    /// The path of the nested trait, without generic arguments.
    service: Path,
}

impl Nested {
    /// True if the function is meant to return a service.
    ///
    /// The bounds are checked later, so that the error can say what a nested service is.
    pub(super) fn is_one(function: &TraitItemFn) -> bool {
        function.sig.asyncness.is_none() && promised(&function.sig).is_some()
    }

    /// Parses a function for which `is_one` is true.
    ///
    /// # Errors
    ///
    /// The first mistake: an invalid signature, a default body, an argument, an option but `name`,
    /// or a return type that is not one plain trait.
    pub(super) fn parse(function: TraitItemFn, patterns: Patterns) -> Result<Self> {
        let TraitItemFn { attrs, modifiers, sig, default, .. } = function;
        modifiers.require_empty()?;
        check_plain_signature(&sig)?;
        if let Some(body) = default {
            return Err(Error::new_spanned(
                body,
                "a service has no default bodies: end it with `;`",
            ));
        }
        if let Some(argument) = sig.inputs.iter().nth(1) {
            return Err(Error::new_spanned(
                argument,
                "a nested service is created once, for all calls: it takes no arguments",
            ));
        }
        let options = Options::parse(&attrs, &sig.ident, patterns)?;
        if let Some(span) = options.of_methods() {
            return Err(Error::new(
                span,
                "a nested service has no such option: set it on the methods of its own trait",
            ));
        }
        let service = service(&sig)?;
        let attrs = attrs.into_iter().filter(|attr| !options::is_ours(attr)).collect();
        Ok(Self { attrs, ident: sig.ident, name: options.name, service })
    }

    /// The path of the nested trait.
    pub(crate) fn service(&self) -> &Path {
        &self.service
    }

    /// The path of an item generated for the nested trait, such as its client.
    ///
    /// The last segment gets the suffix: with `Client`, `office::Loans` becomes
    /// `office::LoansClient`. The compiler rejects a path whose item does not exist.
    pub(crate) fn end(&self, suffix: &str) -> Path {
        let mut path = self.service.clone();
        if let Some(last) = path.segments.last_mut() {
            last.ident = format_ident!("{}{suffix}", last.ident);
        }
        path
    }

    /// Its `cfg` attributes.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        cfgs(&self.attrs)
    }

    /// Returns true if the service is under `cfg`.
    pub(super) fn is_conditional(&self) -> bool {
        self.cfgs().next().is_some()
    }
}

/// The trait after `-> impl`.
///
/// `None` for any other return type.
fn promised(sig: &Signature) -> Option<impl Iterator<Item = &TypeParamBound>> {
    match &sig.output {
        ReturnType::Type(_, output) => match type_within(output) {
            Type::ImplTrait(output) => Some(output.bounds.iter()),
            _ => None,
        },
        ReturnType::Default => None,
    }
}

/// Returns the path of the nested trait, which must be the only bound and have no arguments.
fn service(sig: &Signature) -> Result<Path> {
    let refusal = || {
        Err(Error::new_spanned(
            &sig.output,
            "a nested service is one plain trait that is a service: `-> impl Loans`",
        ))
    };
    let mut bounds = promised(sig).into_iter().flatten();
    let (Some(TypeParamBound::Trait(bound)), None) = (bounds.next(), bounds.next()) else {
        return refusal();
    };
    let is_plain =
        bound.path.segments.iter().all(|segment| matches!(segment.arguments, PathArguments::None));
    if is_plain { Ok(bound.path.clone()) } else { refusal() }
}
