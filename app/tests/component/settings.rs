//! Settings at the edges of their types: each works, or is refused by its name.

#[path = "../../../core/tests/it/settings/extremes.rs"]
mod extremes;

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component, Exit, Settings};

use self::extremes::{Extreme, check_complete, row, try_all};
use crate::shop::{PATIENCE, add, adder, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![alone extremes_of_each_setting_work_or_are_refused]
}

async fn extremes_of_each_setting_work_or_are_refused() {
    let rows = vec![
        row("Settings::grace", async |x| used(x, "grace", |it| it.grace(x.time())).await),
        row("Settings::start_wait", async |x| {
            used(x, "start_wait", |it| it.start_wait(x.time())).await
        }),
        row("Settings::canary", async |x| used(x, "canary", |it| it.canary(x.time())).await),
    ];
    try_all(&rows, PATIENCE).await;
    check_complete("polywire_app", &[], &[], &rows);
}

async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("adder", adder()).await?)
}

/// Starts a component with the setting, calls its service and stops it. An error is fine if it
/// names the setting, or if a small value leaves no time to start or to drain.
async fn used(
    x: Extreme,
    setting: &str,
    set: impl FnOnce(Settings) -> Settings,
) -> Result<(), String> {
    let url = memory_url();
    let app = App::new(set(Settings::new("adder").url(&url)), polywire::connect);
    let component = match app.start(setup).await {
        Ok(component) => component,
        Err(Exit::Config(error)) if error.detail("setting") == Some(setting) => return Ok(()),
        Err(Exit::Unreachable(_)) if x != Extreme::Most && setting == "start_wait" => return Ok(()),
        Err(exit) => return Err(format!("{exit:?}")),
    };
    let sum = add(&url, "adder").await.map_err(|error| error.to_string())?;
    match component.stop().await {
        Exit::Drained if sum == 5 => Ok(()),
        Exit::GraceExceeded { .. } if x != Extreme::Most && setting == "grace" => Ok(()),
        exit => Err(format!("the sum is {sum}, and the end {exit:?}")),
    }
}
