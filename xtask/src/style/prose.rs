//! Plain English in comments: no first doc line that opens with a question word, no banned words.
//!
//! Only lines that begin with `//` count as comments: a comment behind code and a block comment are
//! not read.

use super::banned_words::{banned_lines, words};
use super::finding::Check;
use crate::source::SourceFile;

/// Finds first doc lines that open with a question word. Fails above 1.9 % of the first doc lines.
///
/// A first doc line is one whose line before is no doc comment. The words of questions count with a
/// capital alone.
pub(crate) fn openers(files: &[SourceFile]) -> Check {
    let (mut total, mut findings) = (0, Vec::new());
    for file in files {
        let mut before_was_doc = false;
        for (number, line) in (1..).zip(file.text.lines()) {
            let doc = comment(line, &["///", "//!"]);
            if let Some(text) = doc.filter(|text| !before_was_doc && !text.is_empty()) {
                total += 1;
                if OPENERS.contains(&words(text).next().unwrap_or_default()) {
                    findings.push(format!("{}:{number}: {text}", file.path.display()));
                }
            }
            before_was_doc = doc.is_some();
        }
    }
    Check::share("openers", "first doc lines open with a question word", findings, total, 19)
}

/// Finds comment lines with a banned word.
///
/// A phrase that goes on in the next line counts for its first line. A line with several banned
/// words counts once.
pub(crate) fn banned_words(files: &[SourceFile]) -> Check {
    let mut findings = Vec::new();
    for file in files {
        let texts: Vec<_> = file
            .text
            .lines()
            .map(|line| comment(line, &["///", "//!", "//"]).unwrap_or_default())
            .collect();
        for number in banned_lines(&texts.join("\n")) {
            let text = texts.get(number - 1).copied().unwrap_or_default();
            findings.push(format!("{}:{number}: {text}", file.path.display()));
        }
    }
    Check::strict("banned words", "comment lines have a banned word", findings)
}

/// Words that open no first doc line, with their capitals.
const OPENERS: [&str; 9] = ["What", "Who", "Whom", "Whose", "Where", "How", "Whether", "Of", "Why"];

/// Returns the text of a comment, if the line is one of those that begin so.
fn comment<'a>(line: &'a str, marks: &[&str]) -> Option<&'a str> {
    let line = line.trim_start();
    marks.iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(text: &str) -> [SourceFile; 1] {
        [SourceFile { path: PathBuf::from("a.rs"), text: text.to_owned() }]
    }

    #[test]
    fn only_the_first_line_of_a_doc_comment_counts_as_its_opener() {
        let text = "//! What it is.\n//! What else.\n\n/// Whatever.\n/// Why.\nfn f() {}\n";
        let check = openers(&file(text)).to_string();
        assert!(check.contains("1 of 2 first doc lines"), "{check}");
        assert!(check.contains("a.rs:1: What it is."), "{check}");
    }

    #[test]
    fn banned_words_are_whole_words_in_comments() {
        let text =
            "// Nobody hears.\n// A teller takes in-process calls.\nlet told = 1;\n/// Fine.\n";
        let check = banned_words(&file(text)).to_string();
        assert!(check.contains(": 2 comment lines"), "{check}");
        let text = "// It is overdue, and the storyline is told_off.\n";
        assert!(!banned_words(&file(text)).has_failed());
    }

    #[test]
    fn phrase_over_two_lines_counts_for_its_first_line() {
        let check = banned_words(&file("// All is\n// over.\n// It is\nover();\n")).to_string();
        assert!(check.contains(": 1 comment lines"), "{check}");
        assert!(check.contains("a.rs:1: All is"), "{check}");
    }
}
