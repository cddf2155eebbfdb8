//! Checks of types that are sent, as far as their syntax shows.

use syn::visit_mut::{self, VisitMut};
use syn::{
    Error, GenericArgument, Lifetime, Path, PathArguments, Result, ReturnType, Signature, Type,
    TypeImplTrait, TypeReference, parse_quote,
};

use super::groups::type_within;

/// The return type of a method.
pub(crate) struct MethodResult {
    /// The type as written; `None` if there is none.
    pub(crate) output: Option<Type>,
    /// The type of a success; `()` if there is no return type.
    pub(crate) value: Type,
    /// The type of a failure.
    pub(crate) failure: FailureType,
}

/// The failure type of a method.
pub(crate) enum FailureType {
    /// The method cannot fail.
    ///
    /// Used if the method has no return type.
    Never,
    /// Any `Fault`.
    ///
    /// The type is recognized by its name. The compiler rejects another type of this name.
    Fault,
    /// An error of this type, which the client receives again.
    ///
    /// The compiler rejects a type that is not `Declared`.
    Declared(Box<Type>),
}

impl MethodResult {
    /// Parses the return type of a method. `called` is the pattern `call` of the service.
    ///
    /// In a service for calls, a method that is not one-way needs a written result. Every other
    /// method may have no return type. The result of a one-way method has the value `()`.
    ///
    /// A result must be written with both of its types, since the macro cannot resolve an alias.
    pub(super) fn parse(sig: &Signature, called: bool, oneway: bool) -> Result<Self> {
        let answered = called && !oneway;
        let ReturnType::Type(_, output) = &sig.output else {
            return if answered {
                Err(Error::new_spanned(
                    &sig.ident,
                    "a method of a service returns a result: `-> Result<(), Fault>`; or it is one-way, with \
                     `#[method(oneway)]`",
                ))
            } else {
                Ok(Self { output: None, value: parse_quote!(()), failure: FailureType::Never })
            };
        };
        let Some((value, error)) = parts(output) else {
            return Err(Error::new_spanned(
                output,
                "a method of a service answers `Result<_, Fault>`, or `Result<_, E>` with an error that derives \
                 `Fault`, written out",
            ));
        };
        if oneway && !matches!(type_within(&value), Type::Tuple(tuple) if tuple.elems.is_empty()) {
            return Err(Error::new_spanned(
                value,
                "a one-way method returns no value: write `-> Result<(), Fault>`, or no return type",
            ));
        }
        check(output)?;
        let failure = if is_named(&error, "Fault") {
            FailureType::Fault
        } else {
            FailureType::Declared(Box::new(error))
        };
        Ok(Self { output: Some(Type::clone(output)), value, failure })
    }
}

/// True if the type is written as an `Option`.
pub(super) fn is_option(ty: &Type) -> bool {
    is_named(ty, "Option")
}

/// True if the last segment of the path is `name`: an alias is not recognized, and a type of the
/// user with this name is.
fn is_named(ty: &Type, name: &str) -> bool {
    match type_within(ty) {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        _ => false,
    }
}

/// Returns the two types of a written `Result<_, _>`; `None` for any other type, aliases with one
/// parameter included.
fn parts(output: &Type) -> Option<(Type, Type)> {
    let Type::Path(output) = type_within(output) else { return None };
    let result = output.path.segments.last().filter(|segment| segment.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &result.arguments else { return None };
    let mut arguments = arguments.args.iter();
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(GenericArgument::Type(value)), Some(GenericArgument::Type(fault)), None) => {
            Some((value.clone(), fault.clone()))
        }
        _ => None,
    }
}

/// Checks a type that is sent.
///
/// Rejects references, lifetimes other than `'static`, `impl Trait` and `Self`, at any depth of the
/// type. The error has the first of them alone.
pub(super) fn check(ty: &Type) -> Result<()> {
    let mut flaw = None;
    // The trait for shared references is a feature of `syn` that nothing else here compiles.
    Flaws(&mut flaw).visit_type_mut(&mut ty.clone());
    flaw.map_or(Ok(()), Err)
}

/// Records the first part of a type that cannot be sent.
///
/// The parts of a reference and of an `impl Trait` are not visited: the whole is the flaw.
struct Flaws<'f>(&'f mut Option<Error>);

impl Flaws<'_> {
    /// Records an error at these tokens, unless an earlier one is recorded.
    fn note(&mut self, tokens: &impl quote::ToTokens, message: &str) {
        self.0.get_or_insert_with(|| Error::new_spanned(tokens, message));
    }
}

impl VisitMut for Flaws<'_> {
    fn visit_type_reference_mut(&mut self, ty: &mut TypeReference) {
        self.note(
            ty,
            "a reference cannot be sent: take the value itself, such as a `String` for a `&str`",
        );
    }

    fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
        self.note(ty, "a method of a service cannot be generic, since a caller elsewhere cannot choose the type: name it");
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.note(lifetime, "a value to send cannot borrow: take a type that owns its content");
        }
    }

    fn visit_path_mut(&mut self, path: &mut Path) {
        if path.segments.first().is_some_and(|segment| segment.ident == "Self") {
            self.note(path, "the client does not know which type `Self` is: name the type");
        }
        visit_mut::visit_path_mut(self, path);
    }
}
