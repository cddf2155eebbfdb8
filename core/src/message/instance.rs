//! Instances: the descriptions of running components, which messages carry.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;

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
pub struct Instance(pub(super) Arc<Parts>);

/// The fields of an instance.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) version: Option<String>,
    pub(super) component_type: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) host: Option<String>,
    pub(super) user: Option<String>,
    /// Milliseconds since 1970.
    pub(super) since_ms: Option<u64>,
    pub(super) fields: Vec<(String, String)>,
}

impl Instance {
    /// The name of the header that carries a description: `sender-instance`.
    pub const HEADER: &'static str = "sender-instance";
    /// The largest size of the text of a description, in bytes.
    pub const TEXT_MAX: usize = 1024;

    /// Describes this process as a component with this name.
    ///
    /// The description has a new id, the id of the process, the names of the host and of the user
    /// as far as the process can read them, and the present time as its start. If the text would be
    /// too long, it has neither host nor user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `name` is empty, or the text is longer than
    /// [`TEXT_MAX`](Self::TEXT_MAX).
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut parts = Parts {
            name: name.into(),
            id: MessageId::unique().to_string(),
            pid: Some(std::process::id()),
            host: host(),
            user: first_variable(&["USER", "LOGNAME", "USERNAME"]),
            since_ms: u64::try_from(since.as_millis()).ok(),
            ..Parts::default()
        };
        // They are as long as the machine has them.
        if Self(Arc::new(parts.clone())).to_string().len() > Self::TEXT_MAX {
            (parts.host, parts.user) = (None, None);
        }
        Self::checked(parts)
    }

    /// Describes an instance of which no more than the id is known. The id is its name as well.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if no instance can have this id: it is empty, or too long.
    pub(crate) fn of_id(id: String) -> Result<Self> {
        let shortest = Self::checked(Parts { name: "n".to_owned(), id, ..Parts::default() })?;
        let mut parts = Arc::unwrap_or_clone(shortest.0);
        parts.name.clone_from(&parts.id);
        Ok(Self(Arc::new(parts)))
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
        Self::valid(parts).map_err(|cause| {
            Error::new(ErrorKind::Config, format!("cannot describe the instance: {cause}"))
        })
    }

    /// Returns the instance with these fields, or the reason why there can be none.
    pub(super) fn valid(parts: Parts) -> std::result::Result<Self, &'static str> {
        let instance = Self(Arc::new(parts));
        if instance.name().is_empty() {
            Err("the name is empty")
        } else if instance.id().is_empty() {
            Err("the id is empty")
        } else if instance.to_string().len() > Self::TEXT_MAX {
            Err(Self::TOO_LONG)
        } else {
            Ok(instance)
        }
    }

    pub(super) const TOO_LONG: &'static str = "its text is longer than 1024 bytes";

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

/// Writes the fields that are set.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({self})")
    }
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
    fn longest_name_has_room_beside_the_machine() {
        let short = Arc::unwrap_or_clone(Instance::new("n").unwrap().0);
        let rest = Instance::checked(Parts { host: None, user: None, ..short }).unwrap();
        let long = "x".repeat(Instance::TEXT_MAX - rest.to_string().len());
        let instance = Instance::new(long.as_str()).unwrap();
        assert_eq!((instance.name(), instance.host(), instance.user()), (&*long, None, None));
        let error = Instance::new("x".repeat(Instance::TEXT_MAX)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn instance_is_known_by_the_longest_id() {
        let longest = "x".repeat(Instance::TEXT_MAX - "n=n;i=".len());
        let instance = Instance::of_id(longest.clone()).unwrap();
        assert_eq!((instance.name(), instance.id()), (&*longest, &*longest));
        assert_eq!((instance.pid(), instance.host(), instance.since()), (None, None, None));
        for id in [longest + "x", String::new()] {
            assert_eq!(Instance::of_id(id).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
