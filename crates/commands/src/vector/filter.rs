//! Filter expressions: which elements of a vector set are wanted, by their attributes.
//!
//! `.year >= 1980 and .genre in ["action", "drama"]`: compiled once to steps for a stack, so neither
//! the parser nor the evaluation goes deeper with the expression. An element matches if the result
//! is true; one that lacks a field the expression names, or has none at all, does not.

use std::borrow::Cow;

use super::json;

/// Longest expression.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A value in an expression, or of an attribute. Truth values are 1 and 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'t> {
    Number(f64),
    Text(Cow<'t, [u8]>),
    Null,
    List(Vec<Value<'t>>),
    /// A list of the expression.
    Lent(&'t [Value<'t>]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Not,
}

/// How operators are written, those first that others begin with, and how tightly they bind.
const OPERATORS: &[(&str, Op, u8)] = &[
    ("or", Op::Or, 0),
    ("||", Op::Or, 0),
    ("and", Op::And, 1),
    ("&&", Op::And, 1),
    ("==", Op::Equal, 2),
    ("!=", Op::NotEqual, 2),
    ("<=", Op::LessOrEqual, 2),
    (">=", Op::GreaterOrEqual, 2),
    ("<", Op::Less, 2),
    (">", Op::Greater, 2),
    ("in", Op::In, 2),
    ("+", Op::Add, 3),
    ("-", Op::Subtract, 3),
    ("**", Op::Power, 5),
    ("*", Op::Multiply, 4),
    ("/", Op::Divide, 4),
    ("%", Op::Remainder, 4),
];
const NOT_BINDS: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Value(Value<'static>),
    Field(Box<[u8]>),
    Op(Op),
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    steps: Vec<Step>,
}

/// Where an expression is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError<'t> {
    /// What stands there.
    pub(super) near: &'t [u8],
}

impl Filter {
    /// Compiles an expression.
    pub(super) fn parse(text: &[u8]) -> Result<Filter, SyntaxError<'_>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SyntaxError { near: text });
        }
        Parser { text, at: 0, steps: Vec::new(), pending: Vec::new() }.parse()
    }

    /// Whether an element with these attributes is wanted.
    pub(super) fn accepts(&self, attributes: &[u8]) -> bool {
        let mut stack: Vec<Value<'_>> = Vec::new();
        for step in &self.steps {
            let value = match step {
                Step::Value(value) => value.lent(),
                Step::Field(name) => match json::field(attributes, name) {
                    Some(value) => value,
                    None => return false,
                },
                Step::Op(Op::Not) => {
                    let operand = stack.pop().expect("the parser counts operands");
                    truth(!operand.is_true())
                }
                Step::Op(op) => {
                    let right = stack.pop().expect("the parser counts operands");
                    let left = stack.pop().expect("the parser counts operands");
                    apply(*op, &left, &right)
                }
            };
            stack.push(value);
        }
        stack.pop().is_some_and(|result| result.is_true())
    }
}

fn truth(value: bool) -> Value<'static> {
    Value::Number(f64::from(u8::from(value)))
}

fn apply(op: Op, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    let (a, b) = (left.number(), right.number());
    match op {
        Op::Or => truth(left.is_true() || right.is_true()),
        Op::And => truth(left.is_true() && right.is_true()),
        Op::Equal => truth(left.equals(right)),
        Op::NotEqual => truth(!left.equals(right)),
        Op::Less => truth(a < b),
        Op::LessOrEqual => truth(a <= b),
        Op::Greater => truth(a > b),
        Op::GreaterOrEqual => truth(a >= b),
        Op::In => truth(left.is_in(right)),
        Op::Add => Value::Number(a + b),
        Op::Subtract => Value::Number(a - b),
        Op::Multiply => Value::Number(a * b),
        Op::Divide => Value::Number(a / b),
        Op::Remainder => Value::Number(a % b),
        Op::Power => Value::Number(a.powf(b)),
        Op::Not => unreachable!("a negation has one operand"),
    }
}

