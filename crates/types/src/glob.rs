//! The glob patterns of `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` and `CONFIG GET`.
//!
//! `*` stands for any bytes, `?` for one byte, `[a-c]` and `[^a-c]` for one byte of (or not of) a
//! class, and a backslash takes the next byte literally. Every token but `*` takes exactly one
//! byte, so going back to the *last* star is always enough: the work is at most pattern × text,
//! never exponential.

/// Beyond this many steps a pattern counts as not matching: a client must not be able to stop a
/// worker with a long pattern and a long key.
const STEPS_MAX: u64 = 1 << 24;

/// Whether `text` matches `pattern`.
pub fn glob_match(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, |byte| byte)
}

/// Like [`glob_match`], but ASCII letters match in either case.
pub fn glob_match_nocase(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn matches(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: the pattern behind it, and the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    for _ in 0..STEPS_MAX {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if p < pattern.len()
            && let Some(taken) = one_byte(&pattern[p..], text[t], fold)
        {
            p += taken;
            t += 1;
            continue;
        }
        let Some((after_star, from)) = star else { return false };
        star = Some((after_star, from + 1));
        (p, t) = (after_star, from + 1);
    }
    false
}

/// Matches one byte against the token at the start of `pattern` (which is not empty, and no star):
/// the length of the token, or `None` if the byte does not match.
fn one_byte(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let same = |a: u8| fold(a) == fold(byte);
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (hit, taken) = class_contains(class, byte, fold);
            hit.then_some(1 + taken)
        }
        [b'\\', literal, ..] => same(*literal).then_some(2),
        [literal, ..] => same(*literal).then_some(1),
        [] => None,
    }
}

/// Whether the class (given from behind its `[`) contains the byte, and how long it is up to and
/// including its `]`. A class that is never closed ends with the pattern.
fn class_contains(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => return (found != negated, at),
            [b']', ..] => return (found != negated, at + 1),
            [b'\\', literal, ..] => {
                // Inside a class an escaped byte is compared as it is, in either mode.
                found |= *literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                let (low, high) = (fold(*from).min(fold(*to)), fold(*from).max(fold(*to)));
                found |= (low..=high).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_redis_users_expect() {
        for (why, pattern, text, want) in [
            ("literal", "hello", "hello", true),
            ("literal is not a prefix", "hell", "hello", false),
            ("one byte", "h?llo", "hallo", true),
            ("question mark needs a byte", "hello?", "hello", false),
            ("star takes nothing", "h*llo", "hllo", true),
            ("star takes many", "h*llo", "heeeello", true),
            ("star at the end", "user:*", "user:", true),
            ("star alone", "*", "", true),
            ("two stars", "*a*b", "xxaxxb", true),
            ("two stars, wrong end", "*a*b", "xxaxxbc", false),
            ("class", "h[ae]llo", "hallo", true),
            ("class misses", "h[ae]llo", "hillo", false),
            ("negated class", "h[^e]llo", "hallo", true),
            ("negated class misses", "h[^e]llo", "hello", false),
            ("range", "h[a-c]llo", "hbllo", true),
            ("range backwards", "h[c-a]llo", "hbllo", true),
            ("escaped star", "a\\*c", "a*c", true),
            ("escaped star is no star", "a\\*c", "abc", false),
            ("escaped bracket in a class", "a[\\]]c", "a]c", true),
            ("empty class matches nothing", "a[]c", "abc", false),
            ("negated empty class matches anything", "a[^]c", "abc", true),
            ("class never closed", "a[bc", "ab", true),
            ("backslash at the end is itself", "a\\", "a\\", true),
            ("case counts", "ABC", "abc", false),
            ("empty pattern", "", "a", false),
            ("both empty", "", "", true),
        ] {
            assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes()), want, "{why}");
        }
        assert!(glob_match_nocase(b"MAX*[M-N]ory", b"maxmemory"));
    }

    #[test]
    fn hostile_pattern_ends() {
        let text = vec![b'a'; 1 << 12];
        let pattern = [b"*a".repeat(40), b"b".to_vec()].concat();
        assert!(!glob_match(&pattern, &text));
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = glob_match(&pattern, &text);
            let _ = glob_match_nocase(&pattern, &text);
        }

        #[test]
        fn escaped_text_matches_itself(text: Vec<u8>) {
            let escaped: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(glob_match(&escaped, &text));
        }
    }
}
