//! The start of a backend: a crate that compiles, with a transport that supports nothing yet and
//! the conformance suite on it.
//!
//! The files are those of the example `template` of the suite, under another name. So the checks of
//! the workspace compile them, and a test runs the suite on them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use xshell::Shell;

/// Options of `cargo xtask new-backend`.
#[derive(Args, Debug)]
pub(crate) struct NewBackendOptions {
    /// Name of the crate, such as polywire-nats: lower-case letters, digits and dashes.
    name: String,
    /// Folder of the crate, which must not exist. The default is the name, in the current folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// The transport of the example, and its suite.
const TRANSPORT: &str = include_str!("../../conformance-tests/examples/template/transport.rs");
const SUITE: &str = include_str!("../../conformance-tests/examples/template/main.rs");

/// Writes the crate.
///
/// # Errors
///
/// If the name is not one of a crate, or the folder exists or cannot be written.
pub(crate) fn run(shell: &Shell, options: &NewBackendOptions) -> Result<()> {
    let NewBackendOptions { name, folder } = options;
    check_name(name)?;
    let folder = std::env::current_dir()?.join(folder.as_deref().unwrap_or(name.as_ref()));
    ensure!(!folder.exists(), "cannot make a backend in {}: it exists", folder.display());
    let root = fs::canonicalize(shell.current_dir())?;
    for (file, text) in files(name, &root.display().to_string()) {
        let path = folder.join(file);
        let parent = path.parent().context("a file is in a folder")?;
        fs::create_dir_all(parent)?;
        fs::write(path, text)?;
    }
    println!(
        "wrote {}; run the suite there by: cargo test --test conformance\n\
         The cases of the minimum set fail until requester and responder are written. The guide is \
         docs/backends.md",
        folder.display()
    );
    Ok(())
}

/// Fails unless the text is the name of a crate.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(is_plain)
            && !name.ends_with('-'),
        "cannot make a backend {name}: a name has lower-case letters, digits and dashes"
    );
    Ok(())
}

/// Returns the files of a crate by their paths in it. `root` is the folder of the workspace.
fn files(name: &str, root: &str) -> [(&'static str, String); 3] {
    let (library, type_name) = (name.replace('-', "_"), camel_case(name));
    let renamed = |text: &str| text.replace("Template", &type_name).replace("template", name);
    let suite = SUITE
        .lines()
        // The module of the example is the library here.
        .filter(|line| !line.starts_with("#[allow(unreachable_pub") && *line != "mod transport;")
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace("\n\n\n", "\n\n")
        .replace("use self::transport::Template;", &format!("use {library}::Template;"));
    let manifest = format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

# A workspace of its own, wherever the folder is.
[workspace]

[dependencies]
polywire-core = {{ version = "0.1", path = "{root}/core" }}

[dev-dependencies]
polywire-conformance = {{ version = "0.1", path = "{root}/conformance-tests" }}

# The suite has a main function of its own.
[[test]]
name = "conformance"
harness = false
"#
    );
    [
        ("Cargo.toml", manifest),
        ("src/lib.rs", renamed(TRANSPORT)),
        // The name of the library first, which is not the text of a name.
        ("tests/conformance.rs", renamed(&suite)),
    ]
}

/// Returns the name of the type: `PolywireNats` for `polywire-nats`.
fn camel_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_has_its_names_and_no_other() {
        let files = files("polywire-nats", "/checkout");
        let [(_, manifest), (_, library), (_, suite)] = &files;
        assert!(manifest.contains("name = \"polywire-nats\""), "{manifest}");
        assert!(manifest.contains("path = \"/checkout/core\""), "{manifest}");
        assert!(library.contains("impl Transport for PolywireNats {"), "{library}");
        assert!(suite.contains("use polywire_nats::PolywireNats;"), "{suite}");
        assert!(suite.contains("\"polywire-nats\".to_owned()") && !suite.contains("mod transport"));
        for (path, text) in &files {
            assert!(!text.to_lowercase().contains("template"), "{path}: {text}");
        }
    }

    #[test]
    fn names_of_crates_are_checked() {
        assert!(check_name("polywire-nats2").is_ok());
        for name in ["", "Nats", "2nats", "na ts", "nats-", "../nats"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
