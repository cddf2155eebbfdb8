//! The modules of a crate, with the file of each.
//!
//! Modules are found by their declarations, from the root of the crate on. Names are resolved
//! without a compiler, which suffices for the checks: a name that is not found is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta, Token};

use super::names::{Imports, Target};

/// The modules of a crate by their paths; the root has an empty path.
pub(crate) struct CrateTree {
    /// The modules; code for unit tests is left out.
    ///
    /// A module under any other `cfg` is read as if its feature were on.
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

/// A module, in a file of its own or within that of its parent.
#[derive(Default)]
pub(crate) struct Module {
    /// The path below the root of the workspace.
    pub(crate) file: PathBuf,
    /// The items without those of children.
    pub(crate) items: Vec<Item>,
    /// The imports, re-exports included.
    pub(crate) imports: Imports,
    /// True if all items are modules, imports and documentation.
    pub(crate) is_face: bool,
}

impl CrateTree {
    /// Reads a crate. Code for unit tests is left out.
    ///
    /// `root` is a path below the workspace. Each file is read when its declaration is found.
    ///
    /// # Errors
    ///
    /// If a file is missing, is no UTF-8, or cannot be parsed.
    pub(crate) fn read(workspace: &Path, root: &Path) -> Result<Self> {
        let mut tree = Self { modules: BTreeMap::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.read_file(workspace, root, &folder, Vec::new())?;
        Ok(tree)
    }

    /// Reads a module from its file. `folder` has the files of its children, and `path` is that of
    /// the module in the crate.
    fn read_file(
        &mut self,
        workspace: &Path,
        file: &Path,
        folder: &Path,
        path: Vec<String>,
    ) -> Result<()> {
        let text = fs::read_to_string(workspace.join(file));
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text);
        let parsed = parsed.with_context(|| format!("cannot parse {}", file.display()))?;
        self.add(workspace, file, folder, path, parsed.items)
    }

