//! The settings.

use std::net::SocketAddr;
use std::time::Duration;

use polywire_core::secret::{Secret, SecretSource};
use polywire_core::{Error, ErrorKind, Result};

use crate::url_variable::{URL_VARIABLE, url_variable, variable_name};

/// Settings of a component: its name, its URL, its times, its probe address.
///
/// A program states its own defaults, and [`with_env`](Self::with_env) lets the environment
/// override them. A malformed setting is reported by [`check`](Self::check), and when the component
/// starts.
///
/// ```
/// use std::time::Duration;
///
/// use polywire_app::Settings;
///
/// let settings =
/// Settings::new("orders").url("mem://shop").grace(Duration::from_mins(1)).with_env();
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) service: String,
    /// The URL of all names without one of their own, or the source of that URL.
    pub(crate) url: Option<Secret>,
    /// URLs of single names.
    routes: Vec<NamedUrl>,
    /// At most [`TIME_MAX`], or `error` is set.
    pub(crate) grace: Duration,
    /// `None` waits without a limit.
    pub(crate) start_wait: Option<Duration>,
    /// The interval of canaries.
    pub(crate) canary: Option<Duration>,
    pub(crate) probe: Option<SocketAddr>,
    /// The variables of the environment with our prefix that no setting has.
    pub(crate) unknown: Vec<String>,
    /// The first setting that is malformed.
    ///
    /// Stays even if the setting is corrected by a later call.
    pub(super) error: Option<Error>,
}

/// The URL of one name.
#[derive(Clone, Debug)]
struct NamedUrl {
    /// Name as it is written in variables.
    variable: String,
    /// Name as the program states it; `None` if only the environment sets the URL.
    stated: Option<String>,
    url: Secret,
}

/// Long enough for most handlers, and shorter than the 30 s that Kubernetes waits.
const DEFAULT_GRACE: Duration = Duration::from_secs(25);
/// Long enough for a broker that starts at the same time.
const DEFAULT_START_WAIT: Duration = Duration::from_mins(1);
/// Upper bound of all times: a longer one is a mistake of the unit.
pub(super) const TIME_MAX: Duration = Duration::from_hours(24);
/// Lower bound of the interval of canaries, each of which is a message of the broker.
pub(super) const CANARY_MIN: Duration = Duration::from_secs(1);

