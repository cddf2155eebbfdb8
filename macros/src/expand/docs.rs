//! Documentation of the generated items, and the attributes that they repeat.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token};

use super::code_blocks::{CodeBlocks, Line};
use crate::parse::{FailureType, Method, Nested};

/// Doc attributes with these lines.
///
/// An empty line separates paragraphs, as in a doc comment.
pub(super) fn doc(lines: &[&str]) -> TokenStream {
    indented(lines, 0)
}

/// The attributes of the client's function for a method.
///
/// A one-way call promises nothing but the send; another call names its timeout, if the method has
/// one. A declared error is linked by its type as written.
pub(super) fn of_call(method: &Method) -> TokenStream {
    let name = method.options.name.value();
    if method.options.oneway {
        let ttl = method
            .options
            .ttl
            .map(|ttl| format!(" A call that has not begun after {ttl:?} never runs."));
        let sent = "Resolves when the call was sent. The outcome of the method is not reported.";
        return documented(
            &method.attrs,
            &format!("Calls `{name}` without waiting for an outcome."),
            &format!("{sent}{}", ttl.unwrap_or_default()),
            "As [`CallBuilder::send`](::polywire::rpc::CallBuilder::send).",
        );
    }
    let timeout = method.options.timeout.map(|timeout| {
        format!("Waits at most {timeout:?}, unless the client has a timeout of its own.")
    });
    let errors = match &method.answer.failure {
        FailureType::Declared(error) => {
            let error = quote!(#error).to_string().replace(' ', "");
            format!(
                "[`CallError::Declared`](::polywire::CallError::Declared) with a [`{error}`]; otherwise as \
                 [`Client::call`](::polywire::Client::call)."
            )
        }
        _ => "As [`Client::call`](::polywire::Client::call).".to_owned(),
    };
    let promise = timeout.unwrap_or_default();
    documented(&method.attrs, &format!("Calls `{name}`."), &promise, &errors)
}

/// The attributes of the pusher's function for a method.
pub(super) fn of_job(method: &Method) -> TokenStream {
    let summary = format!("Pushes a job for `{}`.", method.options.name.value());
    let promise = "Resolves when the job was sent. A worker runs the job later.";
    let errors = "As [`Pusher::push`](::polywire::Pusher::push).";
    documented(&method.attrs, &summary, promise, errors)
}

/// The attributes of the publisher's function for a method.
pub(super) fn of_event(method: &Method) -> TokenStream {
    let topic = method.options.topic.value();
    let summary = format!("Publishes under the topic `{topic}`.");
    let promise = format!("Published under the topic `{topic}` to every listener.");
    let errors = "As [`Publisher::publish`](::polywire::Publisher::publish).";
    documented(&method.attrs, &summary, &promise, errors)
}

/// The attributes of a handle's function for a nested service. Only an accessor that prefixes the
/// names of methods can fail.
///
/// `suffix` and `has_prefix` are the fields `suffix` and `names` of the handle's `End`.
pub(super) fn of_nested(nested: &Nested, suffix: &str, has_prefix: bool) -> TokenStream {
    let (name, end) = (nested.name.value(), nested.end(suffix));
    let end = quote!(#end).to_string().replace(' ', "");
    let summary = format!("Returns the [`{end}`] of the service nested under `{name}`.");
    let errors = match has_prefix {
        true => {
            "[`ErrorKind::Config`](::polywire::ErrorKind::Config) if the joined name is too long."
        }
        false => "None: topics have no prefix.",
    };
    documented(&nested.attrs, &summary, "", errors)
}

/// Documentation that goes on after the attributes of the user, as a paragraph of its own.
pub(super) fn continued(attrs: &[Attribute], paragraph: &str) -> TokenStream {
    indented(&["", paragraph], indentation(attrs))
}

/// The attributes that a generated function repeats, with more text in the documentation.
///
/// `summary` stands first unless the user's documentation begins with a written text. `promise`
/// ends the part before the user's first section. `errors` ends the user's section `# Errors`;
/// without such a section, a new one comes last.
///
/// The sections of a text that a macro makes are unknown, so what ends a part stands before it.
fn documented(attrs: &[Attribute], summary: &str, promise: &str, errors: &str) -> TokenStream {
    let indentation = indentation(attrs);
    let begins_written = attrs.iter().find_map(value).is_some_and(|value| text(value).is_some());
    let first = if begins_written { "" } else { summary };
    // The end of the section that the lines belong to.
    let mut end = Some(indented(&[first, "", promise, ""], indentation));
    let (mut blocks, mut has_errors) = (CodeBlocks::default(), false);
    let mut docs = TokenStream::new();
    for attr in attrs.iter().filter(|attr| is_repeated(&attr.meta)) {
        let value = value(attr);
        let Some(text) = value.and_then(text) else {
            // The text of a file may be the code of a block.
            if value.is_some() && !blocks.is_open() {
                docs.extend(end.take());
            }
            attr.to_tokens(&mut docs);
            continue;
        };
        for line in text.value().split('\n') {
            // A line of code may begin as the heading of a section does.
            let heading = match blocks.read(line.get(indentation..).unwrap_or_default()) {
                Line::Text(text) if text.starts_with("# ") => Some(text),
                _ => None,
            };
            if let Some(heading) = heading {
                docs.extend(end.take());
                if heading == "# Errors" {
                    has_errors = true;
                    end = Some(indented(&["", errors, ""], indentation));
                }
            }
            let line = LitStr::new(line, text.span());
            docs.extend(quote_spanned!(text.span()=> #[doc = #line]));
        }
    }
    docs.extend(end);
    if !has_errors {
        docs.extend(indented(&["", "# Errors", "", errors], indentation));
    }
    docs
}

/// Returns true for an attribute of a method or nested service that the generated function repeats.
///
/// The others, such as `#[must_use]` or `#[allow]`, belong to the method of the trait alone. A
/// `cfg_attr` is repeated if all its attributes are.
fn is_repeated(meta: &Meta) -> bool {
    if meta.path().is_ident("cfg_attr") {
        let parts = meta
            .require_list()
            .and_then(|list| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated));
        return parts.is_ok_and(|parts| parts.iter().skip(1).all(is_repeated));
    }
    ["cfg", "deprecated", "doc"].iter().any(|repeated| meta.path().is_ident(repeated))
}

/// The value of a doc comment, or of `#[doc = …]`. `None` for any other attribute.
fn value(attr: &Attribute) -> Option<&Expr> {
    let meta = attr.meta.require_name_value().ok().filter(|meta| meta.path.is_ident("doc"))?;
    Some(&meta.value)
}

/// The written text of a value. `None` for a text that a macro such as `include_str!` makes.
fn text(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}

/// Returns the indentation that all written lines share, in characters.
///
/// It is 1 for comments of the form `/// text`. Rustdoc removes the indentation that all lines of
/// an item share, so a generated line with less would make an indented text code.
fn indentation(attrs: &[Attribute]) -> usize {
    let texts = attrs.iter().filter_map(value).filter_map(text).map(LitStr::value);
    let of_lines = |text: String| {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| line.len() - line.trim_start_matches([' ', '\t']).len()).min()
    };
    texts.filter_map(of_lines).min().unwrap_or(0)
}

/// Doc attributes with these lines, each of them indented.
fn indented(lines: &[&str], indentation: usize) -> TokenStream {
    let lines = lines.iter().map(|line| format!("{:indentation$}{line}", ""));
    quote!(#(#[doc = #lines])*)
}
