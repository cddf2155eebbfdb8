//! Extremes of settings, and the list of settings from `docs/public-api.txt`.

#![allow(dead_code, reason = "each crate that shares the file uses a part of it")]

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

/// A value at the edge of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    Zero,
    /// One, or one nanosecond.
    One,
    Most,
}

use Extreme::{Most, One, Zero};

impl Extreme {
    pub(crate) fn time(self) -> Duration {
        self.of(Duration::ZERO, Duration::from_nanos(1), Duration::MAX)
    }

    pub(crate) fn usize(self) -> usize {
        self.of(0, 1, usize::MAX)
    }

    pub(crate) fn u64(self) -> u64 {
        self.of(0, 1, u64::MAX)
    }

    pub(crate) fn u32(self) -> u32 {
        self.of(0, 1, u32::MAX)
    }

    pub(crate) fn u8(self) -> u8 {
        self.of(0, 1, u8::MAX)
    }

    fn of<T>(self, zero: T, one: T, most: T) -> T {
        match self {
            Zero => zero,
            One => one,
            Most => most,
        }
    }
}

/// A use of a setting. An error is the reason why the setting neither works nor is refused.
pub(crate) type Use = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The name of a setting as in the list of the public surface, and its use.
pub(crate) type Row = (&'static str, Box<dyn Fn(Extreme) -> Use>);

pub(crate) fn row<F: Future<Output = Result<(), String>> + 'static>(
    name: &'static str,
    try_out: impl Fn(Extreme) -> F + 'static,
) -> Row {
    (name, Box::new(move |extreme| Box::pin(try_out(extreme))))
}

/// Tries each setting at each extreme. A panic, an error and a use without an end are failures.
pub(crate) async fn try_all(rows: &[Row], patience: Duration) {
    let mut failures = Vec::new();
    for (name, try_out) in rows {
        for extreme in [Zero, One, Most] {
            let tried = AssertUnwindSafe(async { timeout(patience, try_out(extreme)).await });
            let failure = match tried.catch_unwind().await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => error,
                Ok(Err(_)) => "does not end".to_owned(),
                Err(panic) => format!("panics: {}", text(&*panic)),
            };
            failures.push(format!("{name} at {extreme:?}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

/// Checks that each setting of a crate has a row. A setting is a function with a number or a
/// duration among its parameters, or a field of that type in one of `structs`. `others` are those
/// that are no settings.
pub(crate) fn check_complete(krate: &str, structs: &[&str], others: &[&str], rows: &[Row]) {
    let listed = include_str!("../../../../docs/public-api.txt").lines().filter_map(|line| {
        let (name, declaration) = line.strip_prefix(krate)?.strip_prefix("::")?.split_once(": ")?;
        let parameters = match declaration.split_once("fn ") {
            Some((_, function)) => function.split(" -> ").next()?.split_once('(')?.1,
            None if structs.iter().any(|of| name.split_once('.').is_some_and(|it| it.0 == *of)) => {
                declaration
            }
            None => return None,
        };
        let parameters = parameters.replace("[u8]", "").replace("[u8; 32]", "");
        let is_number = |word| NUMBERS.contains(&word);
        parameters.split(|char: char| !char.is_alphanumeric()).any(is_number).then_some(name)
    });
    let missing: Vec<_> = listed
        .filter(|name| !others.contains(name) && !rows.iter().any(|(row, _)| row == name))
        .collect();
    assert!(missing.is_empty(), "settings without a row: {missing:#?}");
}

const NUMBERS: [&str; 7] = ["Duration", "usize", "u64", "u32", "u16", "u8", "f64"];

/// Takes any outcome: the setting limits something that may be refused.
pub(crate) fn any<T, E>(_: Result<T, E>) -> Result<(), String> {
    Ok(())
}

/// Takes only success.
pub(crate) fn good<T, E: Debug>(outcome: Result<T, E>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| format!("{error:?}"))
}

/// Takes success, and for a value that is not large the error of this `kind`: the value is too
/// little for the use, and its own limit says so.
pub(crate) fn good_or_too_little<T, E: Debug>(
    extreme: Extreme,
    outcome: Result<T, E>,
    kind: &str,
) -> Result<(), String> {
    match outcome {
        Err(error) if extreme != Most && format!("{error:?}").contains(kind) => Ok(()),
        outcome => good(outcome),
    }
}

/// Takes only success if the value is large: no time, or room for nothing, may be too little.
pub(crate) fn good_if_most<T, E: Debug>(
    extreme: Extreme,
    outcome: Result<T, E>,
) -> Result<(), String> {
    if extreme == Most { good(outcome) } else { any(outcome) }
}