impl Settings {
    /// Creates the settings of the service with this name, which appears in logs. There is no
    /// default for the [URL](Self::url).
    #[must_use]
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            url: None,
            routes: Vec::new(),
            grace: DEFAULT_GRACE,
            start_wait: Some(DEFAULT_START_WAIT),
            canary: None,
            probe: None,
            unknown: Vec::new(),
            error: None,
        }
    }

    /// Sets the URL of the transport, or the source of a URL: `file:PATH` or `env:NAME`.
    ///
    /// A later call replaces the URL. The source is read at each start, and line breaks at its end
    /// are removed. [`check`](Self::check) does not read it.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Secret::new(url));
        self
    }

    /// Sets the URL of one service, queue or channel, for servers and clients alike. All other
    /// names use [`url`](Self::url).
    ///
    /// Over a broker, one URL is enough. Over ZeroMQ, where peers connect to each other, each name
    /// has its own.
    ///
    /// A later call for the same name replaces the URL. A call for another name that gives the same
    /// variable, as `orders-eu` and `orders.eu` do, is an error: the two would share one URL. All
    /// URLs of a component are of one kind of transport.
    #[must_use]
    pub fn url_of(mut self, name: &str, url: impl Into<String>) -> Self {
        self.set_url_of(variable_name(name), Some(name), Secret::new(url));
        self
    }

    /// Sets the URL of the names that give a variable. `stated` is the name in the program; the
    /// environment states none, and overrides the URL of any.
    ///
    /// Records an error if the program states another name, unless there is an error already.
    pub(super) fn set_url_of(&mut self, variable: String, stated: Option<&str>, url: Secret) {
        let at = self.routes.iter().position(|route| route.variable == variable);
        let earlier = at.and_then(|at| self.routes.remove(at).stated);
        if let (Some(earlier), Some(stated)) = (&earlier, stated)
            && earlier != stated
            && self.error.is_none()
        {
            let error = config("cannot start: the URLs of two names have one variable");
            let error = error.with("name", stated).with("other", earlier);
            self.error = Some(error.with("variable", url_variable(&variable)));
        }
        let stated = stated.map(str::to_owned).or(earlier);
        self.routes.push(NamedUrl { variable, stated, url });
    }

    /// Sets the grace period: the time from the signal until handlers that still run are dropped,
    /// at most 24 hours. The default is 25 seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self.checked("grace", grace)
    }

    /// Sets for how long the start waits for the broker, at most 24 hours. The default is 1 minute.
    ///
    /// The time counts from the first attempt, and includes the setup. With zero, there is one
    /// attempt, which ends at its first await that does not resolve at once.
    #[must_use]
    pub fn start_wait(mut self, wait: Duration) -> Self {
        self.start_wait = Some(wait);
        self.checked("start_wait", wait)
    }

    /// Lets the start wait for the broker without a limit.
    #[must_use]
    pub fn wait_forever(self) -> Self {
        Self { start_wait: None, ..self }
    }

    /// Sets the interval at which the component sends a canary through the queue of each of its
    /// servers, workers and listeners, from 1 second to 24 hours. By default, it sends none.
    ///
    /// While the last canary of an endpoint did not come back within 5 seconds, the component is
    /// not [ready](crate::Component::is_ready). A canary waits behind the requests of the queue: it
    /// is late, too, while all handlers of the window run for longer. Endpoints without canaries do
    /// not count.
    #[must_use]
    pub fn canary(mut self, every: Duration) -> Self {
        self.canary = Some(every);
        if every < CANARY_MIN && self.error.is_none() {
            let error = config("cannot start: the setting is out of bounds");
            let error = error.with("setting", "canary").with("value", format!("{every:?}"));
            self.error = Some(error.with("least", format!("{CANARY_MIN:?}")));
        }
        self.checked("canary", every)
    }

    /// Sets the address of `/live`, `/ready`, `/metrics` and `/canary`. By default, there are none.
    ///
    /// The port has neither passwords nor encryption: choose a loopback address, or one that only
    /// the supervisor and the monitoring reach.
    #[must_use]
    pub fn probe(self, address: SocketAddr) -> Self {
        Self { probe: Some(address), ..self }
    }

    /// Returns an error if a setting is malformed or the URL is missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the variable or the setting. A URL is never part of an error.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.url.is_none() && self.routes.is_empty() {
            return Err(config("cannot start: no URL is set").with("variable", URL_VARIABLE));
        }
        Ok(())
    }

    /// Returns the URLs, with the names that they are for. A URL that names its source is read.
    ///
    /// The common URL comes first, then those of single names in their order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] as of [`check`](Self::check), for a source that cannot be read, and
    /// for URLs of different kinds of transports. The error names the variable, and never a URL.
    pub(crate) fn urls(&self) -> Result<Vec<(Option<String>, Secret)>> {
        self.check()?;
        let common = self.url.iter().map(|url| (None, url));
        let single = self.routes.iter().map(|route| (Some(route.variable.clone()), &route.url));
        let mut urls: Vec<(Option<String>, Secret)> = Vec::new();
        for (name, url) in common.chain(single) {
            let variable = match &name {
                None => URL_VARIABLE.to_owned(),
                Some(name) => url_variable(name),
            };
            let url = match resolved(url) {
                Ok(url) => url,
                Err(error) => return Err(error.with("url_of", variable)),
            };
            if urls.first().is_some_and(|(_, first)| kind(first) != kind(&url)) {
                let error = config("cannot start: the URLs are of different kinds of transports");
                return Err(error.with("variable", variable));
            }
            urls.push((name, url));
        }
        Ok(urls)
    }

    /// Records an error if `time` is beyond [`TIME_MAX`], unless there is one already.
    fn checked(mut self, setting: &'static str, time: Duration) -> Self {
        if time > TIME_MAX && self.error.is_none() {
            let error = config("cannot start: the setting is out of bounds");
            let error = error.with("setting", setting).with("value", format!("{time:?}"));
            self.error = Some(error.with("most", format!("{TIME_MAX:?}")));
        }
        self
    }
}

