//! The banned words, which comments, pages and texts are searched for.

use std::collections::BTreeSet;

/// Words and phrases without a fixed meaning in messaging, in lower case.
///
/// Each form of a verb is an entry of its own: words are compared as they are written.
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

/// Returns the numbers of the lines in which a banned phrase begins, counted from 1.
///
/// Phrases are compared as whole words, in any case of letters. A phrase may go on in the next
/// line, but not after a blank one.
pub(super) fn banned_lines(text: &str) -> BTreeSet<usize> {
    let text = text.to_lowercase();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        found.extend(words(line).map(|word| (number, word)));
        if line.trim().is_empty() {
            found.push((number, ""));
        }
    }
    let begins_phrase = |at: usize| {
        let following: Vec<_> =
            found.iter().skip(at).take(LONGEST).map(|(_, word)| *word).collect();
        BANNED.iter().any(|phrase| following.starts_with(phrase))
    };
    let numbers = found.iter().enumerate();
    numbers.filter(|(at, _)| begins_phrase(*at)).map(|(_, (number, _))| *number).collect()
}

/// Number of words of the longest phrase.
///
/// A unit test compares the number with the list.
const LONGEST: usize = 3;

/// Splits a text at everything but letters, digits and `_`.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_go_on_in_the_next_line_and_not_after_a_blank_one() {
        let text = "Let\ngo of it.\n\nThe work is\n\nover. Told\n";
        assert_eq!(banned_lines(text), BTreeSet::from([1, 6]));
    }

    #[test]
    fn each_banned_phrase_is_found() {
        assert_eq!(BANNED.iter().map(|phrase| phrase.len()).max(), Some(LONGEST));
        for phrase in BANNED {
            assert_eq!(banned_lines(&phrase.join(" ")), BTreeSet::from([1]), "{phrase:?}");
        }
    }
}
