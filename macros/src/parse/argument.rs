//! An argument of a method.

use syn::{Attribute, Error, Expr, ExprLit, FnArg, Ident, Lit, Pat, PatType, Result, Type};

use super::given_options::GivenOptions;
use super::groups::expression_within;
use super::types;

/// A parameter of a method.
///
/// The place among the parameters after `&self`, counted from 0, is the position on the wire.
pub(crate) struct Argument {
    /// The name, which is also the name on the wire.
    ///
    /// The name on the wire lacks the `r#` of a raw identifier.
    pub(crate) ident: Ident,
    /// The type as written, after `types::check` has accepted the type.
    pub(crate) ty: Type,
    /// `None` for a required argument. An `Option` has the default of its type.
    ///
    /// An `#[arg]` overrides the default of an `Option`.
    pub(crate) default: Option<ArgumentDefault>,
}

/// The value of an absent argument.
pub(crate) enum ArgumentDefault {
    /// `Default::default()`.
    ///
    /// The compiler rejects a type without `Default`.
    OfType,
    /// The written expression.
    ///
    /// The expression is evaluated anew for each absent argument, and sees no other argument.
    Value(Box<Expr>),
}

impl Argument {
    /// Parses an argument; `None` for the receiver.
    pub(super) fn parse(input: FnArg) -> Option<Result<Self>> {
        match input {
            FnArg::Typed(input) => Some(Self::of(input)),
            FnArg::Receiver(_) => None,
        }
    }

    /// Parses a parameter other than the receiver.
    ///
    /// Every attribute but `#[arg]` is an error, `cfg` and documentation included.
    fn of(input: PatType) -> Result<Self> {
        let ident = plain_name(&input.pat)?;
        types::check(&input.ty)?;
        let default = parse_default(&input.attrs)?
            .or_else(|| types::is_option(&input.ty).then_some(ArgumentDefault::OfType));
        Ok(Self { ident, ty: *input.ty, default })
    }
}

impl ArgumentDefault {
    /// True if the default is a string literal, which must be converted into the argument's type.
    ///
    /// Any other expression is used as written, and must have the argument's type.
    pub(crate) fn is_text(&self) -> bool {
        match self {
            Self::Value(value) => {
                matches!(expression_within(value), Expr::Lit(ExprLit { lit: Lit::Str(_), .. }))
            }
            Self::OfType => false,
        }
    }
}

/// Parses `#[arg(default)]` or `#[arg(default = …)]`; `None` without either.
///
/// An empty `#[arg()]` has no effect, and an `#[arg]` without parentheses is an error.
fn parse_default(attrs: &[Attribute]) -> Result<Option<ArgumentDefault>> {
    let refusal = "an argument has no attributes but `#[arg(default)]` and `#[arg(default = …)]`";
    let (mut default, mut given) = (None, GivenOptions::default());
    for attr in attrs {
        if !attr.path().is_ident("arg") {
            return Err(Error::new_spanned(attr, refusal));
        }
        attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("default") {
                return Err(meta.error(refusal));
            }
            default = Some(match meta.input.peek(syn::Token![=]) {
                true => ArgumentDefault::Value(Box::new(meta.value()?.parse()?)),
                false => ArgumentDefault::OfType,
            });
            given.add(&meta)
        })?;
    }
    Ok(default)
}

/// Returns the name of an argument, and rejects `mut`, `ref` and patterns.
fn plain_name(pat: &Pat) -> Result<Ident> {
    match pat {
        Pat::Ident(pat)
            if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() =>
        {
            Ok(pat.ident.clone())
        }
        _ => Err(Error::new_spanned(
            pat,
            "an argument is a plain name, under which clients send it, and no pattern",
        )),
    }
}
