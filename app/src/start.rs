//! The start of a component: waits for the broker, runs the setup.

use std::future::Future;
use std::time::Duration;

use futures_core::future::BoxFuture;
use polywire_core::secret::Secret;
use polywire_core::transport::Identified;
use polywire_core::{AnyTransport, Error, ErrorKind, Instance, Result};
use tokio::time::{Instant, sleep, timeout_at};

use crate::attempt_log::AttemptLog;
use crate::component::Component;
use crate::exit::{BoxError, Exit};
use crate::layers::Layers;
use crate::routes::Routes;
use crate::start_failure::StartFailure;
use crate::stop_switch::StopSwitch;
use crate::supervise::{CLOSE_MAX, close, end};
use crate::transport::AppTransport;
use crate::url_host::url_host;

/// A function that opens the transport of a URL, such as `polywire::connect`.
///
/// Every async function of this signature implements it; programs do not.
pub trait Connect<'u>: Send + Sync + 'static {
    /// Opens the transport of `url`.
    ///
    /// The start calls the function again after an error that may pass, which is a
    /// [transient](Error::is_transient) one or [`ErrorKind::DeadlineExceeded`]. Any other error
    /// ends the start. The future is dropped if a stop is requested, or when the start wait ends.
    fn connect(&self, url: &'u str) -> impl Future<Output = Result<AnyTransport>> + Send + 'u;
}

impl<'u, F, Fut> Connect<'u> for F
where
    F: Fn(&'u str) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AnyTransport>> + Send + 'u,
{
    fn connect(&self, url: &'u str) -> impl Future<Output = Result<AnyTransport>> + Send + 'u {
        self(url)
    }
}

/// [`Connect`] with an erased type.
pub(crate) trait DynConnect: Send + Sync {
    fn connect_boxed<'u>(&self, url: &'u str) -> BoxFuture<'u, Result<AnyTransport>>;
}

impl<C: for<'u> Connect<'u>> DynConnect for C {
    fn connect_boxed<'u>(&self, url: &'u str) -> BoxFuture<'u, Result<AnyTransport>> {
        Box::pin(self.connect(url))
    }
}

/// A start that tries again until the broker is there.
pub(crate) struct Start<'a> {
    /// Sent along with each message, if there is one.
    pub(crate) instance: Option<&'a Instance>,
    pub(crate) name: &'a str,
    /// URLs with the names that they are for; `None` is the URL of all other names. Sources are
    /// read by now.
    pub(crate) urls: &'a [(Option<String>, Secret)],
    pub(crate) grace: Duration,
    /// `None` waits without a limit.
    ///
    /// Counted from the first attempt, and shared by all attempts.
    pub(crate) wait: Option<Duration>,
    pub(crate) connect: &'a dyn DynConnect,
    pub(crate) layers: &'a Layers,
    /// Ends the start between attempts, while a transport opens, and during the setup.
    pub(crate) switch: &'a StopSwitch,
}

/// The pause after the first attempt, before jitter. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before jitter. Jitter shortens each pause to a random part between one half
/// and the whole.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A step of a start, for the probes.
pub(crate) enum Progress<'c> {
    /// There is no component, for this reason.
    Waiting(String),
    /// The setup of this component begins.
    SettingUp(&'c Component),
}

