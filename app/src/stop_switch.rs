//! Requests to stop, from before the first connection on.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::component::Component;

/// Switch that stops a component, and its start before there is one.
///
/// Shared by the loop that waits for signals and the start. The lock of the component is held
/// whenever the switch is turned or a component is watched, so no request falls between two
/// components.
#[derive(Default)]
pub(crate) struct StopSwitch {
    is_on: watch::Sender<bool>,
    /// The component of the latest attempt to start.
    ///
    /// `None` until the first component is made. A component that has ended stays here.
    component: Mutex<Option<Component>>,
}

impl StopSwitch {
    /// Requests the stop. A second request ends the grace period at once.
    ///
    /// Returns at once. Without a component, only the start learns of the request, and a second
    /// request has nothing to hurry.
    pub(crate) fn turn_on(&self) {
        let component = self.component.lock().unwrap_or_else(PoisonError::into_inner);
        let is_second = self.is_on.send_replace(true);
        if let Some(component) = &*component {
            if is_second {
                component.lifecycle().hurry();
            }
            component.request_stop();
        }
    }

    /// Stops this component from now on, instead of that of the attempt before.
    ///
    /// If the switch is on already, the component is stopped at once, within its whole grace
    /// period.
    pub(crate) fn watch(&self, next: &Component) {
        let mut component = self.component.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.is_on.borrow() {
            next.request_stop();
        }
        *component = Some(next.clone());
    }

    /// Returns whether a stop was requested.
    pub(crate) fn is_on(&self) -> bool {
        *self.is_on.borrow()
    }

    /// Returns whether the latest component has ended. Its end is logged by then.
    pub(crate) fn has_ended(&self) -> bool {
        let component = self.component.lock().unwrap_or_else(PoisonError::into_inner);
        component.as_ref().is_some_and(|component| component.lifecycle().has_ended())
    }

    /// Waits for the first request.
    pub(crate) async fn turned_on(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.is_on.subscribe().wait_for(|is_on| *is_on).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::layers::Layers;
    use crate::routes::Routes;
    use crate::transport::AppTransport;

    fn component() -> Component {
        let transport = AppTransport::new(Routes::new());
        Component::new("a", Duration::from_secs(1), transport, Layers::new())
    }

    #[test]
    fn first_request_to_a_component_that_stops_already_is_not_the_second() {
        let (switch, component) = (StopSwitch::default(), component());
        switch.watch(&component);
        component.request_stop();
        let is_hurried = || component.lifecycle().hurried().now_or_never().is_some();
        switch.turn_on();
        assert!(!is_hurried());
        switch.turn_on();
        assert!(is_hurried());
    }

    #[test]
    fn request_before_the_component_stops_it() {
        let (switch, component) = (StopSwitch::default(), component());
        switch.turn_on();
        switch.watch(&component);
        assert!(!component.lifecycle().is_open());
    }
}
