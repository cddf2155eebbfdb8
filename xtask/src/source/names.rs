//! Names that a module imports, and paths that its code mentions.
//!
//! Nothing is resolved here: a path is kept as it is written, and `CrateTree` finds its meaning.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{ItemUse, UseTree, Visibility};

/// The meaning of a path.
///
/// Paths of modules begin below the root of the crate, whose own path is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(Vec<String>),
    /// An item of the crate, with its defining module and its name there.
    Item {
        module: Vec<String>,
        name: String,
    },
}

/// The imports of a module.
#[derive(Default)]
pub(crate) struct Imports {
    /// Paths by the names that they have here. A name may stand for a type and for a macro.
    pub(crate) named: BTreeMap<String, Vec<Vec<String>>>,
    /// Names among them that other crates can import from here.
    pub(crate) public: Vec<String>,
    /// Modules whose items are imported with a `*`.
    pub(crate) globs: Vec<Vec<String>>,
}

impl Imports {
    /// Adds the names of an import.
    ///
    /// A name counts as public if its import is `pub` without a restriction.
    pub(crate) fn add(&mut self, import: &ItemUse) {
        let is_public = matches!(import.vis, Visibility::Public(_));
        self.add_tree(&mut Vec::new(), &import.tree, is_public);
    }

    /// Adds the names of a part of an import. `prefix` is the path before that part, and is the
    /// same after the call.
    fn add_tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree, is_public: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(prefix, &path.tree, is_public);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(prefix, tree, is_public);
                }
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let mut path = prefix.clone();
                // `use a::{self}` imports `a`.
                let name = if name == "self" {
                    prefix.last().cloned().unwrap_or_default()
                } else {
                    path.push(name.clone());
                    name
                };
                self.add_name(name, path, is_public);
            }
            UseTree::Rename(rename) => {
                let mut path = prefix.clone();
                path.push(rename.ident.to_string());
                self.add_name(rename.rename.to_string(), path, is_public);
            }
            UseTree::Glob(_) => self.globs.push(prefix.clone()),
        }
    }

    /// Adds a name with the path that it stands for. A second path of the same name is kept as
    /// well.
    fn add_name(&mut self, name: String, path: Vec<String>, is_public: bool) {
        if is_public && !self.public.contains(&name) {
            self.public.push(name.clone());
        }
        self.named.entry(name).or_default().push(path);
    }
}

/// Returns all paths of two names or more in some code, those in the arguments of macros included.
///
/// The code is looked at as tokens, so a path is found even where the macro decides what it means.
/// Repeated paths are repeated in the result.
pub(crate) fn paths_in(code: TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(code, &[], &mut found);
    found
}

/// Collects paths. `prefix` stands before each name of a group of imports.
///
/// The names of a group are paths themselves, and the path before the group counts as well. Tokens
/// within other groups have no prefix.
fn collect(code: TokenStream, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let tokens: Vec<_> = code.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => collect(group.stream(), &[], found),
            TokenTree::Ident(first) => {
                let mut path = prefix.to_vec();
                path.push(first.to_string());
                while is_path_separator(&tokens[at..]) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            collect(group.stream(), &path, found);
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if path.len() > 1 {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
}

/// Returns true if the tokens begin with `::`, which is two tokens.
fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(it)) if it.as_char() == ':');
    colon(tokens.first()) && colon(tokens.get(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_macros_and_in_imports_of_functions() {
        let code = "fn f() { use super::{a::B, c::{D, E}}; select! { x = crate::g::h() => i } }";
        let found: Vec<_> =
            paths_in(code.parse().unwrap()).iter().map(|path| path.join("::")).collect();
        assert_eq!(
            found,
            ["super::a::B", "super::c::D", "super::c::E", "super::c", "super", "crate::g::h"]
                .into_iter()
                .filter(|path| path.contains("::"))
                .collect::<Vec<_>>()
        );
    }
}
