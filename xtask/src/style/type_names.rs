//! Names of types in the published crates, which are read side by side: a name has one meaning.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use syn::{Item, Visibility};

use super::finding::Check;
use crate::public_api::CRATES;
use crate::source::CrateTree;

/// Names that several types have, each with the reason.
const EXCEPTIONS: [(&str, &str); 3] = [
    ("DecodeFailure", "each transport decodes a wire of its own"),
    ("Router", "the router of methods, and the ROUTER socket of ZeroMQ"),
    ("Settings", "the settings of an app are public, and those of ZeroMQ are within its crate"),
];

/// Reads the published crates, and finds names that several of their types have. An exception that
/// is not needed is a finding as well.
///
/// Types are structs, enums, traits, unions and aliases that their whole crate sees.
pub(crate) fn check(workspace: &Path) -> Result<Check> {
    let mut types = Types::new();
    for (_, root) in CRATES {
        for module in CrateTree::read(workspace, Path::new(root))?.modules.values() {
            for name in module.items.iter().filter_map(type_name) {
                types.entry(name).or_default().push(module.file.display().to_string());
            }
        }
    }
    let findings = shared_names(&types, &EXCEPTIONS);
    Ok(Check::strict("type names", "names of several types in the published crates", findings))
}

/// The files that define a type of each name.
type Types = BTreeMap<String, Vec<String>>;

/// Returns the names that several files define and that are no exceptions. An exception with fewer
/// than two files is returned as well.
fn shared_names(types: &Types, exceptions: &[(&str, &str)]) -> Vec<String> {
    let is_excepted = |name: &str| exceptions.iter().any(|(excepted, _)| *excepted == name);
    let mut findings = Vec::new();
    for (name, files) in types {
        if files.len() > 1 && !is_excepted(name) {
            findings.push(format!("{name}: {}", files.join(", ")));
        }
    }
    for (name, _) in exceptions {
        if types.get(*name).is_none_or(|files| files.len() < 2) {
            findings.push(format!("{name}: no exception is needed"));
        }
    }
    findings
}

/// Returns the name of a type, unless only a part of its crate sees the type.
fn type_name(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        Item::Union(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    let is_seen = match visibility {
        Visibility::Public(_) => true,
        Visibility::Restricted(restricted) => restricted.path.is_ident("crate"),
        Visibility::Inherited => false,
    };
    is_seen.then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_a_part_of_a_crate_sees_have_any_name() {
        let name = |text: &str| type_name(&syn::parse_str(text).unwrap());
        for text in ["pub enum A {}", "pub(crate) struct A;", "pub trait A {}", "pub type A = u8;"]
        {
            assert_eq!(name(text).as_deref(), Some("A"), "{text}");
        }
        for text in ["struct A;", "pub(super) struct A;", "pub(in crate::b) trait A {}"] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name("pub fn a() {}"), None);
    }

    #[test]
    fn second_type_of_a_name_is_found_unless_it_is_an_exception() {
        let files = |files: &[&str]| files.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        let types = Types::from([
            ("Role".to_owned(), files(&["a.rs", "b.rs"])),
            ("Failure".to_owned(), files(&["a.rs", "b.rs"])),
            ("Window".to_owned(), files(&["a.rs"])),
        ]);
        let exceptions = [("Failure", "a reason"), ("Window", "a reason")];
        let found = shared_names(&types, &exceptions);
        assert_eq!(found, ["Role: a.rs, b.rs", "Window: no exception is needed"]);
    }
}
