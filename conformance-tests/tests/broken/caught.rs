//! The check that a case catches a flaw.

use polywire_conformance::{Case, Outcome, Suite, cases};

use crate::backend::BrokenBackend;
use crate::flaw::{Flaw, Sound};

/// Runs a case on a backend without a flaw, where it must pass, and on one with a flaw. There it
/// must fail, with a sentence that holds `sentence`.
pub(crate) async fn catches(flaw: impl Flaw, id: &str, sentence: &str) {
    let case: &Case = cases::ALL.iter().find(|case| case.id == id).unwrap();
    let sound = Suite::of(BrokenBackend(Sound)).run_case(case).await;
    assert!(sound.outcome.is_passed(), "without a flaw, the outcome is {:?}", sound.outcome);
    let broken = Suite::of(BrokenBackend(flaw)).run_case(case).await;
    let Outcome::Failed(said) = broken.outcome else {
        panic!("the case does not catch the flaw: {:?}", broken.outcome)
    };
    assert!(said.contains(sentence), "the case fails with another sentence: {said}");
}

/// Makes a test of each flaw, and the list `CAUGHT` of the cases that catch one.
///
/// The clock is paused, so that a wait without an end costs no time. The flaws after `@live` run on
/// a real clock: under a load that never pauses, a paused clock would stand still.
macro_rules! caught {
    (
        $($name:ident: $flaw:expr, $case:literal, $sentence:literal;)*
        $(@live $live:ident: $live_flaw:expr, $live_case:literal, $live_sentence:literal;)*
    ) => {
        pub(crate) const CAUGHT: &[&str] = &[$($case,)* $($live_case,)*];

        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::caught::catches($flaw, $case, $sentence).await;
        })*

        $(#[tokio::test]
        async fn $live() {
            $crate::caught::catches($live_flaw, $live_case, $live_sentence).await;
        })*
    };
}
pub(crate) use caught;
