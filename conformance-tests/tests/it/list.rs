//! The list of cases is the approved one, in `conformance-tests/cases.txt`.

use std::path::Path;

use polywire_conformance::cases;

/// The variable that writes the list in place of comparing it.
const APPROVE: &str = "POLYWIRE_CONFORMANCE_APPROVE";

/// The list as the file has it: the version, then each case, with a mark for the minimum set.
fn listed() -> String {
    let line = |case: &polywire_conformance::Case| {
        format!("{}{}: {}\n", case.id, if case.minimum { " *" } else { "" }, case.about)
    };
    let lines: String = cases::ALL.iter().map(line).collect();
    format!("{}\n\n{lines}", cases::edition())
}

#[test]
fn list_of_cases_is_the_approved_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases.txt");
    if std::env::var_os(APPROVE).is_some() {
        std::fs::write(&file, listed()).unwrap();
    }
    let approved = std::fs::read_to_string(&file).unwrap_or_default();
    let (approved, listed): (Vec<_>, String) = (approved.lines().collect(), listed());
    let listed: Vec<_> = listed.lines().collect();
    let gone: Vec<_> = approved.iter().filter(|line| !listed.contains(line)).collect();
    let new: Vec<_> = listed.iter().filter(|line| !approved.contains(line)).collect();
    assert!(
        approved == listed,
        "the list of cases has changed: not in it any more {gone:#?}, new {new:#?}. Raise \
         cases::VERSION as its documentation says, and run this test with {APPROVE}=1"
    );
}
