//! No code: the manifest selects features of third-party crates.
