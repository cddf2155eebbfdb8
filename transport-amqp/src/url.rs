//! Parsing of `amqp://` URLs.
//!
//! The syntax is RabbitMQ's, with two extensions: a list of brokers in place of the host, and the
//! parameters of this crate. The engine's own parser is not used, since it ignores unknown
//! parameters and its errors repeat the URL. `docs/broker.md` lists the parameters.

use std::path::PathBuf;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use polywire_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::consuming::reply_mode::ReplyMode;
use crate::topology::queue_kind::QueueKind;

/// A parsed URL: the engine's part, and the parameters of this crate.
#[derive(Clone)]
pub(crate) struct ParsedUrl {
    /// The engine's URI, with the first broker.
    pub(crate) uri: AMQPUri,
    /// Set if the URL names a user; unset for the default user.
    pub(crate) names_user: bool,
    /// The brokers after the first.
    others: Vec<BrokerAddress>,
    /// `cacertfile`
    pub(crate) ca_file: Option<PathBuf>,
    /// `queue_kind`
    pub(crate) queue_kind: Option<QueueKind>,
    /// `reply_mode`
    pub(crate) reply_mode: Option<ReplyMode>,
    /// `held_messages`, `held_bytes`
    pub(crate) publish_buffer: BoundsOverride,
    /// `unconfirmed_messages`, `unconfirmed_bytes`
    pub(crate) unconfirmed_max: BoundsOverride,
    /// `certfile`
    pub(crate) certificate_file: Option<PathBuf>,
    /// `keyfile`; without one, the key is in the file of the certificate.
    pub(crate) key_file: Option<PathBuf>,
}

/// Parts of a [`Bounds`](crate::buffer_bounds::Bounds) that the URL overrides.
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

impl ParsedUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed URL or an unknown parameter. No error contains the
    /// URL, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (text, others) = split_brokers(text);
        let url = Url::parse(&text).map_err(|error| invalid("malformed").with_source(error))?;
        if url.cannot_be_a_base() {
            return Err(invalid("no // after the scheme"));
        }
        let scheme = scheme(&url)?;
        let default_port = scheme.default_port();
        let port = url.port().unwrap_or(default_port);
        let authority = AMQPAuthority { userinfo: user(&url)?, host: host(&url)?, port };
        let uri =
            AMQPUri { scheme, authority, vhost: vhost(&url)?, query: AMQPQueryString::default() };
        let others =
            others.iter().map(|other| broker(other, default_port)).collect::<Result<_>>()?;
        let mut parsed = Self {
            uri,
            names_user: !url.username().is_empty(),
            others,
            ca_file: None,
            queue_kind: None,
            reply_mode: None,
            publish_buffer: BoundsOverride::default(),
            unconfirmed_max: BoundsOverride::default(),
            certificate_file: None,
            key_file: None,
        };
        for (name, value) in url.query_pairs() {
            parsed.set(&name, &value)?;
        }
        Ok(parsed)
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
            "cacertfile" => self.ca_file = Some(PathBuf::from(value)),
            "certfile" => self.certificate_file = Some(PathBuf::from(value)),
            "keyfile" => self.key_file = Some(PathBuf::from(value)),
            "queue_kind" => self.queue_kind = Some(value.parse().map_err(|_| bad(name, value))?),
            "reply_mode" => self.reply_mode = Some(value.parse().map_err(|_| bad(name, value))?),
            "held_messages" => self.publish_buffer.messages = Some(number(name, value)?),
            "held_bytes" => self.publish_buffer.bytes = Some(number(name, value)?),
            "unconfirmed_messages" => self.unconfirmed_max.messages = Some(number(name, value)?),
            "unconfirmed_bytes" => self.unconfirmed_max.bytes = Some(number(name, value)?),
            _ => return Err(invalid("unknown parameter").with("option", name)),
        }
        Ok(())
    }
}

/// Splits off all brokers but the first, since the URL syntax has no list of hosts.
fn split_brokers(text: &str) -> (String, Vec<&str>) {
    let start = text.find("://").map_or(text.len(), |at| at + 3);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let start = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let mut brokers = text[start..end].split(',');
    let first = brokers.next().unwrap_or_default();
    (format!("{}{first}{}", &text[..start], &text[end..]), brokers.collect())
}

