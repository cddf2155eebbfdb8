//! Comparison of media types.

/// A media type, such as `application/json; charset=utf-8`.
#[derive(Clone, Copy)]
pub(super) struct MediaType<'a>(&'a str);

impl<'a> MediaType<'a> {
    /// Wraps the text of a media type.
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns whether both have the same type and subtype. Case and parameters do not count.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.0 == other.0 || self.name().eq_ignore_ascii_case(other.name())
    }

    /// Returns the charset if it is not UTF-8 or a part of it.
    pub(super) fn foreign_charset(self) -> Option<&'a str> {
        self.parameters()
            .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
            .map(|(_, charset)| charset.trim_matches('"'))
            .find(|charset| !UTF_8.iter().any(|known| charset.eq_ignore_ascii_case(known)))
    }

    /// Returns the type and the subtype.
    fn name(self) -> &'a str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Returns the parameters; a value may be in quotation marks.
    fn parameters(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut is_quoted = false;
        let parts = self.0.split(move |char| {
            is_quoted ^= char == '"';
            char == ';' && !is_quoted
        });
        parts.skip(1).filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim(), value.trim()))
        })
    }
}

/// The names of UTF-8, and of the part of it that ASCII is.
const UTF_8: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_do_not_count() {
        let json = MediaType::new("application/json");
        for same in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            " application/json ; a=\"b;c\" ; Charset = us-ascii",
            "application/json;",
        ] {
            let same = MediaType::new(same);
            assert!(json.is_like(same) && same.is_like(json), "{}", same.0);
            assert_eq!(same.foreign_charset(), None, "{}", same.0);
        }
        for other in ["", ";", "application", "application/jsonl", "text/json", "application/json2"]
        {
            assert!(!json.is_like(MediaType::new(other)), "{other}");
        }
    }

    #[test]
    fn foreign_charset_is_found() {
        for (text, charset) in [
            ("application/json; charset=latin1", "latin1"),
            ("application/json; a=b; CHARSET=\"UTF-16\"", "UTF-16"),
            ("application/json; charset=utf-8; charset=utf-7", "utf-7"),
        ] {
            assert_eq!(MediaType::new(text).foreign_charset(), Some(charset), "{text}");
        }
        let quoted = MediaType::new("application/json; a=\";charset=latin1\"");
        assert_eq!(quoted.foreign_charset(), None);
    }
}
