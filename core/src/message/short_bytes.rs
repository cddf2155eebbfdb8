//! Shared bytes of short texts and bodies, in one allocation.

use bytes::Bytes;

/// Copies bytes. Short bytes lie beside their counter, which `Bytes::copy_from_slice` allocates
/// when its bytes are first cloned.
pub(crate) fn copy_short(bytes: &[u8]) -> Bytes {
    match bytes.len() {
        0 => Bytes::new(),
        1..=23 => Short::<23>::copy(bytes),
        24..=55 => Short::<55>::copy(bytes),
        56..=119 => Short::<119>::copy(bytes),
        120..=247 => Short::<247>::copy(bytes),
        _ => Bytes::copy_from_slice(bytes),
    }
}

/// At most `N` bytes.
struct Short<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    fn copy(from: &[u8]) -> Bytes {
        let mut bytes = [0; N];
        bytes[..from.len()].copy_from_slice(from);
        let len = u8::try_from(from.len()).unwrap_or(u8::MAX);
        Bytes::from_owner(Self { len, bytes })
    }
}

impl<const N: usize> AsRef<[u8]> for Short<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_each_length_are_copied() {
        let all: Vec<u8> = (0..=255).cycle().take(300).collect();
        for len in 0..=300 {
            assert_eq!(copy_short(&all[..len]), all[..len]);
        }
    }
}
