//! The Rust sources of the workspace, as far as the checks of style and of the public surface read
//! them.
//!
//! Git lists the files, and the declarations of a crate lead to its modules. The code is parsed and
//! not compiled, so macros are not expanded.

mod crates;
mod names;
mod tree;

pub(crate) use self::crates::{SourceFile, crate_roots, source_files};
pub(crate) use self::names::{Target, paths_in};
pub(crate) use self::tree::{CrateTree, item_name};
