//! Items that other crates can name, with the paths under which they can.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, Type, Visibility};

use super::render;
use crate::source::{CrateTree, Target, item_name};

/// Returns the surface of a crate, one sorted line per item.
///
/// `name` is that of the crate in Rust. Two passes: the first finds the paths under which each item
/// is public, the second describes each item once.
///
/// Public items of a private module count only under their re-exports.
pub(crate) fn lines(name: &str, tree: &CrateTree) -> BTreeSet<String> {
    let mut surface = Surface { tree, paths: BTreeMap::new(), lines: BTreeSet::new() };
    surface.visit(&[], name);
    let paths = std::mem::take(&mut surface.paths);
    for (item, paths) in &paths {
        surface.describe(item, paths);
    }
    surface.lines
}

/// The module and the name of an item.
type ItemKey = (Vec<String>, String);

/// The public items of a crate, while they are collected.
///
/// Items are known by their defining module, so re-exports of one item meet in one entry of
/// `paths`.
struct Surface<'a> {
    /// The modules of the crate. Code for unit tests is not among them.
    tree: &'a CrateTree,
    /// The public paths of each item, filled by the first pass.
    paths: BTreeMap<ItemKey, BTreeSet<String>>,
    /// The result. The first pass adds modules and items of other crates, the second all other
    /// lines.
    lines: BTreeSet<String>,
}

impl Surface<'_> {
    /// Collects the public items of a module that users know as `public`.
    ///
    /// A re-export that leads to another crate is a line of its own. Public modules are visited in
    /// depth.
    ///
    /// A re-export with a `*` adds nothing, and the attribute `doc(hidden)` makes no difference.
    fn visit(&mut self, at: &[String], public: &str) {
        let Some(module) = self.tree.modules.get(at) else { return };
        for item in &module.items {
            match item {
                Item::Mod(child) if is_public(&child.vis) => {
                    let child = child.ident.to_string();
                    let path: Vec<_> = at.iter().cloned().chain([child.clone()]).collect();
                    self.lines.insert(format!("{public}::{child}: mod"));
                    self.visit(&path, &format!("{public}::{child}"));
                }
                other => {
                    if let Some(name) = item_name(other).filter(|_| is_public_item(other)) {
                        self.add((at.to_vec(), name.clone()), format!("{public}::{name}"));
                    }
                }
            }
        }
        let named = |name| module.imports.named.get(name).into_iter().flatten();
        let public_names = module.imports.public.iter();
        for (name, path) in public_names.flat_map(|name| named(name).map(move |path| (name, path)))
        {
            match self.tree.resolve(at, path) {
                Some(Target::Item { module, name: original }) => {
                    self.add((module, original), format!("{public}::{name}"));
                }
                Some(Target::Module(module)) => {
                    self.lines.insert(format!("{public}::{name}: mod"));
                    self.visit(&module, &format!("{public}::{name}"));
                }
                None => {
                    self.lines.insert(format!("{public}::{name}: use {}", path.join("::")));
                }
            }
        }
    }

    /// Adds a public path of an item.
    fn add(&mut self, item: ItemKey, path: String) {
        self.paths.entry(item).or_default().insert(path);
    }

    /// Adds the lines of an item under its shortest path, and a line for each other path.
    ///
    /// Of several shortest paths, the first in the order of the alphabet counts. Blocks with `impl`
    /// are searched in all modules of the crate.
    fn describe(&mut self, (module, name): &ItemKey, paths: &BTreeSet<String>) {
        let Some(path) = paths.iter().min_by_key(|path| path.len()) else { return };
        for other in paths.iter().filter(|other| *other != path) {
            self.lines.insert(format!("{other}: use {path}"));
        }
        let items = self.tree.modules.get(module).into_iter().flat_map(|module| &module.items);
        // A name may stand for several items, such as one for each set of features.
        for item in items.filter(|item| item_name(item).as_ref() == Some(name)) {
            self.lines.extend(render::item(path, item));
        }
        for (at, candidate) in &self.tree.modules {
            for item in &candidate.items {
                if let Item::Impl(block) = item
                    && self.is_for(at, &block.self_ty, module, name)
                {
                    self.lines.extend(render::implementation(path, block));
                }
            }
        }
    }

    /// Returns true if an `impl` in the module `at` is for this item.
    ///
    /// Arguments of the type are ignored: `impl Draw for Shape<u8>` is for `Shape`. An `impl` for a
    /// reference or a tuple is for no item.
    fn is_for(&self, at: &[String], type_of_impl: &Type, module: &[String], name: &str) -> bool {
        let Type::Path(path) = type_of_impl else { return false };
        let path: Vec<_> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.tree.resolve(at, &path)
            == Some(Target::Item { module: module.to_vec(), name: name.to_owned() })
    }
}

/// Returns true for `pub` without a restriction such as `pub(crate)`.
fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// A macro is public if it is exported. Modules and imports are no items here.
fn is_public_item(item: &Item) -> bool {
    match item {
        Item::Const(item) => is_public(&item.vis),
        Item::Enum(item) => is_public(&item.vis),
        Item::Fn(item) => is_public(&item.vis),
        Item::Macro(item) => item.attrs.iter().any(|it| it.path().is_ident("macro_export")),
        Item::Static(item) => is_public(&item.vis),
        Item::Struct(item) => is_public(&item.vis),
        Item::Trait(item) => is_public(&item.vis),
        Item::Type(item) => is_public(&item.vis),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn surface_has_what_users_can_name_and_nothing_else() {
        let folder = TemporaryFolder::create("surface").unwrap();
        let lib = "mod a; pub mod b; pub use self::a::Shape; pub use other::Thing; fn hidden() {}";
        let a = "#[derive(Clone)] #[non_exhaustive] pub struct Shape<T> { pub x: u8, y: T }
            impl<T: Send> Shape<T> { pub fn new(x: &'static str) -> (Self, Vec<u8>) {} fn private() {} }
            impl std::fmt::Debug for Shape<u8> { fn fmt(&self) {} }
            pub struct Secret;";
        let b = "pub use crate::Shape; pub enum Kind { Round, Flat(u8) }
            pub trait Draw: Send { type Out; fn draw(&self) -> Self::Out { todo!() } }";
        for (name, text) in [("lib.rs", lib), ("a.rs", a), ("b.rs", b)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let tree = CrateTree::read(folder.path(), Path::new("lib.rs")).unwrap();
        let found: Vec<_> = lines("x", &tree).into_iter().collect();
        assert_eq!(
            found,
            [
                "x::Shape.x: u8",
                "x::Shape: derive Clone",
                "x::Shape: impl std::fmt::Debug for Shape<u8>",
                "x::Shape: non_exhaustive struct Shape<T>",
                "x::Shape::new: impl<T: Send> Shape<T>: fn new(x: &'static str) -> (Self, Vec<u8>)",
                "x::Thing: use other::Thing",
                "x::b: mod",
                "x::b::Draw: trait Draw: Send",
                "x::b::Draw::Out: type Out",
                "x::b::Draw::draw: provided fn draw(&self) -> Self::Out",
                "x::b::Kind: enum Kind",
                "x::b::Kind::Flat: (u8)",
                "x::b::Kind::Round: variant",
                "x::b::Shape: use x::Shape",
            ]
        );
    }
}
