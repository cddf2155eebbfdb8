//! Documentation of the generated items.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit};

use crate::parse::{Failure, Method, Nested};

/// Doc attributes with these lines.
///
/// An empty line separates paragraphs, as in a doc comment.
pub(super) fn doc(lines: &[&str]) -> TokenStream {
    quote!(#(#[doc = #lines])*)
}

/// The client's additions to the documentation of a method.
///
/// A one-way call promises nothing but the send; another call names its timeout, if the method has
/// one.
pub(super) fn of_call(method: &Method) -> TokenStream {
    let name = method.options.name.value();
    if method.options.oneway {
        let ttl = method
            .options
            .ttl
            .map(|ttl| format!(" A call that has not begun after {ttl:?} never runs."));
        let sent = "Resolves when the call was sent. The outcome of the method is not reported.";
        return ending(
            method,
            &format!("Calls `{name}` without waiting for an outcome."),
            &format!("{sent}{}", ttl.unwrap_or_default()),
            "As [`CallBuilder::send`](::polywire::rpc::CallBuilder::send).",
        );
    }
    let timeout = method.options.timeout.map(|timeout| {
        format!("Waits at most {timeout:?}, unless the client has a timeout of its own.")
    });
    let errors = match &method.answer.failure {
        Failure::Declared(error) => {
            let error = quote!(#error).to_string().replace(' ', "");
            format!(
                "[`CallError::Declared`](::polywire::CallError::Declared) with a [`{error}`]; otherwise as \
                 [`Client::call`](::polywire::Client::call)."
            )
        }
        _ => "As [`Client::call`](::polywire::Client::call).".to_owned(),
    };
    ending(method, &format!("Calls `{name}`."), timeout.as_deref().unwrap_or_default(), &errors)
}

/// The pusher's additions to the documentation of a method.
pub(super) fn of_job(method: &Method) -> TokenStream {
    let summary = format!("Pushes a job for `{}`.", method.options.name.value());
    let promise = "Resolves when the job was sent. A worker runs the job later.";
    ending(method, &summary, promise, "As [`Pusher::push`](::polywire::Pusher::push).")
}

/// The publisher's additions to the documentation of a method.
pub(super) fn of_event(method: &Method) -> TokenStream {
    let topic = method.options.topic.value();
    let summary = format!("Publishes under the topic `{topic}`.");
    let promise = format!("Published under the topic `{topic}` to every listener.");
    ending(method, &summary, &promise, "As [`Publisher::publish`](::polywire::Publisher::publish).")
}

/// A handle's additions to the documentation of a nested service. Only an accessor that prefixes
/// the names of methods can fail.
pub(super) fn of_nested(nested: &Nested, suffix: &str, has_prefix: bool) -> TokenStream {
    let (name, end) = (nested.name.value(), nested.end(suffix));
    let end = quote!(#end).to_string().replace(' ', "");
    let summary = format!("Returns the [`{end}`] of the service nested under `{name}`.");
    let first =
        if nested.attrs.iter().filter_map(text).next().is_none() { summary.as_str() } else { "" };
    let errors = match has_prefix {
        true => {
            "[`ErrorKind::Config`](::polywire::ErrorKind::Config) if the joined name is too long."
        }
        false => "None: topics have no prefix.",
    };
    doc(&[first, "", "# Errors", "", errors])
}

/// Appends to the method's own documentation, which may list its faults already.
///
/// `summary` stands first if the method has no documentation. If the method has a section
/// `# Errors`, `errors` continues the section, and `promise` follows; otherwise the section comes
/// last.
fn ending(method: &Method, summary: &str, promise: &str, errors: &str) -> TokenStream {
    let texts: Vec<_> = method.attrs.iter().filter_map(text).collect();
    let first = if texts.is_empty() { summary } else { "" };
    if texts.iter().flat_map(|text| text.lines()).any(|line| line.trim() == "# Errors") {
        return doc(&["", errors, "", promise]);
    }
    doc(&[first, "", promise, "", "# Errors", "", errors])
}

/// The text of a doc comment.
///
/// `None` for any other attribute, and for a text that a macro such as `include_str!` makes.
fn text(attr: &Attribute) -> Option<String> {
    let meta = attr.meta.require_name_value().ok().filter(|meta| meta.path.is_ident("doc"))?;
    match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}
