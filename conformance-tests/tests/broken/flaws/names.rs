//! Flaws of long names.

use polywire_core::{Address, Error, ErrorKind, Result};

use crate::flaw::Flaw;

/// Cuts each name after 150 bytes.
#[derive(Clone)]
pub(crate) struct CutsNames;

impl Flaw for CutsNames {
    fn name(&self, name: &Address) -> Result<Address> {
        let end = (0..=name.as_str().len().min(150)).rev();
        let cut = end.into_iter().find_map(|end| name.as_str().get(..end)).unwrap_or_default();
        Address::new(cut)
    }
}

/// Refuses a name with no room for three bytes in place of each, as a percent-encoding has.
#[derive(Clone)]
pub(crate) struct EncodesNames;

impl Flaw for EncodesNames {
    fn name(&self, name: &Address) -> Result<Address> {
        let encoded: usize = name.as_bytes().iter().map(|b| if b.is_ascii() { 1 } else { 3 }).sum();
        if encoded > 255 {
            return Err(Error::new(ErrorKind::Config, "the encoded name is too long"));
        }
        Ok(name.clone())
    }
}
