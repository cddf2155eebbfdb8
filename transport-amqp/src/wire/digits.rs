//! Numbers as text, for the properties of each message: the formatter of the standard library takes
//! several times as long.

/// Appends a number in decimal digits.
pub(super) fn push_decimal(text: &mut String, mut number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a number in 16 hexadecimal digits.
pub(super) fn push_hexadecimal(text: &mut String, number: u64) {
    let digits: [u8; 16] =
        std::array::from_fn(|at| HEXADECIMAL[(number >> (60 - 4 * at)) as usize & 0xf]);
    text.push_str(std::str::from_utf8(&digits).unwrap_or_default());
}

/// Returns a number in decimal digits.
pub(super) fn decimal(number: u64) -> String {
    let mut text = String::with_capacity(DIGITS_MAX);
    push_decimal(&mut text, number);
    text
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_of_the_standard_library() {
        for number in [0, 1, 9, 10, 60_000, 1_764_380_000_000, u64::MAX] {
            assert_eq!(decimal(number), number.to_string());
            let mut text = String::new();
            push_hexadecimal(&mut text, number);
            assert_eq!(text, format!("{number:016x}"));
        }
    }
}
