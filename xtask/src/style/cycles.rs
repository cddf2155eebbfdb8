//! Import cycles between the files of a crate.
//!
//! An import counts for the file that defines the item, through all re-exports. So a module that
//! only declares and re-exports is never part of a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use quote::ToTokens;
use syn::Item;

use super::finding::Check;
use crate::source::{CrateTree, SourceFile, Target, crate_roots, paths_in};

/// Reads all crates, and lists the cycles in each.
pub(crate) fn check(workspace: &Path, files: &[SourceFile]) -> Result<Check> {
    let mut findings = Vec::new();
    for root in crate_roots(files) {
        let imports = file_imports(&CrateTree::read(workspace, &root)?);
        findings.extend(cycles(&imports).iter().map(|cycle| describe(cycle, &imports)));
    }
    Ok(Check::strict("import cycles", "groups of files that import one another", findings))
}

/// For each file, the files that it imports from, with the names.
///
/// Each file of the crate is a key, also one that imports nothing. No file imports from itself.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// Both `use` items and paths within code count. Modules in one file count as one file, and a file
/// of declarations and re-exports alone imports nothing.
///
/// Imports from other crates do not count, and neither do those of unit tests.
fn file_imports(tree: &CrateTree) -> Imports {
    let mut imports = Imports::new();
    for (path, module) in &tree.modules {
        let from = imports.entry(module.file.clone()).or_default();
        if module.is_face {
            continue;
        }
        let code = module.items.iter().filter(|item| !matches!(item, Item::Mod(_)));
        let mentioned = code.flat_map(|item| paths_in(item.to_token_stream()));
        for mentioned in module.imports.named.values().flatten().cloned().chain(mentioned) {
            let Some(Target::Item { module: owner, name }) = tree.resolve(path, &mentioned) else {
                continue;
            };
            let Some(owner) = tree.modules.get(&owner) else { continue };
            if owner.file != module.file {
                from.entry(owner.file.clone()).or_default().insert(name);
            }
        }
    }
    imports
}

/// Finds the groups of two files or more in which each file reaches each other.
///
/// The groups are the strongly connected components of the graph of imports, in the order of their
/// first files.
///
/// No file is in two groups. The files of a group are sorted by path.
fn cycles(imports: &Imports) -> Vec<Vec<&PathBuf>> {
    let reached: BTreeMap<_, _> =
        imports.keys().map(|file| (file, reachable(file, imports))).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (file, from_here) in &reached {
        if seen.contains(file) || !from_here.contains(*file) {
            continue;
        }
        let group: Vec<_> = from_here
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)))
            .collect();
        seen.extend(group.iter().copied());
        found.push(group);
    }
    found
}

/// Returns all files that a file depends on; itself only if it is part of a cycle.
fn reachable<'a>(file: &'a PathBuf, imports: &'a Imports) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for import in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(import) {
                next.push(import);
            }
        }
    }
    reached
}

/// Returns the number of files, and a line for each import within the group, with the imported
/// names.
fn describe(cycle: &[&PathBuf], imports: &Imports) -> String {
    let mut text = format!("{} files:", cycle.len());
    for file in cycle {
        for (import, names) in imports.get(*file).into_iter().flatten() {
            if cycle.contains(&import) {
                let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                text += &format!("\n      {} <- {}: {names}", file.display(), import.display());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::temporary::TemporaryFolder;

    fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
        let folder = TemporaryFolder::create("cycles").unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tree = CrateTree::read(folder.path(), Path::new("lib.rs")).unwrap();
        let imports = file_imports(&tree);
        cycles(&imports).iter().map(|cycle| describe(cycle, &imports)).collect()
    }

    #[test]
    fn cycle_is_found_through_re_exports_of_the_root() {
        let found = cycles_of(&[
            ("lib.rs", "mod a; mod b; pub use self::a::A; pub use self::b::B;"),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f() { crate::A(B); }"),
        ]);
        assert_eq!(found, ["2 files:\n      a.rs <- b.rs: B\n      b.rs <- a.rs: A"]);
    }

    #[test]
    fn parent_that_only_declares_and_re_exports_is_no_part_of_a_cycle() {
        let found = cycles_of(&[
            ("lib.rs", "mod a; pub use self::a::{One, Two};"),
            ("a.rs", "mod one; mod two; pub use self::one::One; pub use self::two::Two;"),
            ("a/one.rs", "use super::Two; pub struct One(Two);"),
            ("a/two.rs", "pub struct Two;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn parent_with_content_and_its_child_are_a_cycle() {
        let found = cycles_of(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod one; use self::one::One; pub struct A(One); pub fn f() {}"),
            ("a/one.rs", "pub struct One; fn g() { select! { super::f() } }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn unit_tests_may_import_what_they_test() {
        let found = cycles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