impl Value<'_> {
    fn lent(&self) -> Value<'_> {
        match self {
            Value::Number(number) => Value::Number(*number),
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Null => Value::Null,
            Value::List(items) => Value::Lent(items),
            Value::Lent(items) => Value::Lent(items),
        }
    }

    fn is_true(&self) -> bool {
        match self {
            Value::Number(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Null => false,
            Value::List(_) | Value::Lent(_) => true,
        }
    }

    /// The number that it is or writes, else 0.
    fn number(&self) -> f64 {
        match self {
            Value::Number(number) => *number,
            Value::Text(text) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                text.trim_start().parse().unwrap_or(0.0)
            }
            Value::Null | Value::List(_) | Value::Lent(_) => 0.0,
        }
    }

    /// The items, if it is a list.
    fn items(&self) -> Option<&[Value<'_>]> {
        match self {
            Value::List(items) => Some(items),
            Value::Lent(items) => Some(items),
            _ => None,
        }
    }

    fn equals(&self, other: &Value<'_>) -> bool {
        if let (Some(a), Some(b)) = (self.items(), other.items()) {
            return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b));
        }
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            _ => self.number() == other.number(),
        }
    }

    fn is_in(&self, other: &Value<'_>) -> bool {
        if let Some(items) = other.items() {
            return items.iter().any(|item| self.equals(item));
        }
        match (self, other) {
            (Value::Text(part), Value::Text(whole)) => memchr::memmem::find(whole, part).is_some(),
            _ => false,
        }
    }
}

/// What waits for its right operand, or for a closing parenthesis.
enum Pending {
    Op(Op, u8),
    Parenthesis,
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    steps: Vec<Step>,
    pending: Vec<Pending>,
}

