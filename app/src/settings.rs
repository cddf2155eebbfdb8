//! Settings of a component: in the program, and from the environment.

mod duration;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod settings;
mod variables;

pub use self::settings::Settings;
