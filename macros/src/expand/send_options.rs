//! The functions of typed pushers and publishers that set an option of all that they send.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::Visibility;

use super::docs::doc;

/// An option, as a function of the untyped handle: `with_…`.
///
/// The function has the name, the parameters and the documentation of its namesake on the untyped
/// handle, and returns the typed handle:
///
/// ```text
/// pub fn with_ttl(&self, ttl: Duration) -> Self { Self(self.0.with_ttl(ttl)) }
/// ```
struct SendOption {
    name: &'static str,
    /// The property of all that the handle sends, as a phrase of the documentation.
    gives: &'static str,
    /// The parameters after `&self`, with their types.
    parameters: TokenStream,
    /// The expressions that are passed on, one for each parameter.
    arguments: TokenStream,
}

/// Returns the functions that return the same handle with an option. `inner` is the name of the
/// untyped handle.
///
/// `inner` is `Pusher` or `Publisher`. A client has options of each call instead.
pub(super) fn functions(inner: &Ident, vis: &Visibility) -> TokenStream {
    options(inner).iter().map(|option| function(option, inner, vis)).collect()
}

/// Returns the options of an untyped handle.
///
/// A new option needs a reserved name as well, in `parse/method.rs`: a method of that name would
/// collide with the function.
fn options(inner: &Ident) -> Vec<SendOption> {
    let text = quote!(impl ::std::convert::Into<::std::string::String>);
    let mut options = vec![
        SendOption {
            name: "with_priority",
            gives: "this priority",
            parameters: quote!(priority: u8),
            arguments: quote!(priority),
        },
        SendOption {
            name: "with_header",
            gives: "this header, besides those of other options,",
            parameters: quote!(name: #text, value: #text),
            arguments: quote!(
                ::std::convert::Into::<::std::string::String>::into(name),
                ::std::convert::Into::<::std::string::String>::into(value)
            ),
        },
        SendOption {
            name: "with_ttl",
            gives: "this time to live, counted from each send,",
            parameters: quote!(ttl: ::std::time::Duration),
            arguments: quote!(ttl),
        },
        SendOption {
            name: "with_transient",
            gives: "no need for a disk",
            parameters: TokenStream::new(),
            arguments: TokenStream::new(),
        },
    ];
    // An event has no queue of its own whose dead letters it could join once it has expired.
    if inner == "Pusher" {
        options.push(SendOption {
            name: "with_keep_expired",
            gives: "a place among the dead letters once it has expired",
            parameters: TokenStream::new(),
            arguments: TokenStream::new(),
        });
    }
    options
}

/// Generates the function of an option. The returned handle keeps the options that it had.
fn function(option: &SendOption, inner: &Ident, vis: &Visibility) -> TokenStream {
    let SendOption { name, gives, parameters, arguments } = option;
    let ident = format_ident!("{name}");
    let doc = doc(&[&format!(
        "Returns the same handle, with {gives} for all that it sends; see [`{inner}::{name}`](::polywire::{inner}::{name})."
    )]);
    quote! {
        #doc
        #[must_use]
        #vis fn #ident(&self, #parameters) -> Self {
            Self(self.0.#ident(#arguments))
        }
    }
}
