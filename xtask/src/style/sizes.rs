//! Bounds of lines and files.

use super::finding::Check;
use super::markdown::without_blocks;
use crate::source::SourceFile;

/// Characters of a line, with its indentation.
const COLUMNS_MAX: usize = 100;
/// Characters of a line of a page.
const PAGE_COLUMNS_MAX: usize = 120;
/// Lines of a file, with its comments, blank lines and unit tests.
const LINES_MAX: usize = 350;

/// Finds comment lines over 100 columns. Tables and lines without a place to break are exempt.
///
/// Columns are counted as characters. Code is not checked, so a long string may be wider.
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

/// Finds lines of pages over 120 columns. Blocks of code are not read. Tables and lines without a
/// place to break are exempt.
pub(crate) fn wide_pages(pages: &[SourceFile]) -> Check {
    let mut findings = Vec::new();
    for page in pages {
        for (number, line) in (1..).zip(without_blocks(&page.text).lines()) {
            let columns = line.chars().count();
            if columns > PAGE_COLUMNS_MAX && is_breakable(line) {
                findings.push(format!("{}:{number}: {columns} columns", page.path.display()));
            }
        }
    }
    Check::strict("wide pages", "lines of Markdown over 120 columns", findings)
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

/// Returns true for a comment that could be wrapped.
fn is_breakable_comment(line: &str) -> bool {
    let text = line.trim_start().strip_prefix("//");
    text.is_some_and(|text| is_breakable(text.trim_start_matches(['/', '!'])))
}

/// Returns true for a text that could be wrapped: no row of a table, no target of a link, and no
/// single word.
fn is_breakable(text: &str) -> bool {
    let text = text.trim();
    let is_table = text.starts_with('|');
    let target = text.strip_prefix('[').and_then(|text| text.split_once("]: "));
    let is_link = target.is_some_and(|(_, target)| !target.contains(' '));
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
        let address = "a".repeat(100);
        let text = format!(
            "/// {words}\n// | {words} |\n/// [a]: {address}\nlet a = \"{words}\";\n// [a]: {words}\n"
        );
        let check = wide_comments(&file(text));
        assert!(check.to_string().contains(": 2 comment lines"), "{check}");
        for line in [1, 5] {
            assert!(check.to_string().contains(&format!("a.rs:{line}: ")), "{check}");
        }
    }

    #[test]
    fn wide_lines_of_pages_are_found_outside_of_code_and_tables() {
        let words = "words ".repeat(30);
        let text = format!("{words}\n\n| {words} |\n\n```text\n{words}\n```\n\n- {words}\n");
        let check = wide_pages(&file(text)).to_string();
        assert!(check.contains(": 2 lines of Markdown"), "{check}");
        for line in [1, 9] {
            assert!(check.contains(&format!("a.rs:{line}: ")), "{check}");
        }
        assert!(!wide_pages(&file("words ".repeat(20))).has_failed());
    }

    #[test]
    fn long_file_is_found() {
        assert!(!long_files(&file("\n".repeat(350))).has_failed());
        assert!(long_files(&file("\n".repeat(351))).to_string().contains("a.rs: 351 lines"));
    }
}
