//! Tests of URLs.

use super::*;

fn parse(text: &str) -> ParsedUrl {
    ParsedUrl::parse(text).unwrap()
}

#[test]
fn all_parts_are_read() {
    let ParsedUrl { uri, ca_file, .. } =
        parse("amqps://us%65r:p%40ss@example.org:1234/my%2fhost?heartbeat=7&cacertfile=/ca.pem");
    assert_eq!(uri.authority.userinfo.username, "user");
    assert_eq!(uri.authority.userinfo.password, "p@ss");
    assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("example.org", 1234));
    assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), ("my/host", Some(7)));
    assert_eq!(ca_file, Some(PathBuf::from("/ca.pem")));
}

#[test]
fn absent_parts_have_the_defaults_of_rabbitmq() {
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
fn parts_are_taken_as_they_are_written() {
    for (path, vhost) in [
        ("/%2e%2e", ".."),
        ("/..", ".."),
        ("/.", "."),
        ("/a/../b", "a/../b"),
        ("/%2f", "/"),
        ("/a%20b+c", "a b+c"),
        ("/größe", "größe"),
    ] {
        assert_eq!(parse(&format!("amqp://host{path}")).uri.vhost, vhost, "{path}");
    }
    for (userinfo, user, password) in [
        ("user:", "user", ""),
        ("user", "user", "guest"),
        (":secret", "guest", "secret"),
        ("us@er:a:b@c%25", "us@er", "a:b@c%"),
    ] {
        let authority = parse(&format!("amqp://{userinfo}@host")).uri.authority;
        let parsed = (&*authority.userinfo.username, &*authority.userinfo.password);
        assert_eq!((parsed, &*authority.host), ((user, password), "host"), "{userinfo}");
    }
    let url = parse("AMQPS://Host?cacertfile=/a+b%20c.pem&heartbeat=7");
    assert_eq!(url.ca_file, Some(PathBuf::from("/a+b c.pem")));
    for text in ["amqp://host/vhost#x", "amqp://host/a\tb", " amqp://host", "amqp://host/a b"] {
        let error = ParsedUrl::parse(text).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
    let error = ParsedUrl::parse("amqp://user:hun/ter2@host").err().unwrap();
    assert!(!format!("{error:?}").contains("hun"), "{error:?}");
}

#[test]
fn unknown_options_are_named() {
    let error = ParsedUrl::parse("amqp://localhost?hartbeat=3").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.detail("option"), Some("hartbeat"));
}

#[test]
fn parameter_that_is_given_twice_is_named() {
    for (query, option) in [
        ("heartbeat=3&frame_max=8192&heartbeat=3", "heartbeat"),
        ("password=env:A&password=env:HUNTER2", "password"),
        ("queue_kind=quorum&queue%5fkind=classic", "queue_kind"),
    ] {
        let error = ParsedUrl::parse(&format!("amqp://localhost?{query}")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{query}");
        assert_eq!(error.detail("option"), Some(option), "{query}");
        assert!(!error.to_string().contains("HUNTER2"), "{error}");
    }
    // RabbitMQ's client lets this one appear more than once.
    let ParsedUrl { uri, .. } =
        parse("amqp://localhost?auth_mechanism=plain&auth_mechanism=external");
    assert_eq!(uri, parse("amqp://localhost?auth_mechanism=external").uri);
}

#[test]
fn sources_of_secrets_are_read() {
    let ParsedUrl { secrets, uri, names_user, .. } =
        parse("amqp://billing@host/v?password=file:/run/a%20b");
    assert_eq!(secrets.password, Some(SecretSource::File(PathBuf::from("/run/a b"))));
    assert_eq!((secrets.user, names_user), (None, true));
    assert_eq!(uri.authority.userinfo.username, "billing");
    let ParsedUrl { secrets, .. } = parse("amqp://host?username=env:USER_NAME&password=env:WORD");
    assert_eq!(secrets.user, Some(SecretSource::Env("USER_NAME".to_owned())));
    assert_eq!(secrets.password, Some(SecretSource::Env("WORD".to_owned())));
    for (text, option) in [
        ("amqp://host?password=hunter2", "password"),
        ("amqp://host?password=file:", "password"),
        ("amqp://host?username=hunter2", "username"),
        ("amqp://user:hunter2@host?password=env:A", "password"),
        ("amqp://user:@host?password=env:A", "password"),
        ("amqp://hunter2@host?username=env:A", "username"),
    ] {
        let error = ParsedUrl::parse(text).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        assert_eq!(error.detail("option"), Some(option), "{text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
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
