//! An argument of a method.

use syn::{Attribute, Error, Expr, ExprLit, FnArg, Ident, Lit, Pat, PatType, Result, Type};

use super::types;

/// A parameter of a method.
pub(crate) struct Argument {
    /// The name, which is also the name on the wire.
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// `None` for a required argument. An `Option` has the default of its type.
    pub(crate) default: Option<ArgumentDefault>,
}

/// The value of an absent argument.
pub(crate) enum ArgumentDefault {
    /// `Default::default()`.
    OfType,
    /// The written expression.
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

    fn of(input: PatType) -> Result<Self> {
        let ident = plain_name(&input.pat)?;
        types::check(&input.ty)?;
        let mut default = types::is_option(&input.ty).then_some(ArgumentDefault::OfType);
        for attr in &input.attrs {
            default = Some(parse_default(attr)?);
        }
        Ok(Self { ident, ty: *input.ty, default })
    }
}

impl ArgumentDefault {
    /// True if the default is a string literal, which must be converted into the argument's type.
    pub(crate) fn is_text(&self) -> bool {
        match self {
            Self::Value(value) => matches!(&**value, Expr::Lit(ExprLit { lit: Lit::Str(_), .. })),
            Self::OfType => false,
        }
    }
}

/// Parses `#[arg(default)]` or `#[arg(default = …)]`. An empty `#[arg()]` counts as the first.
fn parse_default(attr: &Attribute) -> Result<ArgumentDefault> {
    let refusal = "an argument has no attributes but `#[arg(default)]` and `#[arg(default = …)]`";
    if !attr.path().is_ident("arg") {
        return Err(Error::new_spanned(attr, refusal));
    }
    let mut default = ArgumentDefault::OfType;
    attr.parse_nested_meta(|meta| {
        if !meta.path.is_ident("default") {
            return Err(meta.error(refusal));
        }
        if meta.input.peek(syn::Token![=]) {
            default = ArgumentDefault::Value(Box::new(meta.value()?.parse()?));
        }
        Ok(())
    })?;
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
            "an argument is a plain name, since that is what travels, not a pattern",
        )),
    }
}