impl Start<'_> {
    /// Connects and runs `setup`, again and again while the failure may pass and the time lasts.
    ///
    /// `progress` gets the component of each attempt, before its setup runs, and the failure of
    /// each attempt. The start wait has passed when the next pause would end after it, and the
    /// error is then that of the last attempt. An attempt that the start wait cuts off has the
    /// failure of the attempt before as its cause. Dropping the future drops what was set up.
    ///
    /// # Errors
    ///
    /// [`Exit::Drained`] if the switch is turned on while no component runs. [`Exit::Unreachable`]
    /// after the start wait. Otherwise the exit of a failure that no later attempt would cure, or
    /// the reason for which the component stopped during its setup.
    pub(crate) async fn run<F, Fut>(
        &self,
        setup: &F,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Component, Exit>
    where
        F: Fn(Component) -> Fut + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let deadline = self.wait.map(|wait| Instant::now() + wait);
        let (mut pause, mut last, mut log) = (FIRST_PAUSE, None, AttemptLog::default());
        loop {
            if self.switch.is_on() {
                return Err(Exit::Drained);
            }
            let failure = match self.attempt(deadline, last.as_ref(), setup, progress).await {
                Ok(component) => return Ok(component),
                Err(StartFailure::Lasting(exit)) => return Err(exit),
                Err(StartFailure::Passing(error)) => error,
            };
            // Jitter, so that many programs do not come at the same moments.
            let this_pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if deadline.is_some_and(|deadline| Instant::now() + this_pause >= deadline) {
                return Err(Exit::Unreachable(failure));
            }
            log.failed(self.name, &failure, this_pause);
            progress(Progress::Waiting(format!("cannot start yet: {failure}")));
            tokio::select! {
                () = sleep(this_pause) => {}
                () = self.switch.turned_on() => {}
            }
            (pause, last) = ((2 * pause).min(LONGEST_PAUSE), Some(failure));
        }
    }

    /// Opens all transports, makes a component of them, and runs `setup` on the component.
    ///
    /// The transports are new in each attempt. If one cannot be opened, those that are open by then
    /// are dropped. After a failed setup, or at the end of the start wait, all are closed. A guard
    /// drops handlers, tasks and services of the component unless the attempt succeeds, also when
    /// the future is dropped. A stop during the setup drains the component here, because it has no
    /// supervisor yet.
    async fn attempt<F, Fut>(
        &self,
        deadline: Option<Instant>,
        last: Option<&Error>,
        setup: &F,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Component, StartFailure>
    where
        F: Fn(Component) -> Fut + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let mut routes = Routes::new();
        for (name, url) in self.urls {
            let host = url_host(url.reveal());
            // The failure of the attempt before says more.
            if let (Some(host), None) = (host, last) {
                progress(Progress::Waiting(format!("waiting for the broker at {host}")));
            }
            let connecting = self.connect.connect_boxed(url.reveal());
            let connected = tokio::select! {
                connected = within(deadline, connecting) => connected,
                // Nothing runs yet.
                () = self.switch.turned_on() => return Err(StartFailure::Lasting(Exit::Drained)),
            };
            let transport = connected.unwrap_or_else(|| {
                Err(late("cannot connect: no answer in time", ("host", host), last))
            });
            let transport = transport.map_err(StartFailure::of)?;
            routes.add(
                name.clone(),
                match self.instance {
                    Some(instance) => AnyTransport::new(Identified::new(transport, instance)),
                    None => transport,
                },
            );
        }
        let transport = AppTransport::new(routes);
        let component =
            Component::new(self.name, self.grace, transport.clone(), self.layers.clone());
        let guard = AbortOnDrop(Some(component.clone()));
        progress(Progress::SettingUp(&component));
        self.switch.watch(&component);
        let is_set_up = tokio::select! {
            biased;
            _ = component.lifecycle().stop_requested() => None,
            is_set_up = within(deadline, setup(component.clone())) => Some(match is_set_up {
                Some(is_set_up) => is_set_up.map_err(StartFailure::of_setup),
                None => {
                    let connection = transport.troubled_connection();
                    let text = "cannot set up: the setup did not end in time";
                    Err(StartFailure::Passing(late(text, ("connection", connection.as_deref()), last)))
                }
            }),
        };
        match is_set_up {
            Some(Ok(())) => {
                guard.disarm();
                component.lifecycle().set_serving();
                for variable in transport.unused_variables() {
                    tracing::warn!(service = self.name, variable, "no endpoint uses this URL");
                }
                tracing::info!(service = self.name, "started");
                Ok(component)
            }
            // The setup may have failed because an endpoint or a task did, which is the cause then.
            Some(Err(failure)) if component.lifecycle().is_open() => {
                close(&transport, CLOSE_MAX).await;
                drop(guard);
                Err(failure)
            }
            Some(Err(_)) | None => {
                let exit = end(&component).await;
                component.lifecycle().set_ended(exit.clone());
                guard.disarm();
                Err(StartFailure::Lasting(exit))
            }
        }
    }
}

/// Waits at most until `deadline`. Returns `None` when the deadline passes, which drops `work`.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => timeout_at(deadline, work).await.ok(),
    }
}

/// Returns the error of a step that the end of the start wait has cut off, with a detail, if it is
/// known, and the failure of the attempt before as its cause.
fn late(
    text: &'static str,
    (key, value): (&'static str, Option<&str>),
    last: Option<&Error>,
) -> Error {
    let mut error = Error::new(ErrorKind::DeadlineExceeded, text);
    if let Some(value) = value {
        error = error.with(key, value);
    }
    match last {
        Some(last) => error.with_source(last.clone()),
        None => error,
    }
}

/// Drops the endpoints and the tasks of a start that was not completed.
struct AbortOnDrop(Option<Component>);

impl AbortOnDrop {
    /// Leaves the component to its supervisor.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(component) = &self.0 {
            component.abort_handlers();
            component.clear();
        }
    }
}
