//! The documentation of what is written.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit};

use crate::parse::{Failure, Method, Nested};

/// Attributes that document an item with these lines.
pub(super) fn doc(lines: &[&str]) -> TokenStream {
    quote!(#(#[doc = #lines])*)
}

/// What a client adds to the documentation of a method.
pub(super) fn of_call(method: &Method) -> TokenStream {
    let name = method.options.name.value();
    if method.options.oneway {
        return ending(
            method,
            &format!("Calls `{name}` and waits for no outcome."),
            "Resolves when the call is handed over; nobody hears whether it succeeds.",
            "As [`CallBuilder::send`](::polywire::rpc::CallBuilder::send).",
        );
    }
    let timeout = method.options.timeout.map(|timeout| {
        format!("Waits for {timeout:?}, unless the client was told how long its calls wait.")
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

/// What a pusher adds to the documentation of a method.
pub(super) fn of_job(method: &Method) -> TokenStream {
    let summary = format!("Pushes a job for `{}`.", method.options.name.value());
    let promise = "Resolves when the job is handed over; a worker does it later.";
    ending(method, &summary, promise, "As [`Pusher::push`](::polywire::Pusher::push).")
}

/// What a publisher adds to the documentation of a method.
pub(super) fn of_event(method: &Method) -> TokenStream {
    let topic = method.options.topic.value();
    let summary = format!("Publishes under the topic `{topic}`.");
    let promise = format!("Published under the topic `{topic}`, for every listener.");
    ending(method, &summary, &promise, "As [`Publisher::publish`](::polywire::Publisher::publish).")
}

/// What an end adds to the documentation of a nested service.
pub(super) fn of_nested(nested: &Nested, suffix: &str) -> TokenStream {
    let (name, end) = (nested.name.value(), nested.end(suffix));
    let end = quote!(#end).to_string().replace(' ', "");
    let summary = format!("The [`{end}`] of what is nested under `{name}`.");
    let first =
        if nested.attrs.iter().filter_map(text).next().is_none() { summary.as_str() } else { "" };
    let errors =
        "[`ErrorKind::Config`](::polywire::ErrorKind::Config) if the words are too long together.";
    doc(&[first, "", "# Errors", "", errors])
}

/// Goes on after the method's own documentation, if it has any, which may have told of its own
/// faults already.
fn ending(method: &Method, summary: &str, promise: &str, errors: &str) -> TokenStream {
    let texts: Vec<_> = method.attrs.iter().filter_map(text).collect();
    let first = if texts.is_empty() { summary } else { "" };
    if texts.iter().flat_map(|text| text.lines()).any(|line| line.trim() == "# Errors") {
        return doc(&["", errors, "", promise]);
    }
    doc(&[first, "", promise, "", "# Errors", "", errors])
}

/// The text of a doc comment.
fn text(attr: &Attribute) -> Option<String> {
    let meta = attr.meta.require_name_value().ok().filter(|meta| meta.path.is_ident("doc"))?;
    match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}
