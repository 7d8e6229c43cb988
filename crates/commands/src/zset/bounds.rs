//! Ranges as arguments write them, and scored members as replies show them.

use slotward_keyspace::{Item, Key, LexBound, ScoreBound};
use slotward_resp::{Protocol, Reply};

use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::list::reply_item;
use crate::number::parse_double;

/// A bound of scores: a number, after `(` if it is itself outside.
pub(super) fn score_bound(text: &[u8]) -> Result<ScoreBound, CmdError> {
    let (exclusive, number) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Redis reads no digits at all as zero here.
    let value = if number.is_empty() { Some(0.0) } else { parse_double(number) };
    value.map(|value| ScoreBound { value, exclusive }).ok_or(CmdError::MinMaxNotAFloat)
}

/// A bound of texts: `-`, `+`, or a text after `[` or `(`.
pub(crate) fn lex_bound(text: &[u8]) -> Result<LexBound<'_>, CmdError> {
    match text {
        b"-" => Ok(LexBound::Min),
        b"+" => Ok(LexBound::Max),
        [b'[', rest @ ..] => Ok(LexBound::Inclusive(rest)),
        [b'(', rest @ ..] => Ok(LexBound::Exclusive(rest)),
        _ => Err(CmdError::MinMaxNotLex),
    }
}

/// Writes the header of an array of members: with scores it is one of pairs in RESP3, flat in RESP2.
pub(super) fn members_header(reply: &mut Reply, len: usize, with_scores: bool) {
    let flat = with_scores && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { len * 2 } else { len });
}

/// Writes one member of such an array.
pub(super) fn member(reply: &mut Reply, item: Item<'_>, score: f64, with_scores: bool) {
    if with_scores && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply_item(reply, item);
    if with_scores {
        reply.double(score);
    }
}

/// Removes a key whose sorted set has become empty.
pub(super) fn drop_if(call: &mut Call<'_>, key: &Key<'_>, emptied: bool) {
    if emptied {
        call.db.remove_if_empty(key);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_scores() {
        let bound = |value, exclusive| Ok(ScoreBound { value, exclusive });
        for (why, text, want) in [
            ("a number", "1.5", bound(1.5, false)),
            ("excluded", "(2", bound(2.0, true)),
            ("all below", "-inf", bound(f64::NEG_INFINITY, false)),
            ("all above", "+inf", bound(f64::INFINITY, false)),
            ("nothing is zero", "(", bound(0.0, true)),
            ("no number", "x", Err(CmdError::MinMaxNotAFloat)),
            ("not a number", "nan", Err(CmdError::MinMaxNotAFloat)),
        ] {
            assert_eq!(score_bound(text.as_bytes()), want, "{why}");
        }
    }

    #[test]
    fn bounds_of_texts() {
        for (why, text, want) in [
            ("first", "-", Ok(LexBound::Min)),
            ("last", "+", Ok(LexBound::Max)),
            ("included", "[a", Ok(LexBound::Inclusive(b"a"))),
            ("excluded", "(", Ok(LexBound::Exclusive(b""))),
            ("no mark", "a", Err(CmdError::MinMaxNotLex)),
            ("more after a sign", "-a", Err(CmdError::MinMaxNotLex)),
            ("nothing", "", Err(CmdError::MinMaxNotLex)),
        ] {
            assert_eq!(lex_bound(text.as_bytes()), want, "{why}");
        }
    }
}
