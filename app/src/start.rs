//! The start of a component: waits for the broker, runs the setup, supervises.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use polywire_core::secret::Secret;
use polywire_core::{AnyTransport, CallError, Error, ErrorKind, Result, Transport};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::component::{Component, Stop};
use crate::exit::{BoxError, Exit};
use crate::layers::Layers;
use crate::probe::Probe;
use crate::routes::Routes;
use crate::stop_switch::StopSwitch;
use crate::transport::AppTransport;

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

/// A transport that does not close in this time is dropped, which closes it as well.
const CLOSE_MAX: Duration = Duration::from_secs(2);

impl Start<'_> {
    /// Connects and runs `setup`, again and again while the failure may pass and the time lasts.
    ///
    /// `begun` gets the component of each attempt, before its setup runs. The start wait has passed
    /// when the next pause would end after it, and the error is then that of the last attempt.
    /// Dropping the future drops what was set up.
    ///
    /// # Errors
    ///
    /// [`Exit::Drained`] if the switch is turned on while no component runs. [`Exit::Unreachable`]
    /// after the start wait. Otherwise the exit of a failure that no later attempt would cure, or
    /// the reason for which the component stopped during its setup.
    pub(crate) async fn run<F, Fut>(
        &self,
        setup: &F,
        begun: &(dyn Fn(&Component) + Sync),
    ) -> Result<Component, Exit>
    where
        F: Fn(Component) -> Fut + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let deadline = self.wait.map(|wait| Instant::now() + wait);
        let mut pause = FIRST_PAUSE;
        loop {
            if self.switch.is_on() {
                return Err(Exit::Drained);
            }
            let failure = match self.attempt(deadline, setup, begun).await {
                Ok(component) => return Ok(component),
                Err(Failure::Lasting(exit)) => return Err(exit),
                Err(Failure::Passing(error)) => error,
            };
            // Jitter, so that many programs do not come at the same moments.
            let this_pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if deadline.is_some_and(|deadline| Instant::now() + this_pause >= deadline) {
                return Err(Exit::Unreachable(failure));
            }
            let name = self.name;
            tracing::warn!(
                service = name,
                error = ?failure,
                pause_ms = this_pause.as_millis(),
                "cannot start yet"
            );
            tokio::select! {
                () = sleep(this_pause) => {}
                () = self.switch.turned_on() => {}
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
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
        setup: &F,
        begun: &(dyn Fn(&Component) + Sync),
    ) -> Result<Component, Failure>
    where
        F: Fn(Component) -> Fut + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let mut routes = Routes::new();
        for (name, url) in self.urls {
            let connecting = self.connect.connect_boxed(url.reveal());
            let transport = tokio::select! {
                connected = within(deadline, connecting) => connected.map_err(Failure::of)?,
                // Nothing runs yet.
                () = self.switch.turned_on() => return Err(Failure::Lasting(Exit::Drained)),
            };
            routes.add(name.clone(), transport);
        }
        let transport = AppTransport::new(routes);
        let component =
            Component::new(self.name, self.grace, transport.clone(), self.layers.clone());
        let guard = AbortOnDrop(Some(component.clone()));
        begun(&component);
        self.switch.watch(&component);
        let set_up = async { Ok(setup(component.clone()).await) };
        let is_set_up = tokio::select! {
            biased;
            _ = component.lifecycle().stop_requested() => None,
            is_set_up = within(deadline, set_up) => Some(match is_set_up {
                Ok(is_set_up) => is_set_up.map_err(Failure::of_setup),
                Err(late) => Err(Failure::of(late)),
            }),
        };
        match is_set_up {
            Some(Ok(())) => {
                guard.disarm();
                component.lifecycle().set_serving();
                for variable in transport.unused_variables() {
                    tracing::warn!(service = self.name, variable, "nothing uses this URL");
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
                Err(Failure::Lasting(exit))
            }
        }
    }
}

/// A failed attempt to start.
enum Failure {
    /// A later attempt may succeed.
    Passing(Error),
    /// No later attempt would succeed.
    Lasting(Exit),
}

