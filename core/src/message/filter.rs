//! Which topics a subscriber wants.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Address;
use crate::message::address::{fault_in_text, shown};

/// A pattern of topics: words joined by dots, where `*` stands for one word and `#` for any number
/// of them, none included.
///
/// It means the same on every backend: the definition is [`matches`](Self::matches), which follows
/// the topic exchange of AMQP. Only whole words are wildcards.
///
/// ```
/// use polywire_core::{Address, Filter};
///
/// let topic = Address::new("europe.paris.temperature")?;
/// for filter in ["#", "europe.#", "*.paris.*", "europe.paris.temperature", "#.temperature", "europe.#.paris.#"] {
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
    /// Checks `text` and makes a filter of it. The bounds are those of an [`Address`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `text` is not a filter, saying what is wrong with it.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        match fault_in_text(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(Error::new(ErrorKind::Config, "not a filter")
                .with("filter", shown(&text))
                .with("because", fault)),
        }
    }

    /// The filter that wants everything: `#`.
    #[must_use]
    pub const fn all() -> Self {
        Self(ByteString::from_static("#"))
    }

    /// Whether a subscriber with this filter wants what is published under `topic`.
    #[must_use]
    pub fn matches(&self, topic: &Address) -> bool {
        let mut words = topic.words();
        let mut filter = self.words();
        // Where to go on if the words after the last `#` do not fit: there, with one more word
        // swallowed by it.
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

    /// What every topic that matches begins with, for carriers that filter by prefix: the text
    /// before the first wildcard, without the dot that stands before a `#`.
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
                // It may match no word at all, and then there is no dot either.
                "#" => return self.0[..end].trim_end_matches('.'),
                "*" => return &self.0[..end],
                _ => end = (end + word.len() + 1).min(self.0.len()),
            }
        }
        &self.0
    }

    /// The text of the filter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn words(&self) -> std::str::Split<'_, char> {
        self.0.split('.')
    }
}

impl From<Address> for Filter {
    /// The filter that matches this topic alone.
    fn from(topic: Address) -> Self {
        Self(topic.into_text())
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
            Err(_) => {
                Err(Error::new(ErrorKind::Config, "not a filter")
                    .with("because", "it is not UTF-8"))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        Filter::new(filter).unwrap().matches(&Address::new(topic).unwrap())
    }

    /// The definition, word by word, without a thought of speed.
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

    /// All sequences of up to `most` of these words.
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
    fn every_short_filter_means_what_it_is_defined_to_mean() {
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
    fn whatever_matches_has_the_prefix() {
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
    fn a_wildcard_within_a_word_is_a_letter() {
        assert!(matches("a*", "a*"));
        assert!(!matches("a*", "ab"));
    }

    #[test]
    fn invalid_filters_say_why() {
        for (text, why) in
            [("", "empty"), ("a..b", "empty"), ("a b", "white space"), (&"x".repeat(201), "longer")]
        {
            let error = Filter::new(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text:?}: {error}");
        }
        assert!(Filter::try_from(&b"\xff"[..]).is_err());
    }
}
