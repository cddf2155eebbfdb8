//! Parsing of `amqp://` URLs.
//!
//! The syntax is RabbitMQ's, with two extensions: a list of brokers in place of the host, and the
//! parameters of this crate. The engine's own parser is not used, since it ignores unknown
//! parameters and its errors repeat the URL. `docs/broker.md` lists the parameters.

use std::fmt;
use std::path::PathBuf;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use polywire_core::secret::SecretSource;
use polywire_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::batching::call_batching::CallBatching;
use crate::connection::secret_credentials::SecretCredentials;
use crate::consuming::reply_mode::ReplyMode;
use crate::topology::queue_kind::QueueKind;

/// A parsed URL: the engine's part, and the parameters of this crate.
#[derive(Clone, Default)]
pub(crate) struct ParsedUrl {
    /// The engine's URI, with the first broker.
    pub(crate) uri: AMQPUri,
    /// Set if the URL names a user; unset for the default user.
    pub(crate) names_user: bool,
    /// `username` and `password`, which name sources of secrets.
    pub(crate) secrets: SecretCredentials,
    /// The brokers after the first.
    others: Vec<BrokerAddress>,
    /// `cacertfile`
    pub(crate) ca_file: Option<PathBuf>,
    /// `queue_kind`
    pub(crate) queue_kind: Option<QueueKind>,
    /// `reply_mode`
    pub(crate) reply_mode: Option<ReplyMode>,
    /// `batch`
    pub(crate) batching: Option<CallBatching>,
    /// `connection_name`
    pub(crate) connection_name: Option<String>,
    /// `client_name`
    pub(crate) client_name: Option<String>,
    /// `connections`: whether there is one, in place of two.
    pub(crate) one_connection: Option<bool>,
    /// `held_messages`, `held_bytes`
    pub(crate) publish_buffer: BoundsOverride,
    /// `unconfirmed_messages`, `unconfirmed_bytes`
    pub(crate) unconfirmed_max: BoundsOverride,
    /// `certfile`
    pub(crate) certificate_file: Option<PathBuf>,
    /// `keyfile`: a path or a source; without one, the key is in the file of the certificate.
    pub(crate) key: Option<SecretSource>,
}

/// Parts of a [`BufferBounds`](crate::buffer_bounds::BufferBounds) that the URL overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundsOverride {
    /// Number of messages, if the URL sets one.
    pub(crate) messages: Option<usize>,
    /// Number of bytes, if the URL sets one.
    pub(crate) bytes: Option<usize>,
}

/// Host and port of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    /// Host name or IP address, without brackets.
    pub(crate) host: String,
    /// TCP port. The default is 5672, or 5671 with TLS.
    pub(crate) port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl ParsedUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed URL, or a parameter that is unknown or given twice. No
    /// error contains the URL, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Parts { scheme: name, user, brokers, path, query } = Parts::of(text)?;
        let scheme = scheme(name)?;
        let default_port = scheme.default_port();
        let (first, others) = brokers.split_once(',').unwrap_or((brokers, ""));
        // Without the text of the host: with a `/` in a password, it would be a part of that.
        let first = broker(first, default_port).map_err(|_| invalid("malformed host or port"))?;
        let others = match brokers.contains(',') {
            true => others.split(',').map(|other| other_broker(other, default_port)).collect(),
            false => Ok(Vec::new()),
        }?;
        let BrokerAddress { host, port } = first;
        let authority = AMQPAuthority { userinfo: userinfo(user)?, host, port };
        let uri =
            AMQPUri { scheme, authority, vhost: vhost(path)?, query: AMQPQueryString::default() };
        let mut parsed = Self {
            uri,
            names_user: user.is_some_and(|user| !user.is_empty() && !user.starts_with(':')),
            others,
            ..Self::default()
        };
        // Bounded by the number of parameters, since an unknown one is refused at once.
        let mut names = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if names.contains(&name) {
                return Err(invalid("a parameter is given twice").with("option", name));
            }
            parsed.set(&name, &value)?;
            // RabbitMQ allows several mechanisms; the last one counts here.
            if name != "auth_mechanism" {
                names.push(name);
            }
        }
        parsed.check_secrets(user.is_some_and(|user| user.contains(':')))?;
        Ok(parsed)
    }

    /// Returns the default settings for a connection that the program makes. There is no broker.
    pub(crate) fn of_program() -> Self {
        let mut url = Self::default();
        url.uri.authority =
            AMQPAuthority { host: "from_connection".to_owned(), port: 0, ..url.uri.authority };
        url
    }

    /// Returns whether the scheme is `amqps`.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// Returns the host of the first broker.
    pub(crate) fn host(&self) -> &str {
        &self.uri.authority.host
    }

    /// Returns the port of the first broker.
    pub(crate) fn port(&self) -> u16 {
        self.uri.authority.port
    }

    /// Returns all brokers in the order of the URL.
    pub(crate) fn brokers(&self) -> Vec<BrokerAddress> {
        let first = BrokerAddress { host: self.host().to_owned(), port: self.port() };
        std::iter::once(first).chain(self.others.iter().cloned()).collect()
    }

    /// Applies one parameter of the query.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let query = &mut self.uri.query;
        match name {
            "heartbeat" => query.heartbeat = Some(number(name, value)?),
            "connection_timeout" => query.connection_timeout = Some(number(name, value)?),
            "frame_max" => query.frame_max = Some(number(name, value)?),
            "channel_max" => query.channel_max = Some(number(name, value)?),
            "auth_mechanism" => {
                query.auth_mechanism = Some(value.parse().map_err(|_| bad(name, value))?);
            }
            "username" => self.secrets.user = Some(source(name, value)?),
            "password" => self.secrets.password = Some(source(name, value)?),
            "cacertfile" => self.ca_file = Some(PathBuf::from(value)),
            "certfile" => self.certificate_file = Some(PathBuf::from(value)),
            "keyfile" => {
                self.key = Some(value.parse().unwrap_or_else(|_| SecretSource::File(value.into())));
            }
            "queue_kind" => self.queue_kind = Some(value.parse().map_err(|_| bad(name, value))?),
            "reply_mode" => self.reply_mode = Some(value.parse().map_err(|_| bad(name, value))?),
            "batch" => self.batching = Some(value.parse().map_err(|_| bad(name, value))?),
            "connection_name" => self.connection_name = Some(value.to_owned()),
            "client_name" => self.client_name = Some(value.to_owned()),
            "connections" => {
                self.one_connection = Some(match value {
                    "1" => true,
                    "2" => false,
                    _ => return Err(bad(name, value)),
                });
            }
            "held_messages" => self.publish_buffer.messages = Some(number(name, value)?),
            "held_bytes" => self.publish_buffer.bytes = Some(number(name, value)?),
            "unconfirmed_messages" => self.unconfirmed_max.messages = Some(number(name, value)?),
            "unconfirmed_bytes" => self.unconfirmed_max.bytes = Some(number(name, value)?),
            _ => return Err(invalid("unknown parameter").with("option", name)),
        }
        Ok(())
    }
}

