//! The documents cite cases and files of tests that exist.

use std::path::Path;

use polywire_conformance::cases;

/// The documents that name a case or a test as the evidence of a promise.
const CITING: [(&str, &str); 6] = [
    ("README.md", include_str!("../../../README.md")),
    ("docs/conformance.md", include_str!("../../../docs/conformance.md")),
    ("docs/handlers.md", include_str!("../../../docs/handlers.md")),
    ("docs/reliability.md", include_str!("../../../docs/reliability.md")),
    ("docs/reliability-zmq.md", include_str!("../../../docs/reliability-zmq.md")),
    ("macros/src/service.md", include_str!("../../../macros/src/service.md")),
];

/// Returns the texts between backquotes.
fn quoted(document: &'static str) -> impl Iterator<Item = &'static str> {
    document.split('`').skip(1).step_by(2)
}

/// Returns whether a name matches a pattern, in which `*` and `…` stand for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, end)) = pattern.split_once(['*', '…']) else { return pattern == name };
    let ends =
        |rest: &str| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|at| matches(end, at)));
    name.strip_prefix(start).is_some_and(ends)
}

#[test]
fn cases_that_are_cited_exist() {
    let group = |id: &'static str| id.split_once('.').map(|(group, _)| group);
    let groups: Vec<_> = cases::ALL.iter().map(|case| group(case.id)).collect();
    for (file, document) in CITING {
        let cited =
            quoted(document).filter(|text| group(text).is_some() && groups.contains(&group(text)));
        let mut count = 0;
        for pattern in cited {
            let exists = cases::ALL.iter().any(|case| matches(pattern, case.id));
            assert!(exists, "{file} cites {pattern}, and there is no such case");
            count += 1;
        }
        assert!(count > 2, "{file} cites {count} cases");
    }
}

#[test]
fn files_of_tests_that_are_cited_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for (file, document) in CITING {
        let is_test = |text: &&str| text.contains("/tests/") && text.ends_with(".rs");
        for test in quoted(document).filter(is_test) {
            assert!(
                workspace.join(test).is_file(),
                "{file} cites {test}, and there is no such file"
            );
            count += 1;
        }
    }
    assert!(count > 20, "{count} files are cited");
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, is_match) in [
        ("a.b", "a.b", true),
        ("a.b", "a.bc", false),
        ("a.*", "a.bc", true),
        ("a.*x*", "a.bxc", true),
        ("a.*x*", "a.bc", false),
        ("a.b_…", "a.b_c", true),
        ("a.*c", "a.cb", false),
    ] {
        assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
    }
}
