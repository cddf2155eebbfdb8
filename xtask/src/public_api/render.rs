//! Items as lines.
//!
//! Each line begins with the path of the item. The text of a line depends on the tokens alone, so
//! comments change no line.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Attribute, Fields, Generics, ImplItem, Item, ItemImpl, Meta, Signature, TraitItem, Visibility,
};

/// Returns the lines of an item that users know by a path.
///
/// The first line is the item itself. Derived traits, public fields, variants and items of a trait
/// follow, a line each. Other kinds of items have no line.
///
/// Other attributes than `derive` and `non_exhaustive` are left out. The value of a constant is
/// left out, too.
pub(crate) fn item(path: &str, item: &Item) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |line: String| lines.push(line);
    match item {
        Item::Const(it) => add(format!("{path}: const {}", text(&it.ty))),
        Item::Static(it) => add(format!("{path}: static {}", text(&it.ty))),
        Item::Fn(it) => add(format!("{path}: {}", signature(&it.sig))),
        Item::Macro(_) => add(format!("{path}: macro")),
        Item::Type(it) => add(format!("{path}: type = {}", text(&it.ty))),
        Item::Struct(it) => {
            let head = head("struct", &it.ident, &it.generics);
            add(format!("{path}: {}{head}", marker(&it.attrs)));
            derives(&it.attrs).iter().for_each(|name| add(format!("{path}: derive {name}")));
            for (number, field) in it.fields.iter().enumerate() {
                if matches!(field.vis, Visibility::Public(_)) {
                    let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
                    add(format!("{path}.{name}: {}", text(&field.ty)));
                }
            }
        }
        Item::Enum(it) => {
            add(format!("{path}: {}{}", marker(&it.attrs), head("enum", &it.ident, &it.generics)));
            derives(&it.attrs).iter().for_each(|name| add(format!("{path}: derive {name}")));
            for variant in &it.variants {
                add(format!("{path}::{}: {}", variant.ident, fields(&variant.fields)));
            }
        }
        Item::Trait(it) => {
            let bounds = &it.supertraits;
            let bounds = if bounds.is_empty() { quote!() } else { quote!(: #bounds) };
            let (generics, condition) = (&it.generics, &it.generics.where_clause);
            let name = &it.ident;
            add(format!("{path}: {}", text(quote!(trait #name #generics #bounds #condition))));
            it.items.iter().filter_map(|it| trait_item(path, it)).for_each(add);
        }
        _ => {}
    }
    lines
}

/// Returns the lines of an `impl` block: public methods, or the trait.
///
/// An implementation of a trait is one line, without its methods, since the trait decides on them.
///
/// A method has the generics and the conditions of its block, since two blocks may differ in them.
/// Associated types of the block have no lines.
pub(crate) fn implementation(path: &str, block: &ItemImpl) -> Vec<String> {
    let (generics, target) = (&block.generics, &block.self_ty);
    let condition = &block.generics.where_clause;
    if let Some((of, _)) = &block.trait_ {
        return vec![format!(
            "{path}: {}",
            text(quote!(impl #generics #of for #target #condition))
        )];
    }
    let head = text(quote!(impl #generics #target #condition));
    let methods = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(it) if matches!(it.vis, Visibility::Public(_)) => {
            Some(format!("{path}::{}: {head}: {}", it.sig.ident, signature(&it.sig)))
        }
        ImplItem::Const(it) if matches!(it.vis, Visibility::Public(_)) => {
            Some(format!("{path}::{}: {head}: const {}", it.ident, text(&it.ty)))
        }
        _ => None,
    });
    methods.collect()
}

/// Returns the line of an item of a trait. A method with a default body is marked as `provided`.
///
/// Other items, such as macros, have no line.
fn trait_item(path: &str, item: &TraitItem) -> Option<String> {
    Some(match item {
        TraitItem::Fn(it) => {
            let provided = if it.default.is_some() { "provided " } else { "" };
            format!("{path}::{}: {provided}{}", it.sig.ident, signature(&it.sig))
        }
        TraitItem::Type(it) => {
            let (name, bounds) = (&it.ident, &it.bounds);
            let bounds = if bounds.is_empty() { quote!() } else { quote!(: #bounds) };
            format!("{path}::{name}: {}", text(quote!(type #name #bounds)))
        }
        TraitItem::Const(it) => format!("{path}::{}: const {}", it.ident, text(&it.ty)),
        _ => return None,
    })
}

/// Returns the kind, the name, the generics and the `where` clause of a type.
fn head(kind: &str, name: &syn::Ident, generics: &Generics) -> String {
    let condition = &generics.where_clause;
    format!("{kind} {}", text(quote!(#name #generics #condition)))
}

/// Returns the fields of a variant, all of which are public.
///
/// The result is `variant` for one without fields.
fn fields(fields: &Fields) -> String {
    match fields {
        Fields::Unit => "variant".to_owned(),
        Fields::Unnamed(fields) => {
            let types = fields.unnamed.iter().map(|field| text(&field.ty)).collect::<Vec<_>>();
            format!("({})", types.join(", "))
        }
        Fields::Named(fields) => {
            let fields = fields.named.iter().filter_map(|field| {
                Some(format!("{}: {}", field.ident.as_ref()?, text(&field.ty)))
            });
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns `non_exhaustive` and a space for a type that may grow, and nothing for others.
fn marker(attributes: &[Attribute]) -> &'static str {
    let is_open = attributes.iter().any(|it| it.path().is_ident("non_exhaustive"));
    if is_open { "non_exhaustive " } else { "" }
}

/// Returns the names of all derived traits, in the order of the source.
fn derives(attributes: &[Attribute]) -> Vec<String> {
    let lists = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("derive") => Some(list.tokens.to_string()),
        _ => None,
    });
    let names = lists
        .flat_map(|list| list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
    names.filter(|name| !name.is_empty()).collect()
}

/// Renders a signature; attributes of arguments are left out.
fn signature(signature: &Signature) -> String {
    text(signature)
}

/// Renders tokens with the spaces that rustfmt would set, as far as signatures need it.
///
/// Each replacement sees the result of those before. The text may still differ from that of
/// rustfmt: lines are compared only with lines of this function.
fn text(tokens: impl ToTokens) -> String {
    let tokens: TokenStream = tokens.into_token_stream();
    let mut text = tokens.to_string();
    for (from, to) in [
        ("\n", " "),
        ("  ", " "),
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" <", "<"),
        (" >", ">"),
        (" ,", ","),
        (",)", ")"),
        (", >", ">"),
        (" ;", ";"),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
        ("->(", "-> ("),
        ("& ", "&"),
        (" : ", ": "),
        ("? ", "?"),
        ("[ ", "["),
        (" ]", "]"),
        (",(", ", ("),
        (":(", ": ("),
        ("=(", "= ("),
        (", )", ")"),
    ] {
        text = text.replace(from, to);
    }
    text
}
