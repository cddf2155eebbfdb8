//! The security options of a URL. They name files and environment variables, so that a logged URL
//! reveals no secret.

use polywire_core::Result;
use polywire_core::secret::SecretSource;

use crate::common_errors::config;
use crate::config::ZmqBuilder;
use crate::security::plain;
use crate::url::curve_options;
use crate::url::numbered_lines::numbered_lines;

/// The security options of a URL, by name, in the order of the URL. They are applied at the end,
/// since an option may come before the one that it belongs to.
#[derive(Default)]
pub(super) struct SecurityOptions<'a>(Vec<(&'a str, &'a str)>);

impl<'a> SecurityOptions<'a> {
    /// Records an option, `name=value`. Returns `false` if it is no security option, or has no
    /// value.
    pub(super) fn note(&mut self, option: &'a str) -> bool {
        let named = option.split_once('=').filter(|(name, _)| NAMES.contains(name));
        self.0.extend(named);
        named.is_some()
    }

    /// Applies the recorded options to a builder. Reads the files and environment variables that
    /// the options name, and blocks the thread meanwhile.
    ///
    /// Exactly one of the options that choose a mechanism must be given, unless there is no
    /// security option at all. An option of another mechanism is refused.
    ///
    /// # Errors
    ///
    /// `Config` if options are missing or exclude each other, with their names, or a secret cannot
    /// be read.
    pub(super) fn apply(&self, builder: ZmqBuilder) -> Result<ZmqBuilder> {
        if self.0.is_empty() {
            return Ok(builder);
        }
        let chosen = MECHANISMS
            .into_iter()
            .find_map(|(lead, companion)| Some((lead, companion, self.get(lead)?)));
        let Some((lead, companion, source)) = chosen else {
            let error = config("cannot configure security: set exactly one of these options");
            return Err(error.with("options", MECHANISMS.map(|(lead, _)| lead).join(", ")));
        };
        let mut names = self.0.iter().map(|(name, _)| *name);
        if let Some(other) = names.find(|name| *name != lead && Some(*name) != companion) {
            let error = config("cannot configure security: these options exclude each other");
            return Err(error.with("options", format!("{lead}, {other}")));
        }
        match lead {
            CURVE_SERVER_KEY => curve_options::server(builder, source, self.get(CURVE_ALLOW)),
            CURVE_SERVER_PUBLIC => curve_options::client(builder, source, self.get(CURVE_KEY)),
            PLAIN_USERS => {
                Ok(builder.plain_server(users(source.parse::<SecretSource>()?.read()?.reveal())?))
            }
            _ => {
                let password = self.get(PLAIN_PASSWORD).ok_or_else(|| {
                    config("cannot configure security: plain_user needs plain_password")
                })?;
                let password = password.parse::<SecretSource>()?.read()?;
                Ok(builder.plain_client(plain::PlainClient::new(source, password.reveal())))
            }
        }
    }

    /// Returns the value of an option, which is given once at most.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }
}

/// Parses users, one a line: a name, a space and a password. The password may contain spaces, but
/// not end with one.
fn users(text: &str) -> Result<plain::PlainServer> {
    let users: Result<Vec<_>> = numbered_lines(text)
        .map(|(at, line)| {
            line.split_once(' ').ok_or_else(|| {
                config("cannot parse the users: a line is a name, a space and a password")
                    .with("line", at)
            })
        })
        .collect();
    Ok(plain::PlainServer::new(users?))
}

/// The source of the secret key of a CURVE server.
const CURVE_SERVER_KEY: &str = "curve_server_key";
/// The source of the public keys that a CURVE server allows, or `any`. Required for a server.
const CURVE_ALLOW: &str = "curve_allow";
/// The source of the public key of the server, for a CURVE client.
const CURVE_SERVER_PUBLIC: &str = "curve_server_public";
/// The source of the secret key of a CURVE client. Optional.
const CURVE_KEY: &str = "curve_key";
/// The source of the users of a PLAIN server.
const PLAIN_USERS: &str = "plain_users";
/// The name of a PLAIN client, which is not secret and stands in the URL.
const PLAIN_USER: &str = "plain_user";
/// The source of the password of a PLAIN client. Required for a client.
const PLAIN_PASSWORD: &str = "plain_password";
/// The options that choose a mechanism, each with the other option that belongs to the mechanism.
const MECHANISMS: [(&str, Option<&str>); 4] = [
    (CURVE_SERVER_KEY, Some(CURVE_ALLOW)),
    (CURVE_SERVER_PUBLIC, Some(CURVE_KEY)),
    (PLAIN_USERS, None),
    (PLAIN_USER, Some(PLAIN_PASSWORD)),
];
/// All security options, which go to [`SecurityOptions`].
const NAMES: [&str; 7] = [
    CURVE_SERVER_KEY,
    CURVE_ALLOW,
    CURVE_SERVER_PUBLIC,
    CURVE_KEY,
    PLAIN_USERS,
    PLAIN_USER,
    PLAIN_PASSWORD,
];

