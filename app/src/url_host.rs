//! The hosts of URLs, for errors and probes.

/// Returns the host and the port of a URL, without the user, the password and everything behind.
///
/// Returns `None` for a URL without a host, and whenever a part of a malformed URL may be a secret:
/// a password is not always percent-encoded as it should be.
pub(crate) fn url_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // An `@` further on may end a password that contains one of these characters.
    if rest[authority.len()..].contains('@') {
        return None;
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let is_port = |port: &str| port.chars().all(|digit| digit.is_ascii_digit());
    let is_host = |host: &str| {
        host.ends_with(']') || host.rsplit_once(':').is_none_or(|(_, port)| is_port(port))
    };
    (!host.is_empty() && host.split(',').all(is_host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_returned_without_credentials() {
        for (url, host) in [
            ("amqp://rabbit", Some("rabbit")),
            ("amqp://user:hunter2@rabbit:5672/shop?heartbeat=5", Some("rabbit:5672")),
            ("amqp://user@a:1,b:2/shop", Some("a:1,b:2")),
            ("amqps://user:hunter@2@rabbit", Some("rabbit")),
            ("zmq+tcp://[::1]:5555?curve_allow=any", Some("[::1]:5555")),
            ("zmq+tcp://[::1]", Some("[::1]")),
            ("mem://shop", Some("shop")),
            ("zmq+ipc:///run/orders", None),
            ("amqp://user:hunter/2@rabbit", None),
            ("amqp://user:hunt@er/2@rabbit", None),
            ("amqp://user:hunter2", None),
            ("hunter2", None),
        ] {
            assert_eq!(url_host(url), host, "{url}");
        }
    }
}
