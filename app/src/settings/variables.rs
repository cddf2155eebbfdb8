//! Settings from environment variables.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use polywire_core::secret::Secret;

use super::duration;
use super::settings::{CANARY_MIN, Settings, TIME_MAX, config};
use crate::url_variable::{URL_VARIABLE as URL, variable_name};

/// The prefix of all variables.
const PREFIX: &str = "POLYWIRE_";
const SERVICE: &str = "POLYWIRE_SERVICE";
const GRACE: &str = "POLYWIRE_GRACE";
const START_WAIT: &str = "POLYWIRE_START_WAIT";
const CANARY: &str = "POLYWIRE_CANARY";
const PROBE: &str = "POLYWIRE_PROBE";

impl Settings {
    /// Overrides the settings by these environment variables:
    ///
    /// | variable | example | setting |
    /// |---|---|---|
    /// | `POLYWIRE_URL` | `amqp://orders@broker?password=file:/run/secrets/amqp`, `file:/run/secrets/url` | [`url`](Self::url) |
    /// | `POLYWIRE_URL_ORDERS_EU` | `zmq+tcp://10.0.0.7:5555` | [`url_of`](Self::url_of) `orders.eu`: upper case, and `_` for other characters |
    /// | `POLYWIRE_SERVICE` | `orders` | the name |
    /// | `POLYWIRE_GRACE` | `250ms`, `25s`, `2m`, `1h` | [`grace`](Self::grace) |
    /// | `POLYWIRE_START_WAIT` | `1m`, `forever` | [`start_wait`](Self::start_wait) |
    /// | `POLYWIRE_CANARY` | `30s`, `off` | [`canary`](Self::canary) |
    /// | `POLYWIRE_PROBE` | `9464` (on 127.0.0.1), `0.0.0.0:9464`, `off` | [`probe`](Self::probe) |
    ///
    /// A variable that is not set, or is empty, changes nothing. A malformed one is an error that
    /// names the variable; see [`check`](Self::check). The start logs a warning for each other
    /// variable that begins with `POLYWIRE_`, and for the URL of a name that nothing uses.
    #[must_use]
    pub fn with_env(self) -> Self {
        let all: Vec<_> = std::env::vars_os().collect();
        self.with_variables(&all)
    }

    /// Applies variables in their order. Names that are not Unicode are ignored; a value that is
    /// not Unicode is an error if its variable is a setting. The first error is kept.
    fn with_variables(mut self, variables: &[(OsString, OsString)]) -> Self {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
            let apply = VARIABLES.iter().find(|(known, _)| *known == name);
            let route = name.strip_prefix(URL).and_then(|rest| rest.strip_prefix('_'));
            let value = value.to_str().ok_or("the value is not Unicode");
            let applied = match (apply, route) {
                (Some((_, apply)), _) => value.and_then(|value| apply(&mut self, value)),
                (None, Some(route)) => value.map(|value| {
                    self.set_url_of(variable_name(route), None, Secret::new(value));
                }),
                (None, None) => {
                    if name.starts_with(PREFIX) {
                        self.unknown.push(name.to_owned());
                    }
                    Ok(())
                }
            };
            if let Err(because) = applied {
                let error = config("cannot read an environment variable").with("variable", name);
                self.error.get_or_insert(error.with("because", because));
            }
        }
        self
    }
}

/// A function that sets one setting from the text of a variable. The error says what to write
/// instead.
type Apply = fn(&mut Settings, &str) -> Result<(), &'static str>;

/// The variables. No error contains a value: a secret may have got into the wrong variable.
const VARIABLES: [(&str, Apply); 6] = [
    (URL, |settings, value| {
        settings.url = Some(Secret::new(value));
        Ok(())
    }),
    (SERVICE, |settings, value| {
        value.clone_into(&mut settings.service);
        Ok(())
    }),
    (GRACE, |settings, value| {
        let grace = duration::parse(value).filter(|grace| *grace <= TIME_MAX);
        settings.grace = grace.ok_or(DURATION)?;
        Ok(())
    }),
    (START_WAIT, |settings, value| {
        settings.start_wait = match value {
            "forever" => None,
            value => {
                let wait = duration::parse(value).filter(|wait| *wait <= TIME_MAX);
                Some(wait.ok_or("write a time such as 1m, at most 24h, or forever")?)
            }
        };
        Ok(())
    }),
    (CANARY, |settings, value| {
        settings.canary = match value {
            "off" => None,
            value => {
                let every = duration::parse(value);
                let every = every.filter(|every| (CANARY_MIN..=TIME_MAX).contains(every));
                Some(every.ok_or("write a time such as 30s, from 1s to 24h, or off")?)
            }
        };
        Ok(())
    }),
    (PROBE, |settings, value| {
        settings.probe = match value {
            "off" => None,
            value => Some(address(value).ok_or("write a port, IP:PORT, or off")?),
        };
        Ok(())
    }),
];

