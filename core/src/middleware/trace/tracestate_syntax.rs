//! Syntax of the header `tracestate`, by the W3C recommendation.

/// Returns whether `list` is a valid `tracestate`: up to 32 comma-separated pairs with different
/// keys. Pairs may be empty.
pub(super) fn is_valid(list: &str) -> bool {
    let members = || {
        list.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|it| !it.is_empty())
    };
    let keys: Vec<_> = members().take(MEMBERS_MAX + 1).filter_map(key_of).collect();
    keys.len() <= MEMBERS_MAX && keys.len() == members().count() && all_differ(&keys)
}

const MEMBERS_MAX: usize = 32;

/// Returns the key of a well-formed pair.
fn key_of(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    (is_key(key) && is_value(value)).then_some(key)
}

fn is_key(key: &str) -> bool {
    match key.split_once('@') {
        None => is_word(key, 256, u8::is_ascii_lowercase),
        Some((tenant, system)) => {
            is_word(tenant, 241, |first| first.is_ascii_lowercase() || first.is_ascii_digit())
                && is_word(system, 14, u8::is_ascii_lowercase)
        }
    }
}

fn is_word(word: &str, max: usize, may_begin: fn(&u8) -> bool) -> bool {
    let is_inner =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
    word.len() <= max
        && word.as_bytes().first().is_some_and(may_begin)
        && word.as_bytes().iter().all(is_inner)
}

fn is_value(value: &str) -> bool {
    let is_inner = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte);
    value.len() <= 256
        && value.as_bytes().last().is_some_and(|last| *last != b' ')
        && value.as_bytes().iter().all(is_inner)
}

fn all_differ(keys: &[&str]) -> bool {
    keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_recommendation_are_valid() {
        for list in [
            "",
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "foo=1 ,\tbar=2,, ",
            "0tenant@system=value with spaces",
            "a-b_c*d/e=!~",
        ] {
            assert!(is_valid(list), "{list}");
        }
        let many: Vec<_> = (0..32).map(|n| format!("k{n}={n}")).collect();
        assert!(is_valid(&many.join(",")));
    }

    #[test]
    fn other_lists_are_invalid() {
        for list in [
            "foo",
            "foo=",
            "=1",
            "Foo=1",
            "1foo=1",
            "foo=1,foo=2",
            "foo=a=b",
            "foo =1",
            "foo=\u{e9}",
            "foo@=1",
            "@bar=1",
            "foo@1bar=1",
            "foo@bar@baz=1",
            "foo=\x1f",
        ] {
            assert!(!is_valid(list), "{list}");
        }
        let many: Vec<_> = (0..33).map(|n| format!("k{n}={n}")).collect();
        assert!(!is_valid(&many.join(",")));
        assert!(!is_valid(&format!("{}=1", "k".repeat(257))));
        assert!(!is_valid(&format!("k={}", "1".repeat(257))));
        assert!(!is_valid(&format!("{}@system=1", "k".repeat(242))));
        assert!(!is_valid(&format!("tenant@{}=1", "s".repeat(15))));
    }
}
