//! Checks before a release. A check whose tool is missing counts as not run.
//!
//! `RELEASING.md` has the steps around these checks. The checks publish nothing, and build below
//! `target`.

use anyhow::{Result, bail};
use xshell::{Cmd, Shell, cmd};

/// The published crates, each after those that it depends on.
///
/// All other packages of the workspace are marked with `publish = false`.
const PUBLISHED: [&str; 9] = [
    "polywire-core",
    "polywire-codec",
    "polywire-macros",
    "polywire-zmq",
    "polywire-amqp",
    "polywire-dialects",
    "polywire-app",
    "polywire",
    "polywire-conformance",
];

/// The oldest compiler that `rust-version` promises.
///
/// The check of the oldest compiler repeats the version in its probe and in its command of
/// installation. A change of the version concerns all three places, and `rust-version`.
const OLDEST: &str = "1.93";

/// A check with the tool that it needs.
///
/// Checks run in the order of the list, and one that fails does not end the others.
struct ReleaseCheck {
    /// The subject of the check, as the output shows it.
    name: &'static str,
    /// A command that succeeds if the tool is installed.
    probe: &'static [&'static str],
    /// A command that installs the tool. Printed if the probe fails, and never run.
    install: &'static str,
    /// Runs the check in the root of the workspace. An error means that the check has failed.
    run: fn(&Shell) -> Result<Ran>,
}

/// A check without an error.
enum Ran {
    /// The check ran, and its tool found no error.
    Passed,
    /// There was nothing to check, for this reason.
    NotRun(&'static str),
}

/// All checks, in the order in which they run.
///
/// The last one needs cargo alone, so at least one check runs.
const CHECKS: [ReleaseCheck; 7] = [
    ReleaseCheck {
        name: "licenses, sources and duplicates of dependencies",
        probe: &["cargo", "deny", "--version"],
        install: "cargo install --locked cargo-deny",
        run: |shell| {
            let check = ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
            passed(&cmd!(shell, "cargo deny --workspace --all-features {check...}"))
        },
    },
    ReleaseCheck {
        name: "advisories for dependencies, from the database of RustSec",
        probe: &["cargo", "deny", "--version"],
        install: "cargo install --locked cargo-deny",
        run: |shell| passed(&cmd!(shell, "cargo deny --workspace --all-features check advisories")),
    },
    ReleaseCheck {
        name: "spelling",
        probe: &["typos", "--version"],
        install: "cargo install --locked typos-cli",
        run: |shell| passed(&cmd!(shell, "typos")),
    },
    ReleaseCheck {
        name: "the oldest compiler",
        probe: &["cargo", "+1.93", "--version"],
        install: "rustup toolchain install 1.93 --profile minimal",
        run: oldest_compiler,
    },
    ReleaseCheck {
        name: "the oldest versions of direct dependencies",
        probe: &["cargo", "+nightly", "--version"],
        install: "rustup toolchain install nightly --profile minimal",
        run: oldest_dependencies,
    },
    ReleaseCheck {
        name: "semantic versions",
        probe: &["cargo", "semver-checks", "--version"],
        install: "cargo install --locked cargo-semver-checks",
        run: semantic_versions,
    },
    ReleaseCheck {
        name: "packages as they would be published",
        probe: &["cargo", "--version"],
        install: "rustup",
        run: |shell| {
            let packages = selection();
            passed(&cmd!(shell, "cargo publish --dry-run --locked {packages...}"))
        },
    },
];

/// Runs every check whose tool is installed. Fails if a check fails; a check that was not run is
/// listed with its reason, or with the command that installs its tool.
///
/// A check that was not run does not fail the task, so a release needs a look at the list. The
/// output of the tools goes to the terminal.
///
/// # Errors
///
/// The names of the failed checks, after all checks have run.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let (mut failed, mut not_run) = (Vec::new(), Vec::new());
    for ReleaseCheck { name, probe, install, run } in CHECKS {
        let [program, arguments @ ..] = probe else { continue };
        let probe = cmd!(shell, "{program} {arguments...}").quiet().ignore_stdout().ignore_stderr();
        if probe.run().is_err() {
            not_run.push(format!("not run: {name}: install the tool with `{install}`"));
            continue;
        }
        println!("\n== {name}");
        match run(shell) {
            Ok(Ran::Passed) => {}
            Ok(Ran::NotRun(reason)) => not_run.push(format!("not run: {name}: {reason}")),
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(name);
            }
        }
    }
    println!("\n{} of {} checks ran", CHECKS.len() - not_run.len(), CHECKS.len());
    not_run.iter().for_each(|line| println!("{line}"));
    if failed.is_empty() { Ok(()) } else { bail!("not fit for a release: {}", failed.join(", ")) }
}

