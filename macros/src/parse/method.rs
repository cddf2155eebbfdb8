//! A method of the trait.

use syn::{
    Attribute, Error, FnArg, Ident, LitStr, Pat, PatType, Receiver, ReceiverKind, Result, Safety, Signature,
    TraitItemFn, Type,
};

use super::{all, cfgs, check_not_generic, name, types};

/// A method that can be called from afar.
pub(crate) struct Method {
    /// The attributes, without those that are ours.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) ident: Ident,
    /// What the method is called on the wire.
    pub(crate) name: LitStr,
    pub(crate) arguments: Vec<Argument>,
    /// What it answers as it stands in the trait: a result.
    pub(crate) output: Type,
    /// What it answers when all is well.
    pub(crate) value: Type,
    /// What it answers otherwise.
    pub(crate) fault: Type,
}

/// An argument of a method.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

impl Method {
    pub(super) fn parse(function: TraitItemFn) -> Result<Self> {
        let TraitItemFn { attrs, modifiers, sig, default, .. } = function;
        modifiers.require_empty()?;
        check_signature(&sig)?;
        if let Some(body) = default {
            return Err(Error::new_spanned(
                body,
                "a method of a service has no default body: end it with `;`",
            ));
        }
        let (output, value, fault) = types::outcome(&sig)?;
        let name = name::parse(&attrs, &sig.ident)?;
        let arguments = all(sig.inputs.into_iter().filter_map(argument))?;
        let attrs = attrs.into_iter().filter(|attr| !name::is_ours(attr)).collect();
        Ok(Self { attrs, ident: sig.ident, name, arguments, output, value, fault })
    }

    /// The conditions under which the method exists.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        cfgs(&self.attrs)
    }
}

fn check_signature(sig: &Signature) -> Result<()> {
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            format!("a method of a service is async: `async fn {}`", sig.ident),
        ));
    }
    if sig.constness.is_some() || sig.abi.is_some() || !matches!(sig.safety, Safety::Default) {
        return Err(Error::new_spanned(sig.fn_token, "a method of a service is a plain `async fn`"));
    }
    if RESERVED.iter().any(|reserved| sig.ident == reserved) {
        return Err(Error::new_spanned(
            &sig.ident,
            "the client has a function of this name: choose another, and `#[method(name = \"…\")]` for the wire",
        ));
    }
    check_not_generic(&sig.generics, "a method of a service cannot be generic: name its types")?;
    match sig.receiver() {
        Some(receiver) => check_receiver(receiver),
        None => Err(Error::new_spanned(&sig.ident, "a method of a service takes `&self` first")),
    }
}

fn check_receiver(receiver: &Receiver) -> Result<()> {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => Ok(()),
        ReceiverKind::Reference(_, _, Some(_)) => Err(Error::new_spanned(
            receiver,
            "calls run side by side, so a method takes `&self`: put what changes behind a lock",
        )),
        _ => Err(Error::new_spanned(receiver, "a method of a service takes `&self`")),
    }
}

fn argument(input: FnArg) -> Option<Result<Argument>> {
    match input {
        FnArg::Typed(input) => Some(Argument::parse(input)),
        FnArg::Receiver(_) => None,
    }
}

impl Argument {
    fn parse(input: PatType) -> Result<Self> {
        if let Some(attr) = input.attrs.first() {
            return Err(Error::new_spanned(attr, "an argument has no attributes"));
        }
        let ident = plain_name(&input.pat)?;
        types::check(&input.ty)?;
        Ok(Self { ident, ty: *input.ty })
    }
}

fn plain_name(pat: &Pat) -> Result<Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() => {
            Ok(pat.ident.clone())
        }
        _ => Err(Error::new_spanned(
            pat,
            "an argument is a plain name, since that is what travels, not a pattern",
        )),
    }
}

/// What every client can do by itself.
const RESERVED: [&str; 2] = ["connect", "with_timeout"];