/// Parses one element of the list of brokers: a host, and optionally a port.
fn broker(text: &str, default_port: u16) -> Result<BrokerAddress> {
    let malformed = || invalid("malformed host").with("host", text.escape_debug());
    let url =
        Url::parse(&format!("amqp://{text}")).map_err(|error| malformed().with_source(error))?;
    if text.is_empty() || text.contains('@') {
        return Err(malformed());
    }
    Ok(BrokerAddress { host: host(&url)?, port: url.port().unwrap_or(default_port) })
}

/// Returns the scheme, which decides on TLS.
fn scheme(url: &Url) -> Result<AMQPScheme> {
    match url.scheme() {
        "amqp" => Ok(AMQPScheme::AMQP),
        "amqps" => Ok(AMQPScheme::AMQPS),
        other => Err(invalid("the scheme is neither amqp nor amqps").with("scheme", other)),
    }
}

/// Returns the user and the password. The default is RabbitMQ's default user, `guest`.
fn user(url: &Url) -> Result<AMQPUserInfo> {
    let username = if url.username().is_empty() { "guest" } else { url.username() };
    let (username, password) = (decoded(username)?, decoded(url.password().unwrap_or("guest"))?);
    Ok(AMQPUserInfo { username, password })
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
fn vhost(url: &Url) -> Result<String> {
    match url.path() {
        "" | "/" => Ok("/".to_owned()),
        path => decoded(path.strip_prefix('/').unwrap_or(path)),
    }
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| invalid("percent-encoded text is not UTF-8"))?.into_owned())
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
    Error::new(ErrorKind::Config, "invalid AMQP URL").with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ParsedUrl {
        ParsedUrl::parse(text).unwrap()
    }

    #[test]
    fn all_parts_are_read() {
        let ParsedUrl { uri, ca_file, .. } = parse(
            "amqps://us%65r:p%40ss@example.org:1234/my%2fhost?heartbeat=7&cacertfile=/ca.pem",
        );
        assert_eq!(uri.authority.userinfo.username, "user");
        assert_eq!(uri.authority.userinfo.password, "p@ss");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("example.org", 1234));
        assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), ("my/host", Some(7)));
        assert_eq!(ca_file, Some(PathBuf::from("/ca.pem")));
    }

    #[test]
    fn what_is_left_out_has_rabbitmqs_defaults() {
        let ParsedUrl { uri, .. } = parse("amqp://localhost");
        assert_eq!(uri, AMQPUri::default());
        assert_eq!(parse("amqp://localhost/").uri, uri);
        assert_eq!(parse("amqps://localhost").port(), 5671);
    }

    #[test]
    fn addresses_are_kept() {
        assert_eq!(parse("amqp://[::1]:5673/v").host(), "::1");
        assert_eq!(parse("amqp://[::1]:5673/v").port(), 5673);
        assert_eq!(parse("amqp://127.0.0.1").host(), "127.0.0.1");
    }

    #[test]
    fn brokers_of_a_cluster_are_listed() {
        let url = parse("amqps://user:p%2css@a:1,[::1]:2,c/vhost?heartbeat=3");
        let brokers: Vec<_> =
            url.brokers().into_iter().map(|BrokerAddress { host, port }| (host, port)).collect();
        assert_eq!(brokers, [("a".to_owned(), 1), ("::1".to_owned(), 2), ("c".to_owned(), 5671)]);
        assert_eq!(
            (url.uri.vhost.as_str(), url.uri.authority.userinfo.password.as_str()),
            ("vhost", "p,ss")
        );
        for text in
            ["amqp://user:hunter2@a,", "amqp://user:hunter2@a,b:port", "amqp://user:hunter2@a,,b"]
        {
            let error = ParsedUrl::parse(text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn unknown_options_are_named() {
        let error = ParsedUrl::parse("amqp://localhost?hartbeat=3").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.detail("option"), Some("hartbeat"));
    }

    #[test]
    fn no_error_repeats_the_password() {
        for text in [
            "amqp://user:hunter2@localhost:port",
            "amqp://user:hunter2@localhost?hartbeat=3",
            "amqp:user:hunter2",
            "http://user:hunter2@localhost",
            "amqp://user:hunter2%ff@localhost",
            "user:hunter2@localhost",
        ] {
            let error = ParsedUrl::parse(text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
