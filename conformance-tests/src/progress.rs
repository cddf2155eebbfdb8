//! The progress of a running case, so that a wait that took too long can say what had happened.
//!
//! The suite runs each case within a [`CaseProgress`]. The waits of the case note what has ended
//! and what has arrived, and the context notes the transports that were opened. Tasks that a case
//! spawns have no progress of their own: what they do is counted by the case.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polywire_core::health::{ConnectionState, HealthReader};
use tokio::time::Instant;

tokio::task_local! {
    static PROGRESS: CaseProgress;
}

/// Progress of a case so far. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct CaseProgress(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The number of arrivals by their kind, such as `jobs`.
    arrived: BTreeMap<&'static str, u64>,
    /// The latest step that has ended, and the time of its end.
    last: Option<(String, Instant)>,
    /// The transports that were opened, with their roles. A reader keeps no transport open.
    transports: Vec<(&'static str, HealthReader)>,
}

/// The age of the latest step from which a case counts as one that stands still.
const STILL: Duration = Duration::from_secs(10);

impl CaseProgress {
    /// Runs a case. Its waits and its context note here.
    pub(crate) async fn scope<F: Future>(&self, case: F) -> F::Output {
        PROGRESS.scope(self.clone(), case).await
    }

    /// Describes what has happened, for a failure: the arrivals, the latest step with its age, and
    /// the transports that are not connected, with the cause.
    ///
    /// A case whose latest step is recent is slow. One whose latest step is old stands still.
    pub(crate) fn explain(&self) -> String {
        let state = self.state();
        let mut text = String::from("; ");
        for (n, (kind, count)) in state.arrived.iter().enumerate() {
            let _ = write!(text, "{}{count} {kind}", if n == 0 { "" } else { ", " });
        }
        let nothing = if state.arrived.is_empty() { "nothing" } else { "" };
        let _ = write!(text, "{nothing} had arrived");
        if let Some((step, at)) = &state.last {
            let age = at.elapsed();
            let pace = if age < STILL { "slow" } else { "standing still" };
            let ago = age.as_secs_f64();
            let _ = write!(text, "; {pace}: the latest step ended {ago:.1} s ago: {step}");
        }
        text + &describe(&state.transports)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes the transports: how many are ready and closed, and each other one whose health is
/// known, with the cause.
fn describe(transports: &[(&'static str, HealthReader)]) -> String {
    let (mut ready, mut closed, mut others) = (0, 0, String::new());
    for (n, (role, health)) in transports.iter().enumerate() {
        let health = health.current();
        match &health.connection {
            ConnectionState::Unknown => {}
            // The case has closed or dropped the transport.
            ConnectionState::Closed => closed += 1,
            _ if health.is_ready() => ready += 1,
            _ => drop(write!(others, "; transport {} ({role}): {health}", n + 1)),
        }
    }
    match transports.len() {
        0 => others,
        count => format!("; of {count} transports {ready} are ready and {closed} closed{others}"),
    }
}

/// Notes a step of the running case that has ended.
pub(crate) fn note(step: &str) {
    let _ = PROGRESS.try_with(|progress| {
        progress.state().last = Some((step.to_owned(), Instant::now()));
    });
}

/// Notes an arrival at the running case, by its kind in the plural.
pub(crate) fn arrived(kind: &'static str) {
    let _ = PROGRESS.try_with(|progress| {
        let mut state = progress.state();
        *state.arrived.entry(kind).or_default() += 1;
        state.last = Some((format!("one of the {kind} arrived"), Instant::now()));
    });
}

/// Notes a transport that the running case has opened.
pub(crate) fn opened(role: &'static str, health: HealthReader) {
    let _ = PROGRESS.try_with(|progress| progress.state().transports.push((role, health)));
}

/// Describes the progress of the running case; see [`CaseProgress::explain`]. Empty outside of a
/// case that the suite runs.
pub(crate) fn explain() -> String {
    PROGRESS.try_with(CaseProgress::explain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use polywire_core::{Memory, Transport};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn explanation_has_arrivals_pace_and_transports() {
        let progress = CaseProgress::default();
        let memory = Memory::new();
        progress
            .scope(async {
                assert_eq!(explain(), "; nothing had arrived");
                opened("serving", memory.health());
                opened("calling", memory.peer().health());
                arrived("jobs");
                arrived("jobs");
                tokio::time::sleep(Duration::from_secs(2)).await;
                memory.close().await.unwrap();
            })
            .await;
        let slow = progress.explain();
        assert!(slow.starts_with("; 2 jobs had arrived; slow: the latest step ended 2.0 s ago"));
        tokio::time::sleep(STILL).await;
        let dead = progress.explain();
        assert!(dead.contains("standing still: the latest step ended 12.0 s ago"), "{dead}");
        assert!(dead.ends_with("; of 2 transports 0 are ready and 2 closed"), "{dead}");
        assert_eq!(explain(), "", "there is no case here");
    }
}