impl Failure {
    /// Classifies the error of a transport, or of the start wait.
    fn of(error: Error) -> Self {
        let may_pass = error.is_transient() || error.kind() == ErrorKind::DeadlineExceeded;
        if may_pass { Self::Passing(error) } else { Self::Lasting(Exit::of_start(error)) }
    }

    /// Classifies an error of the setup.
    ///
    /// A transport that is lost during the setup is waited for, and so is a service that a call of
    /// the setup needs. A refusal for good and an error of a setting keep their exits. Other errors
    /// are the program's, and become [`Exit::Setup`].
    ///
    /// Only an error that is a [`CallError`] or an [`Error`] itself is recognized: one that wraps
    /// them counts as the program's.
    fn of_setup(error: BoxError) -> Self {
        let error = match error.downcast::<CallError>() {
            Ok(call) => match *call {
                CallError::Failed(error) if error.kind() == ErrorKind::Unroutable => {
                    return Self::Passing(error);
                }
                CallError::Failed(error) => BoxError::from(error),
                CallError::DeadlineExceeded(_) => {
                    let error = Error::new(ErrorKind::DeadlineExceeded, call.to_string());
                    return Self::Passing(error);
                }
                call => return Self::Lasting(Exit::Setup(Arc::new(call))),
            },
            Err(error) => error,
        };
        match error.downcast::<Error>() {
            Ok(error) => match Self::of(*error) {
                Self::Lasting(Exit::Unreachable(error)) => {
                    Self::Lasting(Exit::Setup(Arc::new(error)))
                }
                failure => failure,
            },
            Err(error) => Self::Lasting(Exit::Setup(Arc::from(error))),
        }
    }
}

/// Waits at most until `deadline`.
///
/// The error is that of `work`, or [`ErrorKind::DeadlineExceeded`] when the deadline passes, which
/// drops `work`.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        None => work.await,
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::DeadlineExceeded, "cannot start within the start wait"))
        }),
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

/// Waits for a request to stop, then ends the component, and its probe port with it.
pub(crate) async fn supervise(component: Component, probe: Option<Probe>) {
    let exit = end(&component).await;
    // The next start of the component binds the same port.
    if let Some(probe) = probe {
        probe.close().await;
    }
    component.lifecycle().set_ended(exit);
}

/// Waits for a request to stop, then drains the component, closes its transport, drops what is
/// left, and returns the reason of the end.
///
/// The drain has the rest of the grace period, which counts from the request, and ends early if the
/// stop is hurried. Handlers that run after that are dropped. The transport then gets the rest of
/// the grace period to close, at least 500 ms and at most 2 s. Tasks and services are dropped last,
/// so that a pusher can still send while the transport closes.
async fn end(component: &Component) -> Exit {
    let Stop { since, cause } = component.lifecycle().stop_requested().await;
    // The request has turned readiness off by now.
    let (name, deadline) = (component.name(), since + component.grace());
    let why = cause.as_ref().map(tracing::field::display);
    tracing::info!(service = name, cause = why, "stopping");
    let is_drained = tokio::select! {
        () = component.drain() => true,
        () = tokio::time::sleep_until(deadline) => false,
        () = component.lifecycle().hurried() => false,
    };
    let running = component.abort_handlers();
    // A blocked connection keeps replies back, and so the handlers that send them.
    let connection = component.transport().troubled_connection();
    let left = deadline.saturating_duration_since(Instant::now());
    close(component.transport(), left.clamp(CLOSE_MIN, CLOSE_MAX)).await;
    component.clear();
    let exit = match (cause, is_drained) {
        (Some(failure), _) => failure,
        (None, true) => Exit::Drained,
        (None, false) => Exit::GraceExceeded { running },
    };
    if exit.code() == 0 {
        tracing::info!(service = name, "stopped");
    } else {
        tracing::error!(service = name, %exit, code = exit.code(), connection, "stopped");
    }
    exit
}

/// A transport gets this time to close even after the grace period.
const CLOSE_MIN: Duration = Duration::from_millis(500);

/// Closes a transport, and waits at most for `limit`. A failure is logged and otherwise ignored.
async fn close(transport: &AppTransport, limit: Duration) {
    match timeout(limit, transport.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(?error, "cannot close the transport"),
        Err(_) => {
            tracing::warn!(limit_ms = limit.as_millis(), "the transport did not close in time");
        }
    }
}