    /// Adds a module with these items, and its children from their files.
    ///
    /// An item for unit tests is left out, and so are all modules below it.
    fn add(
        &mut self,
        workspace: &Path,
        file: &Path,
        folder: &Path,
        path: Vec<String>,
        items: Vec<Item>,
    ) -> Result<()> {
        let mut module = Module { file: file.to_owned(), is_face: true, ..Module::default() };
        for item in items {
            if attributes(&item).iter().any(is_for_tests) {
                continue;
            }
            match item {
                Item::Mod(child) => {
                    self.add_child(workspace, file, folder, &path, &child)?;
                    module.items.push(Item::Mod(ItemMod { content: None, ..child }));
                }
                Item::Use(import) => {
                    module.imports.add(&import);
                    module.items.push(Item::Use(import));
                }
                other => {
                    module.is_face = false;
                    module.items.push(other);
                }
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    /// Adds a child from the block in its parent, from the file that `#[path]` names, or from
    /// `NAME.rs` or `NAME/mod.rs`, in this order.
    ///
    /// For a child in a block or in `NAME.rs`, the files of its own children are in the folder
    /// `NAME`. With `#[path]`, they are beside the named file.
    fn add_child(
        &mut self,
        workspace: &Path,
        file: &Path,
        folder: &Path,
        parent: &[String],
        child: &ItemMod,
    ) -> Result<()> {
        let name = child.ident.to_string();
        let path: Vec<_> = parent.iter().cloned().chain([name.clone()]).collect();
        let inner = folder.join(&name);
        if let Some((_, items)) = &child.content {
            return self.add(workspace, file, &inner, path, items.clone());
        }
        if let Some(given) = child.attrs.iter().find_map(path_attribute) {
            let given = file.parent().unwrap_or(Path::new("")).join(given);
            let folder = given.parent().unwrap_or(Path::new("")).to_owned();
            return self.read_file(workspace, &given, &folder, path);
        }
        let flat = folder.join(format!("{name}.rs"));
        let nested = inner.join("mod.rs");
        let found = if workspace.join(&flat).exists() { flat } else { nested };
        self.read_file(workspace, &found, &inner, path)
    }

    /// Finds the module or the item that a path names, as seen from a module. Imports and
    /// re-exports are followed.
    ///
    /// Names after the item, such as those of variants and methods, are ignored. Returns `None` for
    /// items of other crates, and for names that macros define.
    pub(crate) fn resolve(&self, from: &[String], path: &[String]) -> Option<Target> {
        self.resolve_within(from, path, DEPTH_MAX)
    }

    /// Resolves a path through fewer than `depth` imports. A path that needs more has no target.
    fn resolve_within(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        let depth = depth.checked_sub(1)?;
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            _ => match self.lookup(from, first, depth)? {
                Target::Module(module) => module,
                item @ Target::Item { .. } => return Some(item),
            },
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                at.pop()?;
            } else {
                match self.lookup(&at, name, depth)? {
                    Target::Module(module) => at = module,
                    item @ Target::Item { .. } => return Some(item),
                }
            }
            rest = after;
        }
        Some(Target::Module(at))
    }

    /// Looks a name up in a module: its own items, its children, its imports, its glob imports.
    ///
    /// The first one that is found decides. A glob import of the module itself is skipped.
    fn lookup(&self, at: &[String], name: &str, depth: usize) -> Option<Target> {
        let module = self.modules.get(at)?;
        let child: Vec<_> = at.iter().cloned().chain([name.to_owned()]).collect();
        if self.modules.contains_key(&child) {
            return Some(Target::Module(child));
        }
        if module.items.iter().any(|item| item_name(item).is_some_and(|it| it == name)) {
            let module = at.to_vec();
            return Some(Target::Item { module, name: name.to_owned() });
        }
        let mut named = module.imports.named.get(name).into_iter().flatten();
        if let Some(found) = named.find_map(|path| self.resolve_within(at, path, depth)) {
            return Some(found);
        }
        module.imports.globs.iter().find_map(|glob| {
            let Target::Module(source) = self.resolve_within(at, glob, depth)? else {
                return None;
            };
            if source == at { None } else { self.lookup(&source, name, depth.checked_sub(1)?) }
        })
    }
}

/// Bounds the imports that are followed for one name: a glob import of an ancestor is a circle.
const DEPTH_MAX: usize = 16;

/// Returns the name that an item defines.
///
/// Returns `None` for modules, imports, `impl` blocks, and calls of macros.
pub(crate) fn item_name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Returns the attributes of an item; none for one that the parser leaves as tokens.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns true for a `#[cfg(…)]` that holds in unit tests alone, such as `cfg(all(unix, test))`.
fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta))
}

/// Returns true if a predicate of `cfg` is false without `test`.
///
/// A `not` counts as true without `test`, even around another `not`.
fn needs_test(predicate: &Meta) -> bool {
    let Meta::List(list) = predicate else { return predicate.path().is_ident("test") };
    let inner = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let Ok(inner) = inner else { return false };
    match list.path.get_ident().map(ToString::to_string).as_deref() {
        Some("all") => inner.iter().any(needs_test),
        Some("any") => !inner.is_empty() && inner.iter().all(needs_test),
        _ => false,
    }
}

/// Returns the file that `#[path = "…"]` names.
///
/// The path is relative to the folder of the declaring file.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(text) if pair.path.is_ident("path") => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_for_unit_tests_differ_from_others() {
        let is_left_out = |text: &str| {
            let item: Item = syn::parse_str(text).unwrap();
            attributes(&item).iter().any(is_for_tests)
        };
        for text in [
            "#[cfg(test)] mod tests {}",
            "#[cfg(all(unix, test))] union U { a: u8, b: i8 }",
            "#[cfg(all(unix, any(test, all(test, feature = \"tls\"))))] extern crate a;",
        ] {
            assert!(is_left_out(text), "{text}");
        }
        for text in [
            "#[cfg(any(unix, test))] fn f() {}",
            "#[cfg(all(unix, not(test)))] fn f() {}",
            "#[cfg(feature = \"test\")] fn f() {}",
            "#[test] fn f() {}",
        ] {
            assert!(!is_left_out(text), "{text}");
        }
    }
}
