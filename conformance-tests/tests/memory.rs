//! The suite on the reference backend: `cargo test -p polywire-conformance --test memory`.

fn main() {
    polywire_conformance::main(|| {
        vec![polywire_conformance::Suite::of(polywire_conformance::MemoryBackend)]
    });
}
