//! A method of a service trait.

use syn::{
    Attribute, Error, Ident, Receiver, ReceiverKind, Result, Safety, Signature, TraitItemFn,
};

use super::argument::Argument;
use super::collected::all;
use super::conditions::cfgs;
use super::generics::check_not_generic;
use super::options::{self, Options, Patterns};
use super::types::MethodResult;

/// A method that clients can call.
///
/// Pushers send the method as a job, and publishers send it as an event.
pub(crate) struct Method {
    /// The attributes, without `#[method]`.
    pub(crate) attrs: Vec<Attribute>,
    /// The name of the function. The name on the wire is one of the options.
    pub(crate) ident: Ident,
    /// The options of the method, merged with those of the service.
    pub(crate) options: Options,
    /// The arguments after `&self`, in their order.
    pub(crate) arguments: Vec<Argument>,
    pub(crate) answer: MethodResult,
}

impl Method {
    /// Parses a function of the trait, and rejects what cannot be called from elsewhere: default
    /// bodies, generics, receivers other than `&self`, arguments that are patterns.
    ///
    /// # Errors
    ///
    /// The first mistake of the method; or, if all else is valid, the first mistake of each
    /// argument.
    pub(super) fn parse(function: TraitItemFn, patterns: Patterns) -> Result<Self> {
        let TraitItemFn { attrs, modifiers, sig, default, .. } = function;
        modifiers.require_empty()?;
        check_signature(&sig)?;
        if let Some(body) = default {
            return Err(Error::new_spanned(
                body,
                "a method of a service has no default body: end it with `;`",
            ));
        }
        let options = Options::parse(&attrs, &sig.ident, patterns)?;
        let answer = MethodResult::parse(&sig, patterns.call, options.oneway)?;
        let arguments = all(sig.inputs.into_iter().filter_map(Argument::parse))?;
        let attrs = attrs.into_iter().filter(|attr| !options::is_ours(attr)).collect();
        Ok(Self { attrs, ident: sig.ident, options, arguments, answer })
    }

    /// The `cfg` attributes of the method.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        cfgs(&self.attrs)
    }

    /// Returns true if the method is under `cfg`.
    pub(super) fn is_conditional(&self) -> bool {
        self.cfgs().next().is_some()
    }
}

/// Rejects a signature without `async`, and all that `check_plain_signature` rejects.
fn check_signature(sig: &Signature) -> Result<()> {
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            format!("a method of a service is async: `async fn {}`", sig.ident),
        ));
    }
    check_plain_signature(sig)
}

/// Rejects `const`, `extern`, `unsafe`, reserved names, generics, and receivers other than `&self`.
///
/// Methods and nested services share this check. `async` is left to the caller.
pub(super) fn check_plain_signature(sig: &Signature) -> Result<()> {
    if sig.constness.is_some() || sig.abi.is_some() || !matches!(sig.safety, Safety::Default) {
        return Err(Error::new_spanned(
            sig.fn_token,
            "a method of a service is a plain `async fn`",
        ));
    }
    if RESERVED.iter().any(|reserved| sig.ident == reserved) {
        return Err(Error::new_spanned(
            &sig.ident,
            "the typed handles have a function of this name: choose another, and `#[method(name = \"…\")]` for the wire",
        ));
    }
    check_not_generic(
        &sig.generics,
        "a method of a service cannot be generic, since a caller elsewhere cannot choose the types: name them",
    )?;
    match sig.receiver() {
        Some(receiver) => check_receiver(receiver),
        None => Err(Error::new_spanned(&sig.ident, "a method of a service takes `&self` first")),
    }
}

/// Accepts a plain `&self`, and rejects `self`, `&mut self`, `&'a self` and `self: Arc<Self>`.
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

/// The names of the typed handles' own functions.
///
/// The names are reserved in every service, also where its handles lack the function. The name on
/// the wire may be one of these. A new function of the typed handles needs its name here.
const RESERVED: [&str; 8] = [
    "connect",
    "with_header",
    "with_keep_expired",
    "with_message_id",
    "with_priority",
    "with_timeout",
    "with_transient",
    "with_ttl",
];
