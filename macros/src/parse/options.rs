//! The options of `#[service(…)]` and `#[method(…)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Attribute, Error, Ident, LitStr, Result};

/// The patterns of a service, and the options that hold for all its methods.
#[derive(Clone, Copy)]
pub(crate) struct Patterns {
    pub(crate) call: bool,
    pub(crate) push: bool,
    pub(crate) publish: bool,
    /// Every method runs to its end once it has begun.
    uncancelled: bool,
}

impl Patterns {
    /// Parses the arguments of `#[service(…)]`. No pattern means `call`.
    pub(super) fn parse(options: &TokenStream) -> Result<Self> {
        let mut patterns = Self { call: false, push: false, publish: false, uncancelled: false };
        let mut of_calls = None;
        let parser = syn::meta::parser(|meta| {
            let pattern = match &meta.path {
                path if path.is_ident("call") => &mut patterns.call,
                path if path.is_ident("push") => &mut patterns.push,
                path if path.is_ident("publish") => &mut patterns.publish,
                path if path.is_ident("uncancelled") => {
                    of_calls = path.get_ident().map(Ident::span);
                    &mut patterns.uncancelled
                }
                _ => {
                    return Err(meta.error(
                        "unknown argument: a service is for `call`, `push` or `publish`, and may be `uncancelled`",
                    ));
                }
            };
            match std::mem::replace(pattern, true) {
                true => Err(meta.error("this is named twice: once will do")),
                false => Ok(()),
            }
        });
        parser.parse2(options.clone())?;
        patterns.call |= !patterns.push && !patterns.publish;
        check_calls(of_calls, patterns)?;
        Ok(patterns)
    }
}

/// The options of a method.
pub(crate) struct Options {
    /// Its name on the wire.
    pub(crate) name: LitStr,
    /// The topic of its events.
    pub(crate) topic: LitStr,
    /// The timeout of a call, unless the client has one.
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) oneway: bool,
    /// It runs to its end once it has begun.
    pub(crate) uncancelled: bool,
    /// The span of an option that only a method may have.
    of_methods: Option<Span>,
}

/// The options as they are parsed.
#[derive(Default)]
struct Said {
    name: Option<LitStr>,
    topic: Option<LitStr>,
    timeout: Option<Duration>,
    idempotent: bool,
    oneway: bool,
    uncancelled: bool,
    /// The span of an option that concerns calls.
    of_calls: Option<Span>,
}

impl Options {
    /// Parses the `#[method(…)]` of a function.
    pub(super) fn parse(attrs: &[Attribute], function: &Ident, patterns: Patterns) -> Result<Self> {
        let mut said = Said::default();
        for attr in attrs.iter().filter(|attr| is_ours(attr)) {
            attr.parse_nested_meta(|meta| said.note(&meta))?;
        }
        said.check(patterns)?;
        let own = LitStr::new(&function.unraw().to_string(), function.span());
        let name = said.name.unwrap_or(own);
        check_name("method", &name)?;
        let of_methods = said.of_calls.or(said.topic.as_ref().map(LitStr::span));
        let topic = said.topic.unwrap_or_else(|| name.clone());
        check_name("topic", &topic)?;
        let Said { timeout, idempotent, oneway, .. } = said;
        let uncancelled = said.uncancelled || patterns.uncancelled;
        Ok(Self { name, topic, timeout, idempotent, oneway, uncancelled, of_methods })
    }

    /// The span of an option that a nested service may not have.
    pub(super) fn of_methods(&self) -> Option<Span> {
        self.of_methods
    }
}

/// True if the attribute belongs to this macro.
pub(super) fn is_ours(attr: &Attribute) -> bool {
    attr.path().is_ident("method")
}

impl Said {
    fn note(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let known = match option.as_str() {
            "name" => self.name.replace(meta.value()?.parse()?).is_some(),
            "topic" => self.topic.replace(meta.value()?.parse()?).is_some(),
            "timeout" => self.timeout.replace(timeout(&meta.value()?.parse()?)?).is_some(),
            "idempotent" => std::mem::replace(&mut self.idempotent, true),
            "oneway" => std::mem::replace(&mut self.oneway, true),
            "uncancelled" => std::mem::replace(&mut self.uncancelled, true),
            _ => {
                return Err(meta.error(
                    "unknown argument: `#[method]` takes `name = \"…\"`, `topic = \"…\"`, `timeout = \"5s\"`, \
                     `idempotent`, `oneway` and `uncancelled`",
                ));
            }
        };
        if matches!(option.as_str(), "timeout" | "idempotent" | "oneway" | "uncancelled") {
            self.of_calls = meta.path.get_ident().map(Ident::span);
        }
        match known {
            true => {
                Err(meta
                    .error(format!("the method has a `{option}` already: leave one of them out")))
            }
            false => Ok(()),
        }
    }

    /// Rejects options that concern none of the service's patterns.
    fn check(&self, patterns: Patterns) -> Result<()> {
        check_calls(self.of_calls, patterns)?;
        match self.topic.as_ref().filter(|_| !patterns.publish) {
            Some(topic) => Err(Error::new(
                topic.span(),
                "only what is published has a topic: leave it out, or add `publish` to `#[service(…)]`",
            )),
            None => Ok(()),
        }
    }
}

/// Rejects an option that concerns calls, in a service that is for none.
fn check_calls(option: Option<Span>, patterns: Patterns) -> Result<()> {
    match option.filter(|_| !patterns.call) {
        Some(span) => Err(Error::new(
            span,
            "this is about calls, and the service is for none: leave it out, or add `call` to `#[service(…)]`",
        )),
        None => Ok(()),
    }
}

/// Parses a duration such as `250ms`.
fn timeout(text: &LitStr) -> Result<Duration> {
    let value = text.value();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &value[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    match millis.filter(|millis| *millis > 0) {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err(Error::new(
            text.span(),
            "not a time: write a whole number above zero and `ms`, `s`, `m` or `h`, such as \"250ms\"",
        )),
    }
}

/// Rejects a name that is not an address. The router would reject the name only when the program
/// starts.
fn check_name(what: &str, name: &LitStr) -> Result<()> {
    match flaw(&name.value()) {
        Some(flaw) => Err(Error::new(
            name.span(),
            format!(
                "not a name for a {what}: {flaw}; write words joined by dots, such as `math.add`"
            ),
        )),
        None => Ok(()),
    }
}

fn flaw(name: &str) -> Option<&'static str> {
    if name.len() > 200 {
        return Some("it is longer than 200 bytes");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("it holds white space or a control character");
    }
    name.split('.').find_map(|word| match word {
        "" => Some("it is empty, or one of its dotted words is"),
        "*" | "#" => Some("one of its words is a wildcard"),
        _ => None,
    })
}
