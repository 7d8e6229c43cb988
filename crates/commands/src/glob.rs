//! Glob patterns as Redis has them: `*`, `?`, `[a-z]`, `[^x]`, `\` before a literal byte.

/// Whether `pattern` matches all of `text`.
///
/// Every `*` is tried from the last one only, so the time is at most the product of both lengths:
/// what follows a later star can always make up for what an earlier one took.
pub fn glob_matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        let step = if p < pattern.len() { one(&pattern[p..], text[t], ignore_case) } else { None };
        match (step, star) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
}

/// If the first element of `pattern` matches `byte`, how long that element is.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    match pattern[0] {
        b'?' => Some(1),
        b'[' => class(pattern, fold(byte), fold),
        b'\\' if pattern.len() > 1 => (fold(pattern[1]) == fold(byte)).then_some(2),
        literal => (fold(literal) == fold(byte)).then_some(1),
    }
}

/// A class that is never closed reaches to the pattern's end.
fn class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut hit = false;
    while at < pattern.len() && pattern[at] != b']' {
        if pattern[at] == b'\\' && at + 1 < pattern.len() {
            hit |= fold(pattern[at + 1]) == byte;
            at += 2;
        } else if at + 2 < pattern.len() && pattern[at + 1] == b'-' {
            let (low, high) = (fold(pattern[at]), fold(pattern[at + 2]));
            hit |= (low.min(high)..=low.max(high)).contains(&byte);
            at += 3;
        } else {
            hit |= fold(pattern[at]) == byte;
            at += 1;
        }
    }
    (hit != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (why, pattern, text, want) in [
            ("literal", "abc", "abc", true),
            ("prefix is not enough", "abc", "abcd", false),
            ("star takes nothing", "a*", "a", true),
            ("star in the middle", "a*c", "abbbc", true),
            ("two stars", "*a*b", "xxaxxb", true),
            ("a star that must give back", "*ab", "aab", true),
            ("question mark takes one", "a?c", "ac", false),
            ("class", "h[ae]llo", "hello", true),
            ("range", "[a-c]x", "bx", true),
            ("range written backwards", "[c-a]x", "bx", true),
            ("negated class", "h[^e]llo", "hello", false),
            ("escaped star", "a\\*", "a*", true),
            ("escaped star is literal", "a\\*", "ab", false),
            ("open class", "[ab", "a", true),
            ("escape at the end is itself", "a\\", "a\\", true),
            ("empty against empty", "", "", true),
            ("star against empty", "*", "", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes(), false), want, "{why}");
        }
        assert!(glob_matches(b"HEL*", b"hello", true));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"*a".repeat(50);
        assert!(!glob_matches(&[&pattern[..], b"b"].concat(), &b"a".repeat(5000), false));
    }
}
