//! Commands that wait for a key, as their handlers say it.
//!
//! A handler never waits. If it finds nothing, it writes the reply of somebody who cannot wait (in a
//! transaction, in a script) and says with [`Call::wait_for`] what it would wait for. Where the
//! client can wait, the server takes that reply back, and runs the same handler again, with the same
//! arguments, as soon as one of the keys holds what is wanted; in the order in which clients came,
//! under the lock of the slot in which the key changed, before anybody else sees it. If the time
//! runs out first, the client gets a null array.
//!
//! When the handler runs again, only slots of keys that may be ready are held, and those of keys
//! that it does not wait for ([`Call::is_held`] tells). What it changes, it propagates in the form
//! that does not wait.

use std::ops::Range;

use slotward_keyspace::{Key, Kind, Wanted};
use slotward_resp::OwnedArgs;
use slotward_types::UnixMillis;

use crate::call::Call;
use crate::error::CmdError;
use crate::number::{parse_double, parse_integer};

/// What a call that found nothing waits for.
#[derive(Debug, Clone)]
pub struct WaitFor {
    /// Which arguments are the keys.
    pub keys: Range<usize>,
    /// What a key has to hold.
    pub wanted: Wanted,
    /// When to give up; `None` is never.
    pub until: Option<UnixMillis>,
    /// What to run then instead of the command as it came (`XREAD` from the end that the stream had
    /// when it was said). Its keys stand at the same places.
    pub again: Option<OwnedArgs>,
}

impl Call<'_> {
    /// The call found nothing: it is to be repeated when a key holds a value of this kind.
    pub(crate) fn wait_for(&mut self, keys: Range<usize>, kind: Kind, until: Option<UnixMillis>) {
        let wanted = Wanted::of(kind);
        self.effects.wait_for(WaitFor { keys, wanted, until, again: None });
    }

    /// Whether the key may be used: always, unless this is a repetition for a client that waits for
    /// several keys, of which others may be ready.
    #[inline]
    pub(crate) fn is_held(&self, key: &Key<'_>) -> bool {
        self.db.holds(key.slot)
    }

    /// When a timeout in seconds ends, fractions allowed; zero is never.
    ///
    /// # Errors
    /// When it is no number, negative, or too far away.
    pub(crate) fn timeout_seconds(&self, index: usize) -> Result<Option<UnixMillis>, CmdError> {
        let text = self.arg(index);
        let seconds = parse_double(text)
            .or_else(|| parse_hexadecimal(text))
            .ok_or(CmdError::text("ERR timeout is not a float or out of range"))?;
        let millis = (seconds * 1000.0).ceil();
        if millis >= i64::MAX as f64 {
            return Err(CmdError::text("ERR timeout is out of range"));
        }
        self.timeout_after(millis as i64)
    }

    /// When a timeout in milliseconds ends; zero is never.
    ///
    /// # Errors
    /// When it is no integer, negative, or too far away.
    pub(crate) fn timeout_millis(&self, index: usize) -> Result<Option<UnixMillis>, CmdError> {
        let millis = parse_integer(self.arg(index))
            .ok_or(CmdError::text("ERR timeout is not an integer or out of range"))?;
        self.timeout_after(millis)
    }

    fn timeout_after(&self, millis: i64) -> Result<Option<UnixMillis>, CmdError> {
        if millis < 0 {
            return Err(CmdError::text("ERR timeout is negative"));
        }
        if millis == 0 {
            return Ok(None);
        }
        let until = self.now().0.checked_add(millis);
        until
            .map(|until| Some(UnixMillis(until)))
            .ok_or(CmdError::text("ERR timeout is out of range"))
    }
}

/// Redis reads timeouts with `strtold`, which knows `0x…`.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"))?;
    let digits = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` takes a sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(|number| number as f64)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn timeouts_are_checked_before_anything_else() {
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run("SET s x");
        for (why, timeout, want) in [
            ("a fraction", "0.5", "(nil)"),
            ("less than a millisecond", "1e-9", "(nil)"),
            ("hexadecimal, as strtold reads it", "0x10", "(nil)"),
            ("rounds up to nothing, which is for ever", "-1e-9", "(nil)"),
            ("negative", "-1", "(error) ERR timeout is negative"),
            ("a word", "soon", "(error) ERR timeout is not a float or out of range"),
            ("no number", "nan", "(error) ERR timeout is not a float or out of range"),
            ("no hexadecimal number", "0x+1", "(error) ERR timeout is not a float or out of range"),
            ("infinite", "inf", "(error) ERR timeout is out of range"),
            (
                "too far in milliseconds",
                "9223372036854775807",
                "(error) ERR timeout is out of range",
            ),
            ("too far from now", "9223372036854775", "(error) ERR timeout is out of range"),
        ] {
            assert_eq!(node.run(&format!("BLPOP none {timeout}")), want, "{why}");
            let late = want.strip_prefix("(nil)").map_or(
                want,
                |_| "(error) WRONGTYPE Operation against a key holding the wrong kind of value",
            );
            assert_eq!(node.run(&format!("BLPOP s {timeout}")), late, "{why}");
        }
    }

    #[test]
    fn what_waits_is_propagated_as_what_does_not() {
        let lists = ["RPUSH {l}a 1 2 3 4 5 6 7", "BLPOP {l}x {l}a 0", "BRPOP {l}a 0"];
        let moves = ["BLMOVE {l}a {l}b LEFT RIGHT 0", "BRPOPLPUSH {l}a {l}b 0"];
        let sorted = ["ZADD z 1 a 2 b 3 c", "BZPOPMIN z 0", "BZPOPMAX z 0", "BZMPOP 0 1 z MAX"];
        let all = [&lists[..], &moves, &["BLMPOP 0 1 {l}a LEFT COUNT 2"], &sorted].concat();
        let want = [
            "RPUSH {l}a 1 2 3 4 5 6 7",
            "LPOP {l}a",
            "RPOP {l}a",
            "LMOVE {l}a {l}b LEFT RIGHT",
            "RPOPLPUSH {l}a {l}b",
            "LPOP {l}a 2",
            "ZADD z 1 a 2 b 3 c",
            "ZPOPMIN z",
            "ZPOPMAX z",
            "ZPOPMAX z 1",
        ];
        check_stream("each in its plain form", &all, &want);
        check_stream("nothing happened", &["BLPOP none 0", "BLMOVE none x LEFT LEFT 0"], &[]);
    }
}
