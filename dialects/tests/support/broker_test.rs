//! Tests on the broker of `cargo xtask test`.

use std::future::Future;
use std::time::Duration;

use libtest_mimic::{Completion, Trial};
use tokio::time::timeout;

use crate::patience::PATIENCE;
use crate::python::INSTALLATION_MAX;

/// Time limit of a test, which may have to install its peer first.
const TEST_MAX: Duration = INSTALLATION_MAX.saturating_add(PATIENCE).saturating_add(PATIENCE);

/// A test on the shared broker, whose URL it gets.
pub(crate) fn broker<F: Future<Output = ()> + 'static>(name: &str, test: fn(String) -> F) -> Trial {
    Trial::ignorable_test(name, move || {
        let Ok(url) = std::env::var("POLYWIRE_AMQP_URL") else {
            return Ok(Completion::ignored_with("no broker; `cargo xtask test` starts one"));
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { timeout(TEST_MAX, test(url)).await.expect("the test ends") });
        Ok(Completion::Completed)
    })
}