const DURATION: &str = "write a time such as 250ms, 25s, 2m or 1h, at most 24h";

/// Parses an address. A port alone is one of the loopback interface.
///
/// An IPv6 address is written in brackets, as `[::1]:9464`. Names of hosts are not resolved.
fn address(text: &str) -> Option<SocketAddr> {
    let on_loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    text.parse().ok().map(on_loopback).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Settings::new("orders").url("mem://default").with_variables(&variables)
    }

    #[test]
    fn variables_override_what_the_program_states() {
        let settings = read(&[
            (URL, "mem://shop"),
            ("POLYWIRE_URL_ORDERS_EU", "mem://eu"),
            (SERVICE, "orders-2"),
            (GRACE, "250ms"),
            (START_WAIT, "forever"),
            (CANARY, "30s"),
            (PROBE, "9464"),
            ("POLYWIRE_GRCAE", "1m"),
            ("PATH", "/bin"),
        ]);
        settings.check().unwrap();
        assert_eq!(settings.unknown, ["POLYWIRE_GRCAE"]);
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "mem://shop");
        assert_eq!(settings.urls().unwrap()[1].0.as_deref(), Some("ORDERS_EU"));
        assert_eq!((&*settings.service, settings.grace), ("orders-2", Duration::from_millis(250)));
        assert_eq!(settings.start_wait, None);
        assert_eq!(settings.canary, Some(Duration::from_secs(30)));
        assert_eq!(read(&[(CANARY, "off")]).canary, None);
        assert_eq!(settings.probe, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
        assert_eq!(read(&[(PROBE, "0.0.0.0:80")]).probe, Some(SocketAddr::from(([0; 4], 80))));
        assert_eq!(read(&[(PROBE, "off")]).probe, None);
    }

    #[test]
    fn variable_overrides_the_url_of_a_name_in_the_program() {
        let variable = (OsString::from("POLYWIRE_URL_ORDERS_EU"), OsString::from("mem://b"));
        let settings = Settings::new("orders").url_of("orders.eu", "mem://a");
        let settings = settings.with_variables(&[variable]);
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "mem://b");
        let settings = settings.url_of("orders.eu", "mem://c");
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "mem://c");
        assert!(settings.url_of("orders-eu", "mem://d").check().is_err());
    }

    #[test]
    fn manifest_in_the_documentation_is_accepted() {
        let page = include_str!("../../../docs/kubernetes.md");
        let between = |line: &'static str, before: &str, after: &str| {
            let rest = &line[line.find(before)? + before.len()..];
            Some(rest[..rest.find(after)?].trim_matches('"'))
        };
        let entries = page.lines().filter(|line| line.contains("name: POLYWIRE_"));
        let variables: Vec<_> = entries
            .map(|line| {
                (between(line, "name: ", ",").unwrap(), between(line, "value: ", " }").unwrap())
            })
            .collect();
        let names: Vec<_> = variables.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [SERVICE, URL, GRACE, START_WAIT, PROBE]);
        let settings = read(&variables);
        settings.check().unwrap();
        let period = page.lines().find_map(|line| {
            line.trim().strip_prefix("terminationGracePeriodSeconds: ")?.parse().ok()
        });
        assert!(Duration::from_secs(period.unwrap()) > settings.grace);
        let wait = page.lines().find_map(|line| line.trim().strip_prefix("failureThreshold: "));
        assert!(
            settings.start_wait.unwrap() < 2 * Duration::from_secs(wait.unwrap().parse().unwrap())
        );
    }

    #[test]
    fn empty_variables_change_nothing() {
        let settings = read(&[
            (URL, ""),
            (SERVICE, ""),
            (GRACE, ""),
            (START_WAIT, ""),
            (CANARY, ""),
            (PROBE, ""),
        ]);
        settings.check().unwrap();
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "mem://default");
        assert_eq!((&*settings.service, settings.grace), ("orders", Duration::from_secs(25)));
        assert_eq!(settings.start_wait, Some(Duration::from_mins(1)));
    }

    #[test]
    fn malformed_variable_is_named_and_its_value_is_not() {
        for (name, value) in [
            (GRACE, "hunter2"),
            (GRACE, "25h"),
            (START_WAIT, "hunter2"),
            (CANARY, "hunter2"),
            (CANARY, "0s"),
            (PROBE, "hunter2:1"),
        ] {
            let error = read(&[(name, value)]).check().unwrap_err();
            assert_eq!(error.detail("variable"), Some(name));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let error = Settings::new("orders").with_variables(&[]).check().unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL"));
    }
}
