//! What a method is called on the wire.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Ident, LitStr, Result};

/// The name that `#[method(name = "…")]` gives, or else that of the function.
pub(super) fn parse(attrs: &[Attribute], function: &Ident) -> Result<LitStr> {
    let mut given = None;
    for attr in attrs.iter().filter(|attr| is_ours(attr)) {
        attr.parse_nested_meta(|meta| option(&meta, &mut given))?;
    }
    let name = given.unwrap_or_else(|| LitStr::new(&function.unraw().to_string(), function.span()));
    match flaw(&name.value()) {
        Some(flaw) => Err(Error::new(name.span(), format!("not a name for a method: {flaw}"))),
        None => Ok(name),
    }
}

/// Whether the attribute is meant for this macro.
pub(super) fn is_ours(attr: &Attribute) -> bool {
    attr.path().is_ident("method")
}

fn option(meta: &ParseNestedMeta<'_>, name: &mut Option<LitStr>) -> Result<()> {
    if !meta.path.is_ident("name") {
        return Err(meta.error("unknown argument: `#[method]` takes `name = \"…\"`"));
    }
    match name.replace(meta.value()?.parse()?) {
        Some(_) => Err(meta.error("the method has a name already")),
        None => Ok(()),
    }
}

/// What keeps `name` from being an address. The router would refuse it too, but only when the program starts.
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