impl<'t> Parser<'t> {
    fn parse(mut self) -> Result<Filter, SyntaxError<'t>> {
        let whole = SyntaxError { near: self.text };
        loop {
            self.operand()?;
            while self.takes(b")") {
                if !self.close() {
                    return Err(whole);
                }
            }
            if self.rest().is_empty() {
                break;
            }
            self.operator()?;
        }
        while let Some(pending) = self.pending.pop() {
            let Pending::Op(op, _) = pending else { return Err(whole) };
            self.steps.push(Step::Op(op));
        }
        Ok(Filter { steps: self.steps })
    }

    /// What is left, without leading blanks.
    fn rest(&mut self) -> &'t [u8] {
        let text = &self.text[self.at..];
        let rest = text.trim_ascii_start();
        self.at += text.len() - rest.len();
        rest
    }

    /// What stands here is wrong; the whole, if nothing does.
    fn error<T>(&self) -> Result<T, SyntaxError<'t>> {
        let rest = &self.text[self.at..];
        Err(SyntaxError { near: if rest.is_empty() { self.text } else { rest } })
    }

    fn takes(&mut self, word: &[u8]) -> bool {
        let rest = self.rest();
        if !rest.starts_with(word) {
            return false;
        }
        // A word ends where no letter follows.
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if is_letter(&word[0]) && rest.get(word.len()).is_some_and(is_letter) {
            return false;
        }
        self.at += word.len();
        true
    }

    /// An operand, with what stands before it.
    fn operand(&mut self) -> Result<(), SyntaxError<'t>> {
        loop {
            if self.takes(b"(") {
                self.pending.push(Pending::Parenthesis);
            } else if self.takes(b"not") || !self.rest().starts_with(b"!=") && self.takes(b"!") {
                self.pending.push(Pending::Op(Op::Not, NOT_BINDS));
            } else {
                break;
            }
        }
        let step = match self.rest() {
            [b'.', name @ ..] => {
                let is_part = |byte: &&u8| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | 0x80..)
                };
                let len = name.iter().take_while(is_part).count();
                if len == 0 {
                    return self.error();
                }
                self.at += 1 + len;
                Step::Field(name[..len].into())
            }
            [b'[', ..] => Step::Value(self.list()?),
            _ => Step::Value(self.literal()?),
        };
        self.steps.push(step);
        Ok(())
    }

    fn literal(&mut self) -> Result<Value<'static>, SyntaxError<'t>> {
        for (word, value) in [("null", Value::Null), ("true", truth(true)), ("false", truth(false))]
        {
            if self.takes(word.as_bytes()) {
                return Ok(value);
            }
        }
        match *self.rest() {
            [quote @ (b'"' | b'\''), ..] => self.quoted(quote),
            [b'0'..=b'9', ..] | [b'-', b'0'..=b'9' | b'.', ..] => self.number(),
            _ => self.error(),
        }
    }

    fn number(&mut self) -> Result<Value<'static>, SyntaxError<'t>> {
        let rest = self.rest();
        let mut len = 1;
        while let Some(byte) = rest.get(len) {
            let after_exponent = matches!(rest[len - 1], b'e' | b'E');
            match byte {
                b'0'..=b'9' | b'.' | b'e' | b'E' => len += 1,
                b'+' | b'-' if after_exponent => len += 1,
                _ => break,
            }
        }
        let number = std::str::from_utf8(&rest[..len]).ok().and_then(|text| text.parse().ok());
        let Some(number) = number else { return self.error() };
        self.at += len;
        Ok(Value::Number(number))
    }

    fn quoted(&mut self, quote: u8) -> Result<Value<'static>, SyntaxError<'t>> {
        let mut text = Vec::new();
        let mut rest = self.rest().iter().enumerate().skip(1);
        while let Some((index, byte)) = rest.next() {
            match *byte {
                byte if byte == quote => {
                    self.at += index + 1;
                    return Ok(Value::Text(Cow::Owned(text)));
                }
                b'\\' => match rest.next() {
                    Some((_, b'n')) => text.push(b'\n'),
                    Some((_, b't')) => text.push(b'\t'),
                    Some((_, b'r')) => text.push(b'\r'),
                    Some((_, other)) => text.push(*other),
                    None => break,
                },
                byte => text.push(byte),
            }
        }
        self.error()
    }

    /// A list of literals, with a comma between any two; one behind the last does no harm.
    fn list(&mut self) -> Result<Value<'static>, SyntaxError<'t>> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.takes(b"]") {
            items.push(self.literal()?);
            if !self.takes(b",") && !self.rest().starts_with(b"]") {
                return self.error();
            }
        }
        Ok(Value::List(items))
    }

    fn operator(&mut self) -> Result<(), SyntaxError<'t>> {
        let found = OPERATORS.iter().find(|(word, _, _)| self.takes(word.as_bytes()));
        let Some((_, op, binds)) = found else { return self.error() };
        while let Some(Pending::Op(before, tighter)) = self.pending.last() {
            // Powers go from the right: `2 ** 3 ** 2` is 512.
            if tighter < binds || tighter == binds && *op == Op::Power {
                break;
            }
            self.steps.push(Step::Op(*before));
            self.pending.pop();
        }
        self.pending.push(Pending::Op(*op, *binds));
        Ok(())
    }

    /// Ends what the last open parenthesis began; false if none is open.
    fn close(&mut self) -> bool {
        while let Some(pending) = self.pending.pop() {
            match pending {
                Pending::Op(op, _) => self.steps.push(Step::Op(op)),
                Pending::Parenthesis => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOVIE: &str = r#"{"year": 1980, "s": "abc", "t": true, "f": false, "n": null,
        "list": [1, "x", 2], "neg": -3.5, "o": {"year": 5}, "num": "12", "a-b": 7, "empty": ""}"#;

    fn check(expressions: &str, want: bool) {
        for expression in expressions.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let filter = Filter::parse(expression.as_bytes()).expect(expression);
            assert_eq!(filter.accepts(MOVIE.as_bytes()), want, "{expression}");
        }
    }

    #[test]
    fn what_is_true() {
        check(
            r#"
            .year == 1980
            .year==1980
            .year
            .s == "abc"
            .s == 'abc'
            .t
            .t == 1 and .t == true
            .f == 0
            not .f
            !.f
            not .n
            .n == null
            .n != 1
            .neg == -3.5
            .neg==-3.5
            -3.5 == .neg
            .year -1 == 1979
            .year - -1 == 1981
            (1)-1 == 0
            1--1 == 2
            2 ** 3 ** 2 == 512
            -2 ** 2 == 4
            !2 ** 0
            7.5 % 2 == 1.5
            -7 % 3 == -1
            1 / 0 > 5
            1 + 2 * 3 == 7
            (1 + 2) * 3 == 9
            1 + 1 in [2]
            .s in ["abc", "d"]
            "x" in .list
            1 in .list
            2 in .list and 1
            "bc" in .s
            "" in .s
            1 in ["1"]
            1 in [1,2,]
            .list
            [1, "x", 2] == .list
            .num == 12
            .num + 1 == 13
            "5" + 5 == 10
            " 12" == 12
            "a" == 0
            .year > "1979"
            1 == 1 == 1
            3 == 1 < 2
            1 or 1 and 0
            0 and 1 or 1
            not 1 or 1
            1&&1
            1==1and 2==2
            not(0)
            "a"in"abc"
            not not 1
            1e3 == 1000
            2e-1 == 0.2
            .a-b == 7
            'a"b' == "a\"b"
            .year >= 1980 and .year < 1990
            (.year - 2000) ** 2 < 1000 and .neg / 2 < 4
            ((((((((1))))))))"#,
            true,
        );
    }

    #[test]
    fn what_is_false() {
        check(
            r#"
            .s != "abc"
            .s > "abb"
            .n
            .n == 0
            .empty
            .missing
            not .missing
            .missing or 1
            1 or .missing
            .o
            not .o
            .year-1980 == 0
            2 ** 3 ** 2 == 64
            not 0 == 5
            0 / 0 == 0
            .s in ["x"]
            .s in []
            "z" in .s
            1 in 5
            3 in "123"
            .list == 1
            "12abc" == 12
            null == 0
            0 == null
            not (1 or 1)
            1 && 0
            0 or """#,
            false,
        );
    }

    #[test]
    fn what_is_no_expression() {
        for (expression, near) in [
            ("", ""),
            (" ", " "),
            ("bad ((", "bad (("),
            (".s == abc", "abc"),
            (".year = 1980", "= 1980"),
            ("(1", "(1"),
            ("1)", "1)"),
            ("1 +", "1 +"),
            ("+ 1", "+ 1"),
            ("- 1", "- 1"),
            ("not", "not"),
            ("1 not", "not"),
            ("1 1", "1"),
            ("()", ")"),
            (".", "."),
            (".o.year == 5", ".year == 5"),
            ("\"abc", "\"abc"),
            ("1 in [1", "1 in [1"),
            ("1 in [1 2]", "2]"),
            ("1 in [,]", ",]"),
            ("1 in [.year]", ".year]"),
            ("1.2.3", "1.2.3"),
            ("0x10", "x10"),
            ("1 & 1", "& 1"),
            ("1 android", "android"),
            ("1 ! = 2", "! = 2"),
        ] {
            let error = Filter::parse(expression.as_bytes()).expect_err(expression);
            assert_eq!(error.near, near.as_bytes(), "{expression}");
        }
        assert!(Filter::parse(&vec![b'1'; TEXT_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn without_attributes_nothing_has_a_value() {
        let filter = Filter::parse(b".a == 1").unwrap();
        assert!(filter.accepts(br#"{"a":1}"#));
        assert!(!filter.accepts(b"no object") && !filter.accepts(b""));
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{}1{}", "(".repeat(30_000), ")".repeat(30_000));
        assert!(Filter::parse(deep.as_bytes()).unwrap().accepts(b""));
        let negated = "!".repeat(60_000) + "1";
        assert!(Filter::parse(negated.as_bytes()).unwrap().accepts(b""));
    }

    proptest! {
        #[test]
        fn noise_never_panics(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "(", ")", "[", "]", ",", ".a", ".", "1", "-1", "\"x\"", "'", "\"", "not", "!", "and",
                    "or", "in", "**", "*", "-", "==", "!=", "<", " ", "null", "1e", "\\", "é",
                ]),
                0..20,
            ),
        ) {
            let text = parts.concat();
            if let Ok(filter) = Filter::parse(text.as_bytes()) {
                filter.accepts(br#"{"a":[1,"x"]}"#);
            }
        }
    }
}