impl ParsedUrl {
    /// Refuses a user or a password that the URL states twice.
    fn check_secrets(&self, states_password: bool) -> Result<()> {
        let SecretCredentials { user, password } = &self.secrets;
        for (name, is_twice) in [
            ("username", user.is_some() && self.names_user),
            ("password", password.is_some() && states_password),
        ] {
            if is_twice {
                let error = invalid("a parameter repeats a credential in front of the @");
                return Err(error.with("option", name));
            }
        }
        Ok(())
    }
}

/// The parts of a URL as they are written. A general URL parser would change them: it resolves `..`
/// in a path, drops an empty password, and reads `+` as a space.
struct Parts<'a> {
    scheme: &'a str,
    /// The user and the password, if there is an `@`.
    user: Option<&'a str>,
    /// The list of brokers.
    brokers: &'a str,
    /// The path, with its slash.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self> {
        if text.chars().any(|character| character.is_control() || character == ' ') {
            return Err(invalid("a space or a control character has to be percent-encoded"));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| invalid("no // after the scheme"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if rest.contains('#') {
            return Err(invalid("a # has to be percent-encoded as %23"));
        }
        let (user, brokers) = match authority.rsplit_once('@') {
            Some((user, brokers)) => (Some(user), brokers),
            None => (None, authority),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { scheme, user, brokers, path, query })
    }
}

/// Parses an element of the list of brokers behind the first.
fn other_broker(text: &str, default_port: u16) -> Result<BrokerAddress> {
    if text.is_empty() {
        return Err(malformed_host(text));
    }
    broker(text, default_port)
}

/// Parses one element of the list of brokers: a host, and optionally a port. The default host is
/// `localhost`.
fn broker(text: &str, default_port: u16) -> Result<BrokerAddress> {
    let url = Url::parse(&format!("amqp://{text}"))
        .map_err(|error| malformed_host(text).with_source(error))?;
    if text.contains('@') {
        return Err(malformed_host(text));
    }
    Ok(BrokerAddress { host: host(&url)?, port: url.port().unwrap_or(default_port) })
}

fn malformed_host(text: &str) -> Error {
    invalid("malformed host").with("host", text.escape_debug())
}

/// Returns the scheme, which decides on TLS.
fn scheme(name: &str) -> Result<AMQPScheme> {
    match name.to_ascii_lowercase().as_str() {
        "amqp" => Ok(AMQPScheme::AMQP),
        "amqps" => Ok(AMQPScheme::AMQPS),
        _ => Err(invalid("the scheme is neither amqp nor amqps")),
    }
}

/// Returns the user and the password. The default of both is RabbitMQ's default user, `guest`. A
/// password behind a colon may be empty.
fn userinfo(user: Option<&str>) -> Result<AMQPUserInfo> {
    let user = user.unwrap_or_default();
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, password),
        None => (user, "guest"),
    };
    let username = if user.is_empty() { "guest" } else { user };
    Ok(AMQPUserInfo { username: decoded(username)?, password: decoded(password)? })
}

/// Returns the host, without the brackets of an IPv6 address. The default is `localhost`.
fn host(url: &Url) -> Result<String> {
    match url.host() {
        None => Ok("localhost".to_owned()),
        Some(Host::Domain(name)) => decoded(name),
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
    }
}

/// Returns the virtual host. The default, also for a bare slash, is `/`.
fn vhost(path: &str) -> Result<String> {
    match path {
        "" | "/" => Ok("/".to_owned()),
        path => decoded(path.strip_prefix('/').unwrap_or(path)),
    }
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| invalid("percent-encoded text is not UTF-8"))?.into_owned())
}

/// Parses the source of a secret. The error leaves the value out, which may be the secret itself.
fn source(name: &str, value: &str) -> Result<SecretSource> {
    value.parse().map_err(|_| {
        invalid(
            "a secret is read from file:/path or from env:NAME, and never stated in a parameter",
        )
        .with("option", name)
    })
}

/// Parses the value of a numeric parameter.
fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| bad(name, value))
}

/// Returns the error of a parameter with an invalid value, which the details name.
fn bad(name: &str, value: &str) -> Error {
    invalid("invalid value of a parameter").with("option", name).with("value", value)
}

/// Returns the error of an invalid URL, without the URL itself.
fn invalid(because: &'static str) -> Error {
    Error::new(ErrorKind::Config, "cannot read the AMQP URL").with("because", because)
}

#[cfg(test)]
mod tests;
