//! Manifests whose dependencies and lints are sorted.

use super::finding::Check;
use crate::source::SourceFile;

/// Finds tables of dependencies and lints whose keys are not sorted.
pub(crate) fn check(manifests: &[SourceFile]) -> Check {
    let mut findings = Vec::new();
    for SourceFile { path, text } in manifests {
        let path = path.display();
        findings.extend(unsorted(text).into_iter().map(|finding| format!("{path}: {finding}")));
    }
    Check::strict("manifests", "keys out of order", findings)
}

/// Within a table, a blank line begins a new group: the crates of the workspace come first.
///
/// Returns a line for each key that comes after a larger one. Tables of dependencies and of the
/// workspace's lints count.
///
/// Keys are compared by bytes, up to the first dot, space or equals sign. Comments and the further
/// lines of a value are skipped, and begin no group.
fn unsorted(manifest: &str) -> Vec<String> {
    let (mut table, mut last) = (String::new(), String::new());
    let mut findings = Vec::new();
    for line in manifest.lines().map(str::trim_end) {
        if line.starts_with('[') {
            (table, last) = (line.trim_matches(['[', ']']).to_owned(), String::new());
        } else if line.is_empty() {
            last.clear();
        }
        let is_sorted_table =
            table.ends_with("dependencies") || table.starts_with("workspace.lints");
        let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if !is_sorted_table || key.is_empty() || line.starts_with(['[', '#', ' ', '}', ']']) {
            continue;
        }
        if *key < *last {
            findings.push(format!("[{table}] {key} comes after {last}"));
        }
        key.clone_into(&mut last);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_out_of_order_are_found_within_their_group() {
        let manifest = "[package]\nversion = 1\nname = 2\n\n[dependencies]\nb = 1\na.workspace = true\n\na2 = 3\n";
        assert_eq!(unsorted(manifest), ["[dependencies] a comes after b"]);
    }
}
