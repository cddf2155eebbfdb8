//! Plain English in string literals: no banned words in errors, log lines and printed lines.
//!
//! Tests are not read: their texts are for authors, and their samples may be of any kind.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, Lit};

use super::banned_words::banned_lines;
use super::finding::Check;
use super::markdown::without_inline_code;
use crate::source::{CrateTree, SourceFile, crate_roots};

/// Reads all crates but test programs, and finds literals of several words with a banned word.
///
/// A literal that several crates include counts once.
pub(crate) fn check(workspace: &Path, files: &[SourceFile]) -> Result<Check> {
    let mut findings = BTreeSet::new();
    for root in crate_roots(files).iter().filter(|root| !is_test(root)) {
        for module in CrateTree::read(workspace, root)?.modules.values() {
            // Modules within the file are modules of the tree themselves.
            let code = module.items.iter().filter(|item| !matches!(item, Item::Mod(_)));
            for text in code.flat_map(|item| banned_texts(item.to_token_stream())) {
                findings.insert(format!("{}: {text:?}", module.file.display()));
            }
        }
    }
    let findings = findings.into_iter().collect();
    Ok(Check::strict("banned words in texts", "string literals have a banned word", findings))
}

/// Decides by the folders of the path alone.
fn is_test(root: &Path) -> bool {
    root.iter().any(|folder| folder == "tests")
}

/// Returns the literals with a banned word.
///
/// A literal without a space is a name or a part of a text, and is not read. Neither are code
/// between backticks and the arguments of a format.
fn banned_texts(code: TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    collect(code, &mut texts);
    texts.retain(|text| {
        text.contains(' ')
            && !banned_lines(&without_arguments(&without_inline_code(text))).is_empty()
    });
    texts
}

/// Collects all string literals, those in the arguments of macros included. Comments are left out.
fn collect(code: TokenStream, texts: &mut Vec<String>) {
    for token in code {
        match token {
            TokenTree::Group(group) => {
                let is_attribute = group.delimiter() == Delimiter::Bracket;
                if !(is_attribute && is_doc(group.stream())) {
                    collect(group.stream(), texts);
                }
            }
            TokenTree::Literal(literal) => {
                if let Lit::Str(text) = Lit::new(literal) {
                    texts.push(text.value());
                }
            }
            _ => {}
        }
    }
}

/// Returns true for the content of `#[doc = …]`, which is a comment.
fn is_doc(content: TokenStream) -> bool {
    let mut tokens = content.into_iter();
    matches!(tokens.next(), Some(TokenTree::Ident(name)) if name == "doc")
        && matches!(tokens.next(), Some(TokenTree::Punct(sign)) if sign.as_char() == '=')
}

/// Returns the text of a format with a `_` for each argument, such as `{name}`.
fn without_arguments(text: &str) -> String {
    let mut parts = text.split('{');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += "_";
        kept += part.split_once('}').map_or(part, |(_, after)| after);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        banned_texts(code.parse().unwrap())
    }

    #[test]
    fn texts_of_errors_and_macros_are_read() {
        let code = r#"
            #[error("nobody listens")] struct A;
            fn f() { warn!(peer, "the peer hears {nothing}"); bail!("cannot tell: {0}") }
        "#;
        assert_eq!(found(code), ["nobody listens", "the peer hears {nothing}", "cannot tell: {0}"]);
    }

    #[test]
    fn names_code_arguments_and_comments_are_not_read() {
        let code = r#"
            /** Nobody listens. */
            fn f() { g("told"); g("cannot run `tell peers`: {told} {0:?}"); g("give {it} back") }
        "#;
        assert_eq!(found(code), Vec::<String>::new());
    }
}
