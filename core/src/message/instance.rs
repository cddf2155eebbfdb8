//! Instances: the descriptions of running components, which messages carry.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{Headers, MessageId};
use crate::error::{Error, ErrorKind, Result};

/// Description of a running component: its name and version, its process, and free fields.
///
/// A transport that is wrapped in [`Identified`](crate::transport::Identified) sends the
/// description along with each message, and a handler reads it by
/// [`Context::sender`](crate::Context::sender). It is a claim of the sender. The verified
/// identity of a peer is an [`Identity`](crate::Identity).
///
/// The text of a description has at most [`TEXT_MAX`](Self::TEXT_MAX) bytes. Clones share it.
///
/// ```
/// use polywire_core::Instance;
///
/// let shop = Instance::new("shop")?.with_version("1.4.0")?.with_field("zone", "eu-1")?;
/// let received: Instance = shop.to_string().parse()?;
/// assert_eq!(received, shop);
/// assert_eq!((received.name(), received.field("zone")), ("shop", Some("eu-1")));
/// assert_eq!(received.pid(), Some(std::process::id()));
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Instance(Arc<Parts>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Parts {
    name: String,
    id: String,
    version: Option<String>,
    component_type: Option<String>,
    pid: Option<u32>,
    host: Option<String>,
    user: Option<String>,
    /// Milliseconds since 1970.
    since_ms: Option<u64>,
    fields: Vec<(String, String)>,
}

impl Instance {
    /// The name of the header that carries a description: `sender-instance`.
    pub const HEADER: &'static str = "sender-instance";
    /// The largest size of the text of a description, in bytes.
    pub const TEXT_MAX: usize = 1024;

    /// Describes this process as a component with this name.
    ///
    /// The description has a new id, the id of the process, the names of the host and of the user
    /// as far as the process can read them, and the present time as its start.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `name` is empty, or the text is longer than
    /// [`TEXT_MAX`](Self::TEXT_MAX).
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let parts = Parts {
            name: name.into(),
            id: MessageId::unique().to_string(),
            pid: Some(std::process::id()),
            host: host(),
            user: first_variable(&["USER", "LOGNAME", "USERNAME"]),
            since_ms: u64::try_from(since.as_millis()).ok(),
            ..Parts::default()
        };
        Self::checked(parts)
    }

    /// Sets the version of the component.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), as for each setter.
    pub fn with_version(self, version: impl Into<String>) -> Result<Self> {
        self.with(|parts| parts.version = Some(version.into()))
    }

    /// Sets the type of the component, such as `worker`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_type(self, component_type: impl Into<String>) -> Result<Self> {
        self.with(|parts| parts.component_type = Some(component_type.into()))
    }

    /// Sets the id of the instance, which must differ from those of all other instances. The
    /// default is a new id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `id` is empty; otherwise as [`new`](Self::new).
    pub fn with_id(self, id: impl Into<String>) -> Result<Self> {
        self.with(|parts| parts.id = id.into())
    }

    /// Sets the name of the host. The default is the one that the operating system has.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_host(self, host: impl Into<String>) -> Result<Self> {
        self.with(|parts| parts.host = Some(host.into()))
    }

    /// Sets the name of the user. The default is that of the environment.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_user(self, user: impl Into<String>) -> Result<Self> {
        self.with(|parts| parts.user = Some(user.into()))
    }

    /// Sets a free field, and replaces its earlier value.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_field(self, key: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (key, value) = (key.into(), value.into());
        self.with(|parts| match parts.fields.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => parts.fields.push((key, value)),
        })
    }

    fn with(mut self, set: impl FnOnce(&mut Parts)) -> Result<Self> {
        set(Arc::make_mut(&mut self.0));
        Self::checked(Arc::unwrap_or_clone(self.0))
    }

    fn checked(parts: Parts) -> Result<Self> {
        let instance = Self(Arc::new(parts));
        let cause = if instance.name().is_empty() {
            "the name is empty"
        } else if instance.id().is_empty() {
            "the id is empty"
        } else if instance.to_string().len() > Self::TEXT_MAX {
            "its text is longer than 1024 bytes"
        } else {
            return Ok(instance);
        };
        Err(Error::new(ErrorKind::Config, format!("cannot describe the instance: {cause}")))
    }

    /// Reads the description of the sender from the headers of a message; `None` if the headers
    /// have none, or one that cannot be read.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        headers.get(Self::HEADER)?.parse().ok()
    }

    /// Returns the name of the component.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the id of the instance.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the version of the component.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// Returns the type of the component.
    #[must_use]
    pub fn component_type(&self) -> Option<&str> {
        self.0.component_type.as_deref()
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// Returns the name of the host.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// Returns the start of the instance, by the clock of its machine, in full milliseconds.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0.since_ms?))
    }

    /// Returns the value of a free field.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Iterates over the free fields, in the order in which they were first set.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the text of the description as the value of a header.
    pub(crate) fn to_header(&self) -> ByteString {
        ByteString::from(self.to_string())
    }
}

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
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > Self::TEXT_MAX {
            return Self::checked(Parts::default());
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
        Self::checked(parts)
    }
}

/// Writes the fields that are set.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({self})")
    }
}

/// The characters that separate pairs, keys and values, and the escape character itself.
const SEPARATORS: &AsciiSet = &CONTROLS.add(b';').add(b'=').add(b'%');

fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, SEPARATORS)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the name of the host, if the operating system or the environment has it.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| first_variable(&["HOSTNAME", "COMPUTERNAME"]))
}

fn first_variable(names: &[&str]) -> Option<String> {
    let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
    values.find(|value| !value.is_empty())
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
            assert!(text.parse::<Instance>().is_err(), "{text}");
        }
    }
}
