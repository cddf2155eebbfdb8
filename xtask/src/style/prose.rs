//! Plain English: no first doc line that opens with a question word, few words of the banned list.

use super::finding::Check;
use crate::source::SourceFile;

/// Fails at 2 % or more of the first doc lines.
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

/// Fails above 0.3 % of the comment lines.
pub(crate) fn banned_words(files: &[SourceFile]) -> Check {
    let (mut total, mut findings) = (0, Vec::new());
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let Some(text) = comment(line, &["///", "//!", "//"]).filter(|text| !text.is_empty())
            else {
                continue;
            };
            total += 1;
            if has_banned(text) {
                findings.push(format!("{}:{number}: {text}", file.path.display()));
            }
        }
    }
    Check::share("banned words", "comment lines have a banned word", findings, total, 3)
}

const OPENERS: [&str; 9] = ["What", "Who", "Whom", "Whose", "Where", "How", "Whether", "Of", "Why"];

/// Words and phrases without a fixed meaning in messaging, in lower case.
const BANNED: [&[&str]; 31] = [
    &["somebody"],
    &["whoever"],
    &["whatever"],
    &["nobody"],
    &["no", "one"],
    &["for", "ever"],
    &["in", "vain"],
    &["would", "else"],
    &["give", "back"],
    &["gives", "back"],
    &["given", "back"],
    &["gave", "back"],
    &["bury"],
    &["buried"],
    &["buries"],
    &["burial"],
    &["tell"],
    &["tells"],
    &["telling"],
    &["told"],
    &["hear"],
    &["hears"],
    &["heard"],
    &["take", "in"],
    &["takes", "in"],
    &["taken", "in"],
    &["let", "go", "of"],
    &["lets", "go", "of"],
    &["story"],
    &["is", "over"],
    &["dealt", "out"],
];

/// Returns the text of a comment, if the line is one of those that begin so.
fn comment<'a>(line: &'a str, marks: &[&str]) -> Option<&'a str> {
    let line = line.trim_start();
    marks.iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

/// Returns true if the text has a banned phrase, as whole words, in any case of letters.
fn has_banned(text: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<_> = words(&text).collect();
    BANNED.iter().any(|phrase| words.windows(phrase.len()).any(|window| window == *phrase))
}

/// Splits a text at everything but letters, digits and `_`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
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
        assert!(check.contains("2 of 3 comment lines"), "{check}");
        let text = "// It is overdue, and the storyline is told_off.\n";
        assert!(!banned_words(&file(text)).has_failed());
    }
}
