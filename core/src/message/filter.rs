//! Topic filters of subscribers.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Address, name_syntax};
use crate::error::{Error, ErrorKind, Result};

/// Pattern of topics: words joined by dots, where `*` matches one word and `#` matches zero or more
/// words.
///
/// A filter matches the same topics on every backend. [`matches`](Self::matches) defines them and
/// follows the topic exchange of AMQP. Only whole words are wildcards: `a*` matches the topic `a*`
/// alone.
///
/// ```
/// use polywire_core::{Address, Filter};
///
/// let topic = Address::new("europe.paris.temperature")?;
/// for filter in ["#", "europe.#", "*.paris.*", "#.temperature", "europe.#.paris.#"] {
///     assert!(Filter::new(filter)?.matches(&topic), "{filter}");
/// }
/// for filter in ["*", "europe", "europe.*", "*.*.*.*", "#.wind"] {
///     assert!(!Filter::new(filter)?.matches(&topic), "{filter}");
/// }
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(ByteString);

impl Filter {
    /// Checks `text` and creates a filter from it. The rules are those of an [`Address`], except
    /// that words may be wildcards.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `text` breaks one of the rules; the error names the rule.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        match name_syntax::invalid(&text) {
            None => Ok(Self(text)),
            Some(cause) => Err(cannot_parse(cause).with("filter", name_syntax::excerpt(&text))),
        }
    }

    /// Returns the filter that matches every topic: `#`.
    #[must_use]
    pub const fn all() -> Self {
        Self(ByteString::from_static("#"))
    }

    /// Returns whether the filter matches `topic`.
    #[must_use]
    pub fn matches(&self, topic: &Address) -> bool {
        let mut words = topic.words();
        let mut filter = self.words();
        // Where to resume if the words after the last `#` do not match: after that `#`, which then
        // consumes one more word.
        let mut retry = None;
        loop {
            match (filter.next(), words.clone().next()) {
                (Some("#"), _) => retry = Some((filter.clone(), words.clone())),
                (None, None) => return true,
                (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {
                    words.next();
                }
                _ => {
                    let Some((after, from)) = &mut retry else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (filter, words) = (after.clone(), from.clone());
                }
            }
        }
    }

    /// Returns the prefix that all matching topics share, for transports that filter by prefix.
    ///
    /// The prefix is the text before the first wildcard, without the dot before a `#`.
    ///
    /// ```
    /// # use polywire_core::Filter;
    /// assert_eq!(Filter::new("europe.paris.*")?.prefix(), "europe.paris.");
    /// assert_eq!(Filter::new("europe.#")?.prefix(), "europe");
    /// assert_eq!(Filter::new("europe.paris")?.prefix(), "europe.paris");
    /// assert_eq!(Filter::all().prefix(), "");
    /// # Ok::<(), polywire_core::Error>(())
    /// ```
    #[must_use]
    pub fn prefix(&self) -> &str {
        let mut end = 0;
        for word in self.words() {
            match word {
                // `#` may match zero words, and then the topic has no dot here.
                "#" => return self.0[..end].trim_end_matches('.'),
                "*" => return &self.0[..end],
                _ => end = (end + word.len() + 1).min(self.0.len()),
            }
        }
        &self.0
    }

    /// Returns the text of the filter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn words(&self) -> std::str::Split<'_, char> {
        self.0.split('.')
    }
}

impl From<Address> for Filter {
    /// Creates the filter that matches this topic alone.
    fn from(topic: Address) -> Self {
        Self(topic.into_text())
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// Copies and checks `text`; see [`Filter::new`].
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Filter {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Filter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&[u8]> for Filter {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        match ByteString::try_from(Bytes::copy_from_slice(bytes)) {
            Ok(text) => Self::new(text),
            Err(_) => Err(cannot_parse("it is not UTF-8")),
        }
    }
}

impl From<&Self> for Filter {
    fn from(filter: &Self) -> Self {
        filter.clone()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn cannot_parse(cause: &str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot parse the filter: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        Filter::new(filter).unwrap().matches(&Address::new(topic).unwrap())
    }

    /// Reference implementation: recursive, word by word.
    fn by_definition(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) => true,
            (["#", rest @ ..], _) => (0..=topic.len()).any(|n| by_definition(rest, &topic[n..])),
            (["*", filter @ ..], [_, topic @ ..]) => by_definition(filter, topic),
            ([wanted, filter @ ..], [word, topic @ ..]) => {
                wanted == word && by_definition(filter, topic)
            }
            _ => false,
        }
    }

    /// Returns all sequences of one to `most` of these words.
    fn sequences(words: &[&'static str], most: u32) -> Vec<Vec<&'static str>> {
        let mut all = Vec::new();
        for length in 1..=most {
            for number in 0..words.len().pow(length) {
                let word = |place| words[number / words.len().pow(place) % words.len()];
                all.push((0..length).map(word).collect());
            }
        }
        all
    }

    #[test]
    fn short_filters_match_as_the_reference_does() {
        let topics = sequences(&["a", "b"], 5);
        for filter in sequences(&["a", "b", "*", "#"], 4) {
            for topic in &topics {
                let expected = by_definition(&filter, topic);
                assert_eq!(
                    matches(&filter.join("."), &topic.join(".")),
                    expected,
                    "{filter:?} {topic:?}"
                );
            }
        }
    }

    #[test]
    fn matching_topics_start_with_the_prefix() {
        let topics = sequences(&["a", "ab"], 4);
        for filter in sequences(&["a", "ab", "*", "#"], 4) {
            let filter = Filter::new(filter.join(".")).unwrap();
            for topic in &topics {
                let topic = Address::new(topic.join(".")).unwrap();
                assert!(
                    !filter.matches(&topic) || topic.as_str().starts_with(filter.prefix()),
                    "{filter} {topic}"
                );
            }
        }
    }

    #[test]
    fn wildcard_within_a_word_is_literal() {
        assert!(matches("a*", "a*"));
        assert!(!matches("a*", "ab"));
    }

    #[test]
    fn errors_of_invalid_filters_name_the_rule() {
        for (text, why) in
            [("", "empty"), ("a..b", "empty"), ("a b", "white space"), (&"x".repeat(201), "longer")]
        {
            for error in [Filter::new(text), text.parse(), Filter::try_from(text)] {
                let error = error.unwrap_err();
                assert!(error.to_string().contains(why), "{text:?}: {error}");
            }
        }
        assert!(Filter::try_from(&b"\xff"[..]).is_err());
    }
}
