//! The description of a program as one component.

use std::fmt;
use std::sync::Arc;

use polywire_core::{Error, Instance};

use crate::component::Component;
use crate::exit::{BoxError, Exit};
use crate::layers::Layers;
use crate::probe::{Probe, Render};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::start::{Connect, DynConnect, Progress, Start};
use crate::stop_switch::StopSwitch;
use crate::supervise::supervise;

/// Program that runs by itself: it waits for the broker, serves, answers probes, and drains on a
/// signal.
///
/// [`run`](Self::run) is a whole `main`. [`start`](Self::start) runs the same component without
/// signals, for tests and for programs of several components. An app can be started again after it
/// has stopped.
///
/// ```
/// use polywire_app::{App, BoxError, Component, Exit, Settings};
/// use polywire_codec::MessagePack;
/// use polywire_core::{AnyTransport, Memory, Result, Router};
///
/// // The facade has `polywire::connect`, for URLs of every transport.
/// async fn connect(_: &str) -> Result<AnyTransport> {
///     Ok(AnyTransport::new(Memory::named("shop")))
/// }
///
/// async fn setup(app: Component) -> Result<(), BoxError> {
///     let router = Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b));
///     app.serve("calculator", router).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = App::new(Settings::new("calculator").url("mem://shop"), connect);
/// for _ in 0..2 {
///     let component = app.start(setup).await.unwrap();
///     assert!(component.is_ready());
///     assert!(matches!(component.stop().await, Exit::Drained));
/// }
/// # }
/// ```
///
/// Nothing connects before [`run`](Self::run) or [`start`](Self::start). Each start reads the URLs
/// from their sources again, so a changed secret takes effect with the next start.
#[must_use = "an app does nothing unless it runs or is started"]
pub struct App {
    settings: Settings,
    connect: Arc<dyn DynConnect>,
    layers: Layers,
    render: Option<Render>,
    identification: Identification,
    /// A failed preparation, such as that of a recorder.
    error: Option<Error>,
}

impl App {
    /// Describes a component with these settings. `connect` opens the transport of a URL at each
    /// start.
    ///
    /// The URLs are opened one after the other, first that of [`Settings::url`], then those of
    /// [`Settings::url_of`] in their order. A component is set up when all of them are open.
    pub fn new(settings: Settings, connect: impl for<'u> Connect<'u>) -> Self {
        let connect = Arc::new(connect);
        let identification = Identification::ByName;
        Self { settings, connect, layers: Layers::new(), render: None, identification, error: None }
    }

    /// Describes a component whose settings are read from the
    /// [environment](Settings::with_env). `service` is its name unless `POLYWIRE_SERVICE` is set.
    pub fn from_env(service: impl Into<String>, connect: impl for<'u> Connect<'u>) -> Self {
        Self::new(Settings::new(service).with_env(), connect)
    }

    /// Sets the layers around each server, worker and listener. The default is [`Layers::new`].
    pub fn layers(self, layers: Layers) -> Self {
        Self { layers, ..self }
    }

    /// Sets the description that is sent along with each message of the component; see
    /// [`Identified`](polywire_core::transport::Identified). The default is a new
    /// [`Instance`] with the name of the component at each start.
    pub fn instance(self, instance: Instance) -> Self {
        Self { identification: Identification::As(instance), ..self }
    }

    /// Sends no description along with messages, which saves a header of some 150 bytes in each.
    pub fn without_instance(self) -> Self {
        Self { identification: Identification::Off, ..self }
    }

    /// Sets the function that writes the text of `/metrics`, for instance by the handle of a
    /// Prometheus recorder. It runs for each request, in the runtime, and must not block.
    ///
    /// The last call of this method or of `prometheus` decides. Without either of them, `/metrics`
    /// answers 404.
    pub fn metrics(self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { render: Some(Render::new(render)), ..self }
    }

    /// Installs the recorder of `metrics-exporter-prometheus` for this process, and writes
    /// `/metrics` by it. Durations have buckets from 1 ms to 10 s.
    ///
    /// Call the method before everything else that records metrics: counts without a recorder are
    /// lost. All apps of a process share the recorder. If another recorder is installed, the start
    /// fails with [`Exit::Config`].
    #[cfg(feature = "prometheus")]
    pub fn prometheus(self) -> Self {
        match Render::prometheus() {
            Ok(render) => Self { render: Some(render), ..self },
            Err(error) => Self { error: Some(error), ..self },
        }
    }

