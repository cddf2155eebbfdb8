//! The guide names cases that exist, and the files of the example with their sizes.

use polywire_conformance::cases;

const GUIDE: &str = include_str!("../../../docs/backends.md");

/// The files of the TCP example. The first two are the backend itself.
const EXAMPLE: [(&str, &str); 5] = [
    ("transport.rs", include_str!("../../examples/tcp/transport.rs")),
    ("link.rs", include_str!("../../examples/tcp/link.rs")),
    ("wire.rs", include_str!("../../examples/tcp/wire.rs")),
    ("broker.rs", include_str!("../../examples/tcp/broker.rs")),
    ("main.rs", include_str!("../../examples/tcp/main.rs")),
];

#[test]
fn every_case_that_is_named_exists() {
    let group = |id: &'static str| id.split_once('.').map(|(group, _)| group);
    let groups: Vec<_> = cases::ALL.iter().map(|case| group(case.id)).collect();
    let quoted = GUIDE.split('`').skip(1).step_by(2);
    let named: Vec<_> =
        quoted.filter(|text| group(text).is_some() && groups.contains(&group(text))).collect();
    assert!(named.len() > 30, "only {named:?} are named");
    for name in named {
        assert!(cases::ALL.iter().any(|case| case.id == name), "there is no case {name}");
    }
}

#[test]
fn the_lines_of_the_example_are_counted() {
    let lines = EXAMPLE.map(|(_, content)| content.lines().count());
    for ((file, _), lines) in EXAMPLE.iter().zip(lines) {
        let row = format!("| `{file}` | {lines} |");
        assert!(GUIDE.contains(&row), "the guide does not say {row}");
    }
    let backend = lines[0] + lines[1];
    assert!(GUIDE.contains(&format!("{backend} lines")), "the backend itself has {backend} lines");
}

#[test]
fn the_list_of_what_people_forget_is_numbered() {
    let (_, list) = GUIDE.split_once("## What people forget").unwrap();
    let number = |line: &str| line.split_once(". ")?.0.parse::<usize>().ok();
    let numbers: Vec<_> = list.lines().filter_map(number).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
}
