//! The check that a case catches a flaw.

use polywire_conformance::{Case, CaseOutcome, Suite, cases};

use crate::backend::BrokenBackend;
use crate::flaw::Flaw;

/// Runs a case on a backend without a flaw, where it must pass, and on one with a flaw. There it
/// must fail, with a sentence that holds `sentence`. An empty `sentence` panics, because any
/// failure holds it.
pub(crate) async fn catches(
    sound: BrokenBackend<impl Flaw>,
    broken: BrokenBackend<impl Flaw>,
    id: &str,
    sentence: &str,
) {
    assert!(!sentence.is_empty(), "a flaw names the sentence by which its case fails");
    let case: &Case = cases::ALL.iter().find(|case| case.id == id).unwrap();
    let sound = Suite::of(sound).run_case(case).await;
    assert!(sound.outcome.is_passed(), "without a flaw, the outcome is {:?}", sound.outcome);
    let broken = Suite::of(broken).run_case(case).await;
    let CaseOutcome::Failed(said) = broken.outcome else {
        panic!("the case does not catch the flaw: {:?}", broken.outcome)
    };
    assert!(said.contains(sentence), "the case fails with another sentence: {said}");
}

/// Makes a test of each flaw, and the list `CAUGHT` of the cases that catch one.
///
/// The clock is paused, so that a wait without an end costs no time. Under a load, a paused clock
/// advances only if operations take time: flaws after `@slow` are on a network with latency. Flaws
/// after `@live` run on a real clock.
macro_rules! caught {
    (
        $($name:ident: $flaw:expr, $case:literal, $sentence:literal;)*
        $(@slow $slow:ident: $slow_flaw:expr, $slow_case:literal, $slow_sentence:literal;)*
        $(@live $live:ident: $live_flaw:expr, $live_case:literal, $live_sentence:literal;)*
    ) => {
        pub(crate) const CAUGHT: &[&str] = &[$($case,)* $($slow_case,)* $($live_case,)*];

        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            use $crate::{backend::BrokenBackend, flaw::Sound};
            let (sound, broken) = (BrokenBackend::new(Sound), BrokenBackend::new($flaw));
            $crate::caught::catches(sound, broken, $case, $sentence).await;
        })*

        $(#[tokio::test(start_paused = true)]
        async fn $slow() {
            use $crate::{backend::BrokenBackend, flaw::Sound};
            let (sound, broken) = (BrokenBackend::slow(Sound), BrokenBackend::slow($slow_flaw));
            $crate::caught::catches(sound, broken, $slow_case, $slow_sentence).await;
        })*

        $(#[tokio::test]
        async fn $live() {
            use $crate::{backend::BrokenBackend, flaw::Sound};
            let (sound, broken) = (BrokenBackend::new(Sound), BrokenBackend::new($live_flaw));
            $crate::caught::catches(sound, broken, $live_case, $live_sentence).await;
        })*
    };
}
pub(crate) use caught;