    /// Runs the component until SIGTERM, SIGINT, [`Component::request_stop`] or a failure ends it.
    /// Returns the reason, which a `main` returns as its own result.
    ///
    /// On a signal, readiness turns off, all endpoints drain, and the transport is closed. A second
    /// signal ends the grace period at once. A signal during the start ends the start: handlers
    /// that run by then drain in the same way.
    ///
    /// The rest is as with [`start`](Self::start). If the future is dropped, the component goes on.
    ///
    /// The signal handlers stay installed when the future has resolved, so a later SIGTERM or
    /// SIGINT does not end the process. [`Exit::Setup`] is also the outcome if they cannot be
    /// installed.
    pub async fn run<F, Fut>(&self, setup: F) -> Exit
    where
        F: Fn(Component) -> Fut + Send + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return Exit::Setup(Arc::new(error)),
        };
        let switch = StopSwitch::default();
        let running = async {
            match self.begin(&setup, &switch).await {
                Ok(component) => component.ended().await,
                Err(exit) => {
                    let service = &self.settings.service;
                    if switch.has_ended() {
                        // The end of the component is logged.
                    } else if exit.code() == 0 {
                        tracing::info!(service, "stopped before the start was complete");
                    } else {
                        tracing::error!(service, %exit, "cannot start");
                    }
                    exit
                }
            }
        };
        tokio::pin!(running);
        loop {
            tokio::select! {
                exit = &mut running => return exit,
                signal = signals.next() => {
                    tracing::info!(signal, is_second = switch.is_on(), "signal received");
                    switch.turn_on();
                }
            }
        }
    }

    /// Starts the component: waits for the broker, runs `setup`, and returns a handle.
    ///
    /// `setup` connects clients and adds endpoints. If the broker is lost meanwhile, `setup` runs
    /// again on a new transport. The component is ready when `setup` has succeeded. If the future
    /// is dropped, everything that was set up is dropped.
    ///
    /// If a stop is requested during the setup, or an endpoint or a task fails, the setup is
    /// dropped at its next await, and the component drains. The probe port is free when the future
    /// resolves with an error.
    ///
    /// # Errors
    ///
    /// [`Exit::Unreachable`] after the start wait, [`Exit::Refused`] for wrong credentials,
    /// [`Exit::Config`] for a malformed setting or a probe address in use, [`Exit::Setup`] for an
    /// error of `setup`; the reason of the stop for one during the setup, such as
    /// [`Exit::Drained`].
    pub async fn start<F, Fut>(&self, setup: F) -> Result<Component, Exit>
    where
        F: Fn(Component) -> Fut + Send + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        self.begin(&setup, &StopSwitch::default()).await
    }

    /// Starts the component as [`start`](Self::start) does. `switch` stops it, also before it has
    /// started.
    ///
    /// The probe port is bound before the first attempt to connect, so `/live` answers while the
    /// broker is away. After a success, a task of its own [supervises](supervise) the component and
    /// owns the port. After a failure, the port is free when the future resolves.
    async fn begin<F, Fut>(&self, setup: &F, switch: &StopSwitch) -> Result<Component, Exit>
    where
        F: Fn(Component) -> Fut + Send + Sync,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        if let Some(error) = &self.error {
            return Err(Exit::Config(error.clone()));
        }
        let Settings { service, grace, start_wait, canary, probe, .. } = &self.settings;
        let urls = self.settings.urls().map_err(Exit::Config)?;
        for variable in &self.settings.unknown {
            tracing::warn!(service, variable, "no setting has this environment variable");
        }
        let probe = match probe {
            None => None,
            Some(address) => {
                let probe = Probe::bind(*address, self.render.clone()).await;
                Some(probe.map_err(Exit::Config)?)
            }
        };
        let instance = match &self.identification {
            Identification::ByName => Some(Instance::new(service).map_err(Exit::Config)?),
            Identification::As(instance) => Some(instance.clone()),
            Identification::Off => None,
        };
        let start = Start {
            instance: instance.as_ref(),
            name: service,
            urls: &urls,
            grace: *grace,
            wait: *start_wait,
            connect: &*self.connect,
            layers: &self.layers,
            switch,
        };
        let progress = |progress: Progress<'_>| {
            if let Some(probe) = &probe {
                probe.watch(match progress {
                    Progress::Waiting(reason) => Err(reason),
                    Progress::SettingUp(component) => Ok(component.clone()),
                });
            }
        };
        match start.run(setup, &progress).await {
            Ok(component) => {
                tokio::spawn(supervise(component.clone(), probe, *canary));
                Ok(component)
            }
            Err(exit) => {
                // The next start binds the same port.
                if let Some(probe) = probe {
                    probe.close().await;
                }
                Err(exit)
            }
        }
    }
}

/// The description that is sent along with the messages of a component.
enum Identification {
    /// A new one at each start, with the name of the component.
    ByName,
    As(Instance),
    Off,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.settings)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}