#[cfg(all(test, feature = "curve"))]
mod tests {
    use polywire_core::ErrorKind;

    use crate::security::curve::KeyPair;
    use crate::url::parse;

    #[test]
    fn keys_are_read_from_files() {
        let directory =
            std::env::temp_dir().join(format!("polywire-zmq-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let pair = KeyPair::generate();
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let secret = write("secret", format!("{}\n", pair.secret().to_z85()));
        let allowed = write("allowed", format!("# clients\n{}\n\n", pair.public()));
        let public = write("public", pair.public().to_string());
        let bent = write("bent", format!("{}\nnonsense\n", pair.public()));
        let users = write("users", "alice secret\n# bob\n".to_owned());
        for options in [
            format!("curve_server_key=file:{secret}&curve_allow=file:{allowed}"),
            format!("curve_server_key=file:{secret}&curve_allow=any"),
            format!("curve_server_public=file:{public}"),
            format!("curve_server_public=file:{public}&curve_key=file:{secret}"),
            format!("plain_users=file:{users}"),
            format!("plain_user=alice&plain_password=file:{users}"),
        ] {
            let url = format!("zmq+tcp://a:1?{options}");
            assert!(parse(&url).is_ok(), "{options}: {:?}", parse(&url).err());
        }
        for (options, why) in [
            (format!("curve_server_key=file:{secret}"), "curve_allow"),
            (format!("curve_server_key=file:{secret}&curve_allow=file:{bent}"), "line: 2"),
            ("curve_allow=any".to_owned(), "exactly one of these"),
            (
                "curve_server_key=file:/nonexistent/key&curve_allow=any".to_owned(),
                "/nonexistent/key",
            ),
            (
                "curve_server_key=env:POLYWIRE_NO_SUCH&curve_allow=any".to_owned(),
                "POLYWIRE_NO_SUCH",
            ),
            ("plain_user=alice".to_owned(), "plain_password"),
        ] {
            let error = parse(&format!("zmq+tcp://a:1?{options}")).unwrap_err();
            assert!(error.to_string().contains(why), "{options}: {error}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn options_of_two_mechanisms_are_refused_by_their_names() {
        for (options, names) in [
            ("curve_server_key=file:/x&plain_users=file:/x", "curve_server_key, plain_users"),
            ("plain_user=a&curve_server_public=file:/x", "curve_server_public, plain_user"),
            ("plain_users=file:/x&curve_allow=any", "plain_users, curve_allow"),
            ("curve_allow=any&curve_server_public=file:/x", "curve_server_public, curve_allow"),
            ("curve_server_key=file:/x&curve_key=file:/x", "curve_server_key, curve_key"),
            ("plain_users=file:/x&plain_password=file:/x", "plain_users, plain_password"),
        ] {
            let error = parse(&format!("zmq+tcp://a:1?{options}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{options}: {error}");
            assert_eq!(error.detail("options"), Some(names), "{options}: {error}");
        }
    }

    #[test]
    fn secret_in_a_url_is_refused_and_left_out_of_the_error() {
        let secret = KeyPair::generate().secret().to_z85().replace('&', "x");
        for options in [
            format!("curve_server_key={secret}&curve_allow=any"),
            format!("curve_server_key={secret}&curve_server_public=file:/x"),
            format!("curve_server_public=file:/x&curve_key={secret}"),
            format!("curve_server_public=file:/x&curve_kex={secret}"),
            format!("plain_user=a&plain_password={secret}"),
            format!("plain_user=a&curve_key={secret}"),
            format!("curve_key={secret}&curve_key={secret}"),
        ] {
            let error = parse(&format!("zmq+tcp://a:1?{options}")).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&*secret), "{error:?}");
        }
    }
}
