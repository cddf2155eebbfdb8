//! The suite as plain tests: the macro [`suite!`](crate::suite!).

/// Makes a plain test of each case, for crates that want no test binary of the suite's own:
/// `calls::nested_methods_are_found` and so on, as `#[tokio::test]`.
///
/// The argument is a [`Backend`](crate::Backend). The crate needs a dev-dependency on tokio, with
/// its macros and its multi-threaded runtime.
///
/// A plain test can only pass or fail. A case that was not run therefore passes, and prints what is
/// missing to the standard output.
///
/// ```
/// // tests/conformance.rs
/// polywire_conformance::suite!(polywire_conformance::MemoryBackend);
/// ```
#[macro_export]
macro_rules! suite {
    ($backend:expr) => {
        fn suite() -> $crate::Suite {
            $crate::Suite::of($backend)
        }

        $crate::each_case!(tests_of_cases);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_cases {
    ($($group:ident { $($set:ident $name:ident $about:literal;)+ })+) => {
        $(mod $group {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::suite().assert(concat!(stringify!($group), ".", stringify!($name))).await;
            })+
        })+
    };
}
