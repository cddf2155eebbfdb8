//! Flaws of capabilities, limits and windows: claims that are wrong, and bounds that are not kept.

use polywire_core::transport::Sender;
use polywire_core::{Capabilities, Error, ErrorKind, Limits, Window};

use crate::flaw::{Flaw, Halves, Sound};
use crate::halves::refused;

/// Claims the least, and refuses the rest, which is no flaw.
#[derive(Clone)]
pub(crate) struct Minimal;

impl Flaw for Minimal {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Limits::default().body_max)
    }

    fn refuses(&self, pattern: &'static str) -> Option<Error> {
        Some(Error::unsupported(pattern))
    }
}

/// Claims the least, and does more than that.
#[derive(Clone)]
pub(crate) struct Understated;

impl Flaw for Understated {
    fn capabilities(&self) -> Capabilities {
        Minimal.capabilities()
    }
}

/// Claims all that memory has, and refuses one pattern, groups, durable groups or dead letters.
///
/// Core alone refuses durable pushers and delayed retries where they are lacking: no backend can
/// refuse them when a handle is opened.
#[derive(Clone)]
pub(crate) struct Overstated(pub(crate) &'static str);

impl Flaw for Overstated {
    fn refuses(&self, pattern: &'static str) -> Option<Error> {
        (pattern == self.0).then(|| Error::unsupported(pattern))
    }
}

/// Claims priorities, and refuses them in calls, in jobs, or in events.
#[derive(Clone)]
pub(crate) struct RefusesPriorities(pub(crate) &'static str);

impl RefusesPriorities {
    fn sending(&self, kind: &str, sender: Sender) -> Sender {
        if kind != self.0 {
            return sender;
        }
        refused(sender, |message| message.priority.map(|_| Error::unsupported("priorities")))
    }
}

impl Flaw for RefusesPriorities {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (self.sending("calls", sender), receiver)
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        self.sending("jobs", sender)
    }

    fn publishing_locally(&self, sender: Sender) -> Sender {
        self.sending("events", sender)
    }
}

/// Refuses a pattern that is lacking, with an error of another kind.
#[derive(Clone)]
pub(crate) struct RefusesAsConfig(pub(crate) &'static str);

impl Flaw for RefusesAsConfig {
    fn capabilities(&self) -> Capabilities {
        Minimal.capabilities()
    }

    fn refuses(&self, pattern: &'static str) -> Option<Error> {
        let is_other = pattern == self.0;
        let error = Error::new(ErrorKind::Config, "cannot open this");
        Some(if is_other { error } else { Error::unsupported(pattern) })
    }
}

/// Claims something else than memory has.
#[derive(Clone)]
pub(crate) struct Claims(pub(crate) fn(&mut Capabilities));

impl Flaw for Claims {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Sound.capabilities();
        (self.0)(&mut capabilities);
        capabilities
    }
}

/// Claims a bound of bodies, and does not enforce it.
#[derive(Clone)]
pub(crate) struct BoundlessBodies;

impl Flaw for BoundlessBodies {
    fn limits(&self) -> Limits {
        Limits { body_max: usize::MAX, ..Limits::default() }
    }
}

/// Enforces no bound of headers.
#[derive(Clone)]
pub(crate) struct BoundlessHeaders;

impl Flaw for BoundlessHeaders {
    fn limits(&self) -> Limits {
        Limits { headers_max: usize::MAX, header_bytes_max: usize::MAX, ..Limits::default() }
    }
}

/// Makes every window as wide as it can be.
#[derive(Clone)]
pub(crate) struct IgnoresTheWindow;

impl Flaw for IgnoresTheWindow {
    fn window(&self, _: Window) -> Window {
        Window::new(Window::MAX)
    }
}

/// Makes every window as narrow as it can be.
#[derive(Clone)]
pub(crate) struct NarrowWindow;

impl Flaw for NarrowWindow {
    fn window(&self, _: Window) -> Window {
        Window::new(1)
    }
}
