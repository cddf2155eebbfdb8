//! Plain English in Markdown pages: no banned words outside of code.

use super::banned_words::banned_lines;
use super::finding::Check;
use crate::source::SourceFile;

/// Finds lines of pages with a banned word. Blocks of code and code within a line are not read.
///
/// A line with several banned words counts once.
pub(crate) fn check(pages: &[SourceFile]) -> Check {
    let mut findings = Vec::new();
    for SourceFile { path, text } in pages {
        for number in banned_lines(&without_code(text)) {
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            findings.push(format!("{}:{number}: {line}", path.display()));
        }
    }
    Check::strict("banned words in pages", "lines of Markdown have a banned word", findings)
}

/// Returns the page without its code. Each line keeps its number.
fn without_code(page: &str) -> String {
    let prose = without_blocks(page);
    // Code within a line may go on in the next line of a paragraph.
    prose.split("\n\n").map(without_inline_code).collect::<Vec<_>>().join("\n\n")
}

/// Returns the page without its blocks of code. Each line keeps its number.
///
/// Code that is only indented stays.
pub(super) fn without_blocks(page: &str) -> String {
    let mut open: Option<&str> = None;
    let mut prose = String::new();
    for line in page.lines() {
        match (open, fence(line)) {
            (None, None) => prose += line,
            (None, marks) => open = marks,
            (Some(begun), Some(marks)) if marks.starts_with(begun) && line.trim() == marks => {
                open = None;
            }
            (Some(_), _) => {}
        }
        prose.push('\n');
    }
    prose
}

/// Returns the marks of a line that begins or ends a block of code, such as "~~~".
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let marks = line.strip_suffix(rest)?;
    (marks.len() >= 3 && !rest.contains('`')).then_some(marks)
}

/// Returns the text with a `_` for each code between backticks, which parts the words beside it.
///
/// A backtick without a second one begins no code.
pub(super) fn without_inline_code(text: &str) -> String {
    let parts: Vec<_> = text.split('`').collect();
    let backticks = parts.len() - 1;
    let paired = backticks - backticks % 2;
    let without_code = |(number, part): (usize, &&str)| match number % 2 == 1 && number < paired {
        true => format!("_{}", "\n".repeat(part.matches('\n').count())),
        false => (*part).to_owned(),
    };
    parts.iter().enumerate().map(without_code).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn findings(text: &str) -> String {
        let page = SourceFile { path: PathBuf::from("a.md"), text: text.to_owned() };
        check(&[page]).to_string()
    }

    #[test]
    fn banned_words_are_found_in_text_and_tables() {
        let found = findings("# Peers\n\nA peer tells\nits bound.\n\n| is told | yes |\n");
        assert!(found.contains("2 lines of Markdown"), "{found}");
        assert!(found.contains("a.md:3: A peer tells"), "{found}");
        assert!(found.contains("a.md:6: | is told | yes |"), "{found}");
    }

    #[test]
    fn code_is_not_read() {
        let found = findings(
            "````text\ntold\n```\ntold\n````\n\n`told`, and `it\nis told` give `it` back.\n~~~\ntold\n",
        );
        assert!(found.contains(": 0 lines of Markdown"), "{found}");
    }

    #[test]
    fn text_after_code_is_read() {
        let found = findings("```text\ntold\n```\nfirst told\n`told` second told\na ` told\n");
        assert!(found.contains("3 lines of Markdown"), "{found}");
        for line in [4, 5, 6] {
            assert!(found.contains(&format!("a.md:{line}: ")), "{found}");
        }
    }
}
