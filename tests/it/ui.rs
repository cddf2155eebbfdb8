//! Compile errors of `#[service]` and `#[derive(Fault)]`: each case in `tests/ui` fails to compile
//! with the text of its `.stderr` file.
//!
//! The compiler runs alone, on the library that cargo has built for this test program: a build for
//! the cases would take minutes. After a change of the texts,
//! `POLYWIRE_UI=write cargo test --features full --test it ui` writes the files.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};
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
                    wrong.lock().unwrap().extend(difference(&case, library));
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
        fs::write(&file, stable(&errors)).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if output.status.success() {
        return Some(format!("{} compiles", case.display()));
    }
    if normalized(&errors) == normalized(&expected) {
        return None;
    }
    Some(format!("{}: expected:\n{expected}\nfound:\n{errors}", case.display()))
}

/// Returns the library that this test program is linked to.
pub(super) fn library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(find_library);
    &LIBRARY
}

/// Finds the newest library with which a service compiles. Cargo keeps a library for each set of
/// features in one folder.
fn find_library() -> PathBuf {
    let probe = folder().join("ui-probe.rs");
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
    library.unwrap_or_else(|| panic!("no library of polywire beside this test program fits it"))
}

fn compile(file: &Path, library: &Path) -> Output {
    let mut command = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
    command.current_dir(root()).arg(file);
    command.args(["--edition", "2024", "--emit", "metadata", "--color", "never"]);
    command.args(["--diagnostic-width", "140", "-A", "dead_code"]);
    command.arg("--out-dir").arg(folder());
    command.arg("--extern").arg(format!("polywire={}", library.display()));
    command.arg("-L").arg(format!("dependency={}", dependencies().display()));
    command.output().unwrap()
}

/// Returns the folder for files of the compiler, once no other process uses it.
///
/// The folder is the same for each build of this program, and for processes that run one test each.
/// The lock ends with the process.
pub(super) fn folder() -> &'static Path {
    static LOCK: LazyLock<File> = LazyLock::new(|| {
        let lock = File::create(Path::new(FOLDER).join("compiler.lock")).unwrap();
        lock.lock().unwrap();
        lock
    });
    LazyLock::force(&LOCK);
    Path::new(FOLDER)
}

/// The folder that cargo has for the files of tests.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Returns the folder of this program, where cargo keeps all libraries.
pub(super) fn dependencies() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the errors without the parts that change with every edit of the library: names of its
/// files and line numbers in them; and without the lines that only count the errors.
fn stable(errors: &str) -> String {
    let mut is_in_library = false;
    let mut text = String::new();
    for line in errors.lines().filter(|line| !is_footer(line)) {
        if let Some((indent, place)) = line.split_once("--> ") {
            is_in_library = !place.starts_with("tests/ui/");
            if is_in_library {
                let folder = place.split_once("/src").map_or(place, |(folder, _)| folder);
                let _ = writeln!(text, "{indent}--> {folder}/src");
                continue;
            }
        }
        let number: String = line.chars().take_while(char::is_ascii_digit).collect();
        let kept = if is_in_library { " ".repeat(number.len()) } else { number.clone() };
        let _ = writeln!(text, "{kept}{}", &line[number.len()..]);
    }
    format!("{}\n", text.trim_end())
}

fn is_footer(line: &str) -> bool {
    ["error: aborting due to", "Some errors have detailed", "For more information about"]
        .iter()
        .any(|footer| line.starts_with(footer))
}

/// Returns the lines to compare. The indentation depends on the longest line number.
fn normalized(errors: &str) -> Vec<String> {
    stable(errors).lines().map(|line| line.trim().to_owned()).collect()
}
