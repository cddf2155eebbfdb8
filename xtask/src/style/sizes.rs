//! Bounds of lines and files.

use super::finding::Check;
use crate::source::SourceFile;

/// Characters of a line, with its indentation.
const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 350;

/// Finds comment lines over 100 columns. Tables and lines without a place to break are exempt.
pub(crate) fn wide_comments(files: &[SourceFile]) -> Check {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && is_breakable_comment(line) {
                findings.push(format!("{}:{number}: {columns} columns", file.path.display()));
            }
        }
    }
    Check::strict("wide comments", "comment lines over 100 columns", findings)
}

/// Finds files over 350 lines, the longest first.
pub(crate) fn long_files(files: &[SourceFile]) -> Check {
    let mut long: Vec<_> = files
        .iter()
        .map(|file| (file.text.lines().count(), file.path.display()))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    long.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    let findings = long.into_iter().map(|(lines, path)| format!("{path}: {lines} lines")).collect();
    Check::strict("long files", "files over 350 lines", findings)
}

/// Returns true for a comment that could be wrapped: no row of a table, no target of a link, and no
/// single word.
fn is_breakable_comment(line: &str) -> bool {
    let Some(text) = line.trim_start().strip_prefix("//") else { return false };
    let text = text.trim_start_matches(['/', '!']).trim();
    let is_table = text.starts_with('|');
    let is_link = text.starts_with('[') && text.contains("]: ");
    !is_table && !is_link && text.contains(' ')
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(text: String) -> [SourceFile; 1] {
        [SourceFile { path: PathBuf::from("a.rs"), text }]
    }

    #[test]
    fn wide_comments_are_found_and_tables_are_exempt() {
        let words = "words ".repeat(20);
        let text = format!("/// {words}\n// | {words} |\n/// [a]: {words}\nlet a = \"{words}\";\n");
        let check = wide_comments(&file(text));
        assert!(check.has_failed());
        assert!(check.to_string().contains("1 comment lines"), "{check}");
    }

    #[test]
    fn long_file_is_found() {
        assert!(!long_files(&file("\n".repeat(350))).has_failed());
        assert!(long_files(&file("\n".repeat(351))).to_string().contains("a.rs: 351 lines"));
    }
}