/// Returns the options that select the published crates.
fn selection() -> Vec<&'static str> {
    PUBLISHED.into_iter().flat_map(|package| ["--package", package]).collect()
}

/// Runs a command that fails if its check does.
fn passed(command: &Cmd<'_>) -> Result<Ran> {
    command.run()?;
    Ok(Ran::Passed)
}

/// Compares the published crates with those of the last release.
///
/// The last release is the highest tag that begins with `v`.
///
/// Tags are ordered as versions, so `v0.10.0` is higher than `v0.9.0`. Without such a tag, the
/// check is not run.
fn semantic_versions(shell: &Shell) -> Result<Ran> {
    let tags = cmd!(shell, "git tag --list v* --sort -version:refname").read()?;
    let Some(last) = tags.lines().next() else {
        return Ok(Ran::NotRun("there is no earlier release to compare with"));
    };
    let packages = selection();
    passed(&cmd!(shell, "cargo semver-checks --baseline-rev {last} {packages...}"))
}

/// Checks the published crates; the tools of the workspace may need a newer compiler.
///
/// The build lies in `target/oldest-compiler`. Tests and examples are not compiled.
fn oldest_compiler(shell: &Shell) -> Result<Ran> {
    let (toolchain, packages) = (format!("+{OLDEST}"), selection());
    let target = ["--target-dir", "target/oldest-compiler"];
    passed(&cmd!(
        shell,
        "cargo {toolchain} check --locked --all-features {packages...} {target...}"
    ))
}

/// Checks a copy of the workspace whose lock file has the oldest versions that manifests allow.
///
/// The copy lies in `target`, so that the lock file of the workspace stays as it is.
///
/// Cargo of the nightly toolchain picks the versions, and the current toolchain compiles them. Only
/// direct dependencies get their oldest versions.
///
/// All files that Git tracks or does not ignore are copied with their current content, so
/// uncommitted changes count. The copy is made anew each time and stays until the next check. The
/// build lies in `target/oldest`.
///
/// # Errors
///
/// If a version does not compile, or if two requirements cannot be met together.
fn oldest_dependencies(shell: &Shell) -> Result<Ran> {
    let copy = shell.current_dir().join("target/oldest-dependencies");
    shell.remove_path(&copy)?;
    shell.create_dir(&copy)?;
    let (source, target) = (shell.current_dir(), shell.current_dir().join("target/oldest"));
    let files = cmd!(shell, "git ls-files --cached --others --exclude-standard").read()?;
    for file in files.lines().filter(|file| source.join(file).is_file()) {
        shell.copy_file(source.join(file), copy.join(file)).or_else(|_| {
            let folder = copy.join(file);
            shell.create_dir(folder.parent().unwrap_or(&copy))?;
            shell.copy_file(source.join(file), copy.join(file))
        })?;
    }
    let _there = shell.push_dir(&copy);
    cmd!(shell, "cargo +nightly update -Zdirect-minimal-versions").run()?;
    let packages = selection();
    passed(&cmd!(shell, "cargo check --all-features {packages...} --target-dir {target}"))
}