/// Reads a URL from its source, if it names one.
///
/// A source begins with `file:` or `env:`. Any other text is the URL itself, which is not parsed
/// here.
fn resolved(url: &Secret) -> Result<Secret> {
    match url.reveal().split_once(':') {
        Some(("file" | "env", _)) => url.reveal().parse::<SecretSource>()?.read(),
        _ => Ok(url.clone()),
    }
}

/// Returns the kind of a URL's transport. One component has the capabilities of one kind.
///
/// The kind is the scheme up to a `+`; `amqps` counts as `amqp`.
fn kind(url: &Secret) -> &str {
    let scheme = url.reveal().split(':').next().unwrap_or_default();
    if scheme == "amqps" { "amqp" } else { scheme.split('+').next().unwrap_or_default() }
}

/// Returns the error of a setting.
pub(super) fn config(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message).unsent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_shown_nowhere_and_read_from_its_source() {
        let settings = Settings::new("orders").url("amqp://user:hunter2@host");
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "amqp://user:hunter2@host");
        let path = std::env::temp_dir().join(format!("polywire-app-url-{}", std::process::id()));
        std::fs::write(&path, "mem://shop\n").unwrap();
        let settings = Settings::new("orders").url(format!("file:{}", path.display()));
        assert_eq!(settings.urls().unwrap()[0].1.reveal(), "mem://shop");
        std::fs::remove_file(&path).unwrap();
        let error = settings.urls().unwrap_err();
        assert_eq!(error.detail("file"), Some(&*path.display().to_string()));
    }

    #[test]
    fn urls_of_single_names_are_of_one_kind() {
        let settings = Settings::new("orders").url_of("orders.eu", "zmq+tcp://127.0.0.1:1");
        let settings = settings.url_of("payments", "zmq+ipc:///tmp/a");
        let names: Vec<_> = settings.urls().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [Some("ORDERS_EU".to_owned()), Some("PAYMENTS".to_owned())]);
        let error = settings.url("amqp://user:hunter2@host").urls().unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL_ORDERS_EU"));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn names_of_one_variable_do_not_replace_each_others_url() {
        let settings = Settings::new("orders").url_of("orders.eu", "mem://a");
        let replaced = settings.clone().url_of("orders.eu", "mem://b");
        assert_eq!(replaced.urls().unwrap()[0].1.reveal(), "mem://b");
        let error = settings.url_of("orders-eu", "mem://hunter2").check().unwrap_err();
        let names = (error.detail("name"), error.detail("other"));
        assert_eq!(names, (Some("orders-eu"), Some("orders.eu")));
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL_ORDERS_EU"));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn time_beyond_a_day_is_refused_by_name() {
        let settings = Settings::new("a").url("mem://a").grace(Duration::MAX).start_wait(TIME_MAX);
        let error = settings.check().unwrap_err();
        assert_eq!(error.detail("setting"), Some("grace"), "{error}");
        let settings = Settings::new("a").url("mem://a").start_wait(Duration::MAX).wait_forever();
        assert_eq!(settings.check().unwrap_err().detail("setting"), Some("start_wait"));
        assert!(Settings::new("a").url("mem://a").grace(Duration::ZERO).check().is_ok());
        for every in [Duration::ZERO, Duration::MAX] {
            let error = Settings::new("a").url("mem://a").canary(every).check().unwrap_err();
            assert_eq!(error.detail("setting"), Some("canary"), "{error}");
        }
    }
}
