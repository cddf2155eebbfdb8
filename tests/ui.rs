//! Compile errors of `#[service]` for traits that cannot be services.

#![cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]

#[test]
fn refusals_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
