//! The text of an instance, as a header carries it.

use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::instance::{Instance, Parts};
use crate::error::{Error, ErrorKind, Result};

/// Writes the text that the header carries: `key=value`, separated by semicolons, with
/// percent-encoded values.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { name, id, version, component_type, pid, host, user, since_ms, fields } =
            &*self.0;
        write!(f, "n={};i={}", encoded(name), encoded(id))?;
        for (key, value) in [('v', version), ('t', component_type), ('h', host), ('u', user)] {
            if let Some(value) = value {
                write!(f, ";{key}={}", encoded(value))?;
            }
        }
        for (key, value) in [('p', pid.map(u64::from)), ('s', *since_ms)] {
            if let Some(value) = value {
                write!(f, ";{key}={value}")?;
            }
        }
        for (key, value) in fields {
            f.write_char(';')?;
            write!(f, "x.{}={}", encoded(key), encoded(value))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Instance {
    type Err = Error;

    /// Reads the text that [`Display`](fmt::Display) writes. Keys that this version does not know
    /// are skipped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the text has no name or no id, or is longer than
    /// [`TEXT_MAX`](Self::TEXT_MAX).
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > Self::TEXT_MAX {
            return Err(unreadable(Self::TOO_LONG));
        }
        let mut parts = Parts::default();
        for (key, value) in text.split(';').filter_map(|pair| pair.split_once('=')) {
            let value = decoded(value);
            match key {
                "n" => parts.name = value,
                "i" => parts.id = value,
                "v" => parts.version = Some(value),
                "t" => parts.component_type = Some(value),
                "h" => parts.host = Some(value),
                "u" => parts.user = Some(value),
                "p" => parts.pid = value.parse().ok(),
                "s" => parts.since_ms = value.parse().ok(),
                _ => {
                    if let Some(key) = key.strip_prefix("x.") {
                        parts.fields.push((decoded(key), value));
                    }
                }
            }
        }
        Self::valid(parts).map_err(unreadable)
    }
}

fn unreadable(cause: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("cannot read the description of an instance: {cause}"))
}

/// The characters that separate pairs, keys and values, and the escape character itself.
const SEPARATORS: &AsciiSet = &CONTROLS.add(b';').add(b'=').add(b'%');

fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, SEPARATORS)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_whatever_it_holds() {
        let instance = Instance::new("zürich; a=b %").unwrap();
        let instance = instance.with_version("1;2").unwrap().with_type("worker").unwrap();
        let instance = instance.with_field("k=;%", "v\n=;").unwrap().with_field("", "").unwrap();
        let text = instance.to_string();
        assert!(!text.contains(char::is_control), "{text}");
        assert_eq!(text.parse::<Instance>().unwrap(), instance);
        assert!(instance.pid().is_some() && instance.since().is_some());
        assert_ne!(Instance::new("shop").unwrap().id(), Instance::new("shop").unwrap().id());
    }

    #[test]
    fn unknown_keys_are_skipped_and_malformed_numbers_are_absent() {
        let instance: Instance = "n=shop;i=7;z=new;p=seven;;s=;x.a=1".parse().unwrap();
        assert_eq!((instance.name(), instance.id()), ("shop", "7"));
        assert_eq!((instance.pid(), instance.since()), (None, None));
        assert_eq!(instance.fields().collect::<Vec<_>>(), [("a", "1")]);
    }

    #[test]
    fn descriptions_are_bounded() {
        let shop = Instance::new("shop").unwrap();
        let long = shop.with_field("long", "x".repeat(Instance::TEXT_MAX)).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::Config);
        let text = format!("n=shop;i=7;x.a={}", "x".repeat(Instance::TEXT_MAX));
        for text in ["", "n=shop", "i=7", "n=;i=7", &text] {
            let error = text.parse::<Instance>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{text}");
            let is_long = text.len() > Instance::TEXT_MAX;
            assert_eq!(error.to_string().contains(Instance::TOO_LONG), is_long, "{error}");
        }
    }
}
