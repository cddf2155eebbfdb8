//! Backends that are broken on purpose, so that the suite itself is tested: each flaw is caught by
//! the case that is about it, with a sentence that says what is wrong.
//!
//! `flaw.rs` is the trait of flaws, and `flaws/` holds them. `cases/` lists, by group, the case
//! that catches each flaw. A test asserts that every case catches a flaw, or has a reason why it
//! has none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod backend;
mod cases;
mod caught;
mod flaw;
mod flaws;
mod halves;
mod health;
mod network;
mod transport;

use polywire_conformance::Suite;

use self::backend::BrokenBackend;
use self::flaws::capabilities::Minimal;

/// A backend without any capability can be conformant. Its network has latency, so that the paused
/// clock advances under a load.
#[tokio::test(start_paused = true)]
async fn minimum_set_asks_for_no_capability() {
    let report = Suite::of(BrokenBackend::slow(Minimal)).run(|case| case.minimum).await;
    assert!(report.is_conformant(), "{report}");
}

/// Every case is known to catch a flaw, or is listed with a reason.
#[test]
fn every_case_catches_a_flaw_or_has_a_reason() {
    for case in polywire_conformance::cases::ALL {
        let catches = cases::caught().any(|id| id == case.id);
        let is_listed = cases::UNCAUGHT.iter().any(|(id, _)| *id == case.id);
        assert!(
            catches != is_listed,
            "{}: catches a flaw: {catches}, listed: {is_listed}",
            case.id
        );
    }
    for (id, reason) in cases::UNCAUGHT {
        let exists = polywire_conformance::cases::ALL.iter().any(|case| case.id == *id);
        assert!(exists && !reason.is_empty(), "no case {id}, or no reason");
    }
}
