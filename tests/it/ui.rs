//! Compile errors of `#[service]` and `#[derive(Fault)]`: each case in `tests/ui` fails to compile
//! with the text of its `.stderr` file.
//!
//! The compiler runs alone, on the library that cargo has built for this test program: a build for
//! the cases would take minutes. After a change of the texts,
//! `POLYWIRE_UI=write cargo test --features full --test it ui` writes the files.

#![cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

#[test]
fn refusals_say_what_to_write_instead() {
    let library = library();
    let cases = Mutex::new(cases());
    let next = || cases.lock().unwrap().pop();
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    wrong.lock().unwrap().extend(difference(&case, &library));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the cases, with paths as the compiler prints them.
fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("tests/ui")).unwrap();
    let names = files.map(|file| PathBuf::from(file.unwrap().file_name()));
    let cases = names.filter(|name| name.extension().is_some_and(|it| it == "rs"));
    let mut cases: Vec<_> = cases.map(|name| Path::new("tests/ui").join(name)).collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are cases");
    cases
}

/// Compiles a case, and describes the difference if the errors are not the expected ones.
fn difference(case: &Path, library: &Path) -> Option<String> {
    let output = compile(case, library);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let file = root().join(case).with_extension("stderr");
    if std::env::var_os("POLYWIRE_UI").is_some_and(|it| it == "write") {
        fs::write(&file, without_footer(&errors)).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if output.status.success() {
        return Some(format!("{} compiles", case.display()));
    }
    if normalized(&errors) == normalized(&expected) {
        return None;
    }
    let mut text = String::new();
    let _ = write!(text, "{}: expected:\n{expected}\nfound:\n{errors}", case.display());
    Some(text)
}

/// Finds the library that this test program is linked to: the newest one with which a service
/// compiles. Cargo keeps a library for each set of features in one folder.
fn library() -> PathBuf {
    let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui-probe.rs");
    let code = "#![allow(unused_imports)] use polywire::{Fault, Json, MessagePack, service};\n\
                #[service] trait Probe { async fn probe(&self) -> Result<(), Fault>; }\n\
                fn main() {}\n";
    fs::write(&probe, code).unwrap();
    let mut found: Vec<_> = fs::read_dir(dependencies())
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.starts_with("libpolywire-") && name.ends_with(".rlib")
        })
        .map(|file| (file.metadata().unwrap().modified().unwrap(), file.path()))
        .collect();
    found.sort();
    let mut libraries = found.into_iter().rev().map(|(_, library)| library);
    let library = libraries.find(|library| compile(&probe, library).status.success());
    library.expect("cargo has built the library that this program is linked to")
}

fn compile(file: &Path, library: &Path) -> Output {
    let mut command = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
    command.current_dir(root()).arg(file);
    command.args(["--edition", "2024", "--emit", "metadata", "--color", "never"]);
    command.args(["--diagnostic-width", "140", "-A", "dead_code"]);
    command.arg("--out-dir").arg(env!("CARGO_TARGET_TMPDIR"));
    command.arg("--extern").arg(format!("polywire={}", library.display()));
    command.arg("-L").arg(format!("dependency={}", dependencies().display()));
    command.output().unwrap()
}

/// Returns the folder of this program, where cargo keeps all libraries.
fn dependencies() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Removes the lines that only count the errors.
fn without_footer(errors: &str) -> String {
    let is_footer = |line: &&str| {
        ["error: aborting due to", "Some errors have detailed", "For more information about"]
            .iter()
            .any(|footer| line.starts_with(footer))
    };
    let lines: Vec<_> = errors.lines().filter(|line| !is_footer(line)).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

/// Leaves out indentation, and line numbers in files other than the case: they change with each
/// edit of those files.
fn normalized(errors: &str) -> Vec<String> {
    let mut is_elsewhere = false;
    without_footer(errors)
        .lines()
        .map(str::trim)
        .map(|line| {
            if let Some(place) = line.strip_prefix("--> ") {
                is_elsewhere = !place.starts_with("tests/ui/");
                let file = place.split(".rs:").next().unwrap_or(place).trim_end_matches(".rs");
                return if is_elsewhere { format!("--> {file}.rs") } else { line.to_owned() };
            }
            let is_numbered = line.starts_with(|c: char| c.is_ascii_digit());
            if is_elsewhere && is_numbered {
                return line.trim_start_matches(|c: char| c.is_ascii_digit()).trim().to_owned();
            }
            line.to_owned()
        })
        .collect()
}
