//! The options of `#[service(…)]` and `#[method(…)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Attribute, Error, Ident, LitStr, Result};

use super::given_options::GivenOptions;

/// The patterns of a service, and the options that hold for all its methods.
///
/// At least one pattern is set. Nested services have patterns and options of their own.
#[derive(Clone, Copy, Default)]
pub(crate) struct Patterns {
    /// The service has a typed client.
    pub(crate) call: bool,
    /// The service has a typed pusher.
    pub(crate) push: bool,
    /// The service has a typed publisher, and a topic for each method.
    pub(crate) publish: bool,
    /// Calls run at most once, unless their methods are idempotent.
    at_most_once: bool,
    /// Every method runs to its end once it has begun.
    uncancelled: bool,
}

impl Patterns {
    /// Parses the arguments of `#[service(…)]`. No pattern means `call`.
    ///
    /// `at_most_once` and `uncancelled` need the pattern `call`. A repeated argument is an error.
    pub(super) fn parse(options: &TokenStream) -> Result<Self> {
        let mut patterns = Self::default();
        let (mut of_calls, mut given) = (None, GivenOptions::default());
        let parser = syn::meta::parser(|meta| {
            let pattern = match &meta.path {
                path if path.is_ident("call") => &mut patterns.call,
                path if path.is_ident("push") => &mut patterns.push,
                path if path.is_ident("publish") => &mut patterns.publish,
                path if path.is_ident("at_most_once") => {
                    of_calls = path.get_ident().map(Ident::span);
                    &mut patterns.at_most_once
                }
                path if path.is_ident("uncancelled") => {
                    of_calls = path.get_ident().map(Ident::span);
                    &mut patterns.uncancelled
                }
                _ => {
                    return Err(meta.error(
                        "unknown argument: a service is for `call`, `push` or `publish`, and may be `at_most_once` or `uncancelled`",
                    ));
                }
            };
            *pattern = true;
            given.add(&meta)
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
    ///
    /// The default is the name of the function.
    pub(crate) name: LitStr,
    /// The topic of its events.
    ///
    /// The default is the name on the wire.
    pub(crate) topic: LitStr,
    /// The timeout of a call, unless the client has one.
    ///
    /// From 1 ms to 30 days.
    pub(crate) timeout: Option<Duration>,
    /// Running a call twice does no more than once. Excludes `at_most_once`.
    pub(crate) idempotent: bool,
    /// No call is begun twice. Set by the method or by the service.
    pub(crate) at_most_once: bool,
    /// A call has no reply.
    pub(crate) oneway: bool,
    /// The time within which a one-way call must begin.
    ///
    /// From 1 ms to 30 days; `None` is no limit. Always `None` without `oneway`.
    pub(crate) ttl: Option<Duration>,
    /// A one-way call that does not begin in time becomes a dead letter.
    ///
    /// Only set together with `ttl`.
    pub(crate) keep_expired: bool,
    /// A begun handler runs to its end. Set by the method or by the service.
    pub(crate) uncancelled: bool,
    /// The span of an option that only a method may have: of any option but `name`.
    of_methods: Option<Span>,
}

/// The options as they are parsed, without defaults.
#[derive(Default)]
struct Said {
    given: GivenOptions,
    name: Option<LitStr>,
    topic: Option<LitStr>,
    timeout: Option<Duration>,
    idempotent: bool,
    at_most_once: bool,
    oneway: bool,
    ttl: Option<Duration>,
    keep_expired: bool,
    uncancelled: bool,
    /// The span of the last option that concerns calls: of any but `name` and `topic`.
    of_calls: Option<Span>,
    /// The span of the last option that concerns one-way calls: `ttl` or `keep_expired`.
    of_oneway: Option<Span>,
}

impl Options {
    /// Parses the `#[method(…)]` of a function.
    ///
    /// Several attributes on one function add up. The options of the service are merged in here; a
    /// method that is `idempotent` keeps that mark in a service that is `at_most_once`.
    ///
    /// # Errors
    ///
    /// The first mistake. The default name is checked as well: a name of more than 200 bytes is no
    /// address.
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
        let Said { timeout, idempotent, oneway, ttl, keep_expired, .. } = said;
        let at_most_once = said.at_most_once || (patterns.at_most_once && !idempotent);
        let uncancelled = said.uncancelled || patterns.uncancelled;
        Ok(Self {
            name,
            topic,
            timeout,
            idempotent,
            at_most_once,
            oneway,
            ttl,
            keep_expired,
            uncancelled,
            of_methods,
        })
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
    /// Records one option, and rejects unknown, repeated and contradicting ones.
    fn note(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match option.as_str() {
            "name" => self.name = Some(meta.value()?.parse()?),
            "topic" => self.topic = Some(meta.value()?.parse()?),
            "timeout" => self.timeout = Some(time(&meta.value()?.parse()?)?),
            "idempotent" => self.idempotent = true,
            "at_most_once" => self.at_most_once = true,
            "oneway" => self.oneway = true,
            "ttl" => self.ttl = Some(time(&meta.value()?.parse()?)?),
            "keep_expired" => self.keep_expired = true,
            "uncancelled" => self.uncancelled = true,
            _ => {
                return Err(meta.error(
                    "unknown argument: `#[method]` takes `name = \"…\"`, `topic = \"…\"`, `timeout = \"5s\"`, \
                     `idempotent`, `at_most_once`, `oneway`, `ttl = \"1h\"`, `keep_expired` and `uncancelled`",
                ));
            }
        }
        let span = meta.path.get_ident().map(Ident::span);
        if !matches!(option.as_str(), "name" | "topic") {
            self.of_calls = span;
        }
        if matches!(option.as_str(), "ttl" | "keep_expired") {
            self.of_oneway = span;
        }
        if self.idempotent && self.at_most_once {
            return Err(meta.error(
                "a method is either `idempotent`, and may run twice, or `at_most_once`: leave one of them out",
            ));
        }
        self.given.add(meta)
    }

    /// Rejects options that concern none of the service's patterns.
    fn check(&self, patterns: Patterns) -> Result<()> {
        check_calls(self.of_calls, patterns)?;
        if let Some(span) = self.of_oneway.filter(|_| !self.oneway) {
            return Err(Error::new(
                span,
                "only a one-way call has a time to live: leave it out, or add `oneway`",
            ));
        }
        if let Some(span) = self.of_oneway.filter(|_| self.keep_expired && self.ttl.is_none()) {
            return Err(Error::new(
                span,
                "a call without a time to live does not expire: leave it out, or add `ttl = \"1h\"`",
            ));
        }
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
///
/// `option` is the span of such an option, if there is one.
fn check_calls(option: Option<Span>, patterns: Patterns) -> Result<()> {
    match option.filter(|_| !patterns.call) {
        Some(span) => Err(Error::new(
            span,
            "the option is for calls, and the service has none: leave it out, or add `call` to `#[service(…)]`",
        )),
        None => Ok(()),
    }
}

/// The longest time of an option: that of `Deadline::MAX` in core, to which a call would cut a
/// longer one.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Parses a timeout or a time to live, such as `250ms`.
///
/// The unit is `ms`, `s`, `m` or `h`. The number has digits alone. The time is above zero, and at
/// most `TIME_MAX`.
fn time(text: &LitStr) -> Result<Duration> {
    let value = text.value();
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &value[..value.len() - unit.len()];
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = factor.filter(|_| !digits.is_empty()).map(|factor| {
        // Digits alone are no number only if there are too many of them.
        digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor)
    });
    match millis.map(Duration::from_millis) {
        Some(time) if time > TIME_MAX => {
            Err(Error::new(text.span(), "too long: a time is at most \"720h\""))
        }
        Some(time) if !time.is_zero() => Ok(time),
        _ => Err(Error::new(
            text.span(),
            "not a time: write a whole number above zero and `ms`, `s`, `m` or `h`, such as \"250ms\"",
        )),
    }
}

/// Rejects a name that is not an address. The router would reject the name only when the program
/// starts.
///
/// `what` is the noun of the error: `method` or `topic`.
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

/// Returns the reason for which a name is no address, by the rules of `Address::new` in core. A
/// change there needs one here, since this crate does not depend on core.
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
