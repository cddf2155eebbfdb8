//! The suite as plain tests, on the reference backend.

polywire_conformance::suite!(polywire_conformance::MemoryBackend);
