//! Rows of the family.

use super::{aggregate, grep, read, write};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const READ: Flags = Flags::READ;
const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(Flags::FAST);

const KEY: Arg = Arg::key("key");
const INDEX: Arg = Arg::integer("index");
const START: Arg = Arg::integer("start");
const END: Arg = Arg::integer("end");
const VALUES: Arg = Arg::string("value").multiple();

const PREDICATE: Arg = Arg::one_of(
    "predicate",
    &[
        Arg::string("exact").token("EXACT"),
        Arg::string("match").token("MATCH"),
        Arg::pattern("glob").token("GLOB"),
        Arg::string("re").token("RE"),
    ],
)
.multiple();

const GREP_OPTIONS: Arg = Arg::one_of(
    "options",
    &[
        Arg::word("and", "AND"),
        Arg::word("or", "OR"),
        Arg::integer("limit").token("LIMIT"),
        Arg::word("withvalues", "WITHVALUES"),
        Arg::word("nocase", "NOCASE"),
    ],
)
.multiple()
.optional();

const OPERATION: Arg = Arg::one_of(
    "operation",
    &[
        Arg::word("sum", "SUM"),
        Arg::word("min", "MIN"),
        Arg::word("max", "MAX"),
        Arg::word("and", "AND"),
        Arg::word("or", "OR"),
        Arg::word("xor", "XOR"),
        Arg::string("value").token("MATCH"),
        Arg::word("used", "USED"),
    ],
);

const ELEMENTS_IN_RANGE: &str = "O(N) with the number of elements in the range.";
const PER_VALUE: &str = "O(N) with the number of values.";

const fn array_command(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    run: fn(&mut Call<'_>) -> Result<(), CmdError>,
) -> Command {
    Command {
        name,
        arity,
        flags,
        group: Group::Array,
        keys: if flags.has(Flags::WRITE) { CHANGED } else { READ_ONLY },
        since: "8.8.0",
        run: Run::Data(run),
        ..Command::BLANK
    }
}

const READ_ONLY: &[Keys] = &[Keys::at(1, Access::READ)];
const CHANGED: &[Keys] = &[Keys::at(1, Access::CHANGE)];
const TRIMMED: &[Keys] = &[Keys::at(1, Access::TRIM)];

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        args: &[KEY, INDEX, VALUES],
        summary: "Sets neighbouring elements of an array and tells how many are new.",
        complexity: PER_VALUE,
        script: "> ARSET a 0 hello\n1\n> ARSET a 2 x y z\n3\n> ARSET a 2 1 2.50\n0\n> ARMGET a 0 1 2 3 4\n\
            1) hello\n2) (nil)\n3) 1\n4) 2.50\n5) z\n> ARSET a -1 x\n(error) ERR invalid array index\n\
            > ARSET a 18446744073709551614 x y\n(error) ERR array index overflow\n\
            > ARSET a 18446744073709551615 x\n(error) ERR invalid array index\n> SET s x\nOK\n\
            > ARSET s 0 x\n(error) WRONGTYPE Operation against a key holding the wrong kind of value\n\
            > TYPE a\narray\n> OBJECT ENCODING a\nsliced-array\n",
        ..array_command("arset", Arity::AtLeast(4), WRITE_OOM_FAST, write::arset)
    },
    Command {
        args: &[KEY, Arg::block("data", &[INDEX, Arg::string("value")]).multiple()],
        summary: "Sets elements of an array and tells how many are new.",
        complexity: "O(N) with the number of pairs.",
        script: "> ARMSET a 0 alpha 5 beta 100 gamma\n3\n> ARMSET a 5 b 5 c\n0\n> ARGET a 5\nc\n\
            > ARMSET a 1 x x y\n(error) ERR invalid array index\n> ARGET a 1\n(nil)\n\
            > ARMSET a 1 x 2\n(error) ERR wrong number of arguments for 'armset' command\n",
        ..array_command("armset", Arity::AtLeast(4), WRITE_OOM_FAST, write::armset)
    },
    Command {
        args: &[KEY, INDEX],
        summary: "Returns an element of an array.",
        script: "> ARSET a 7 x\n1\n> ARGET a 7\nx\n> ARGET a 8\n(nil)\n> ARGET absent 0\n(nil)\n\
            > ARGET absent 01\n(error) ERR invalid array index\n",
        ..array_command("arget", Arity::Exactly(3), READ_FAST, read::arget)
    },
    Command {
        args: &[KEY, INDEX.multiple()],
        summary: "Returns several elements of an array.",
        complexity: "O(N) with the number of indexes.",
        script: "> ARMSET a 0 x 1 y 5 z\n3\n> ARMGET a 0 1 5 3\n1) x\n2) y\n3) z\n4) (nil)\n\
            > ARMGET absent 0\n1) (nil)\n",
        ..array_command("armget", Arity::AtLeast(3), READ_FAST, read::armget)
    },
    Command {
        args: &[KEY, START, END],
        summary: "Returns every place of a range of an array, also those without an element.",
        complexity: "O(N) with the length of the range, which is at most a million.",
        script: "> ARMSET a 0 x 1 y 3 z\n3\n> ARGETRANGE a 0 4\n1) x\n2) y\n3) (nil)\n4) z\n5) (nil)\n\
            > ARGETRANGE a 3 1\n1) z\n2) (nil)\n3) y\n> ARGETRANGE absent 1 2\n1) (nil)\n2) (nil)\n\
            > ARGETRANGE a 0 1000000\n(error) ERR range exceeds maximum of 1000000 items\n",
        ..array_command("argetrange", Arity::Exactly(4), READ, read::argetrange)
    },
    Command {
        args: &[KEY, START, END, Arg::integer("limit").token("LIMIT").optional()],
        summary: "Returns the elements of a range of an array with their indexes.",
        complexity: ELEMENTS_IN_RANGE,
        script: "> ARMSET a 0 x 5 y 9 z\n3\n> ARSCAN a 0 10\n1) 1) 0\n   2) x\n2) 1) 5\n   2) y\n\
            3) 1) 9\n   2) z\n> ARSCAN a 10 0 LIMIT 1\n1) 1) 9\n   2) z\n> ARSCAN a 1 4\n(empty array)\n\
            > ARSCAN a 0 1 LIMIT 0\n(error) ERR LIMIT must be positive\n> ARSCAN a 0 1 COUNT 1\n\
            (error) ERR syntax error\n> ARSCAN absent 0 10\n(empty array)\n",
        ..array_command("arscan", Arity::AtLeast(4), READ, read::arscan)
    },
    Command {
        args: &[KEY, Arg::string("start"), Arg::string("end"), PREDICATE, GREP_OPTIONS],
        summary: "Searches a range of an array for elements that fulfil one or all of the predicates.",
        complexity: "O(N * P) with the bytes in the range and the number of predicates.",
        script: "> ARMSET log 0 'boot: ok' 1 'warn: disk' 2 'ERROR: cpu' 3 'info: ready' 4 'error: net'\n\
            5\n> ARGREP log - + MATCH error NOCASE\n1) 2\n2) 4\n\
            > ARGREP log - + MATCH error NOCASE WITHVALUES\n1) 1) 2\n   2) ERROR: cpu\n2) 1) 4\n   2) \
            error: net\n> ARGREP log 0 4 GLOB warn:* OR GLOB error:*\n1) 1\n2) 4\n\
            > ARGREP log 4 0 RE '^[A-Za-z]+: (cpu|net)$'\n1) 4\n2) 2\n\
            > ARGREP log 0 4 EXACT 'info: ready'\n1) 3\n> ARGREP log + - MATCH o LIMIT 1\n1) 4\n\
            > ARGREP log - + MATCH o MATCH k AND\n1) 0\n> ARGREP log - + EXACT 'BOOT: OK' NOCASE\n1) 0\n> ARGREP log - + RE (\n(error) ERR invalid regular expression\n\
            > ARGREP log - + NOCASE OR\n(error) ERR syntax error\n\
            > ARGREP log x + MATCH o\n(error) ERR invalid array index\n> ARGREP absent - + MATCH o\n\
            (empty array)\n",
        ..array_command("argrep", Arity::AtLeast(6), READ, grep::argrep)
    },
    Command {
        args: &[KEY, START, END, OPERATION],
        summary: "Makes one number of the elements in a range of an array.",
        complexity: ELEMENTS_IN_RANGE,
        script: "> ARMSET a 0 10 1 20 2 30.5 9 word\n4\n> AROP a 0 9 SUM\n60.5\n> AROP a 0 9 MIN\n10\n\
            > AROP a 9 0 MAX\n30.5\n> AROP a 0 9 MATCH 10\n1\n> AROP a 0 9 USED\n4\n\
            > AROP a 0 2 AND\n0\n> AROP a 0 2 OR\n30\n> AROP a 0 2 XOR\n0\n> AROP a 9 9 SUM\n(nil)\n\
            > AROP a 3 8 XOR\n(nil)\n> AROP absent 0 1 USED\n0\n> AROP absent 0 1 MAX\n(nil)\n\
            > AROP a 0 1 AVG\n(error) ERR unknown operation\n> AROP a 0 1 MATCH\n\
            (error) ERR MATCH requires a value argument\n> AROP a 0 1 SUM 1\n\
            (error) ERR wrong number of arguments for 'arop' command\n",
        ..array_command("arop", Arity::AtLeast(5), READ, aggregate::arop)
    },
    Command {
        args: &[KEY],
        summary: "Tells how long an array is: its highest index that has an element, and one.",
        script: "> ARMSET a 0 x 1000000 y\n2\n> ARLEN a\n1000001\n> ARLEN absent\n0\n\
            > ARSET a 18446744073709551614 z\n1\n> ARLEN a\n18446744073709551615\n",
        ..array_command("arlen", Arity::Exactly(2), READ_FAST, read::arlen)
    },
    Command {
        args: &[KEY],
        summary: "Tells how many elements an array has.",
        script: "> ARMSET a 0 x 1000000 y\n2\n> ARCOUNT a\n2\n> ARCOUNT absent\n0\n",
        ..array_command("arcount", Arity::Exactly(2), READ_FAST, read::arcount)
    },
    Command {
        keys: TRIMMED,
        args: &[KEY, INDEX.multiple()],
        summary: "Removes elements of an array and tells how many there were.",
        complexity: "O(N) with the number of indexes.",
        script: "> ARSET a 0 x y z\n3\n> ARDEL a 1 1 7\n1\n> ARDEL a 0 x\n\
            (error) ERR invalid array index\n> ARDEL a 0 2\n2\n> EXISTS a\n0\n> ARDEL a 0\n0\n",
        ..array_command("ardel", Arity::AtLeast(3), WRITE_FAST, write::ardel)
    },
    Command {
        keys: TRIMMED,
        args: &[KEY, Arg::block("range", &[START, END]).multiple()],
        summary: "Removes the elements in ranges of an array and tells how many there were.",
        complexity: "O(N) with the number of elements in the ranges.",
        script: "> ARSET a 0 v w x y z\n5\n> ARDELRANGE a 3 1 2 3\n3\n> ARSCAN a 0 9\n1) 1) 0\n   2) v\n\
            2) 1) 4\n   2) z\n> ARDELRANGE a 5 18446744073709551614\n0\n> ARDELRANGE a 0 1 2\n\
            (error) ERR wrong number of arguments for 'ardelrange' command\n\
            > ARDELRANGE a 0 18446744073709551614\n2\n> EXISTS a\n0\n",
        ..array_command("ardelrange", Arity::AtLeast(4), WRITE, write::ardelrange)
    },
    Command {
        args: &[KEY, VALUES],
        summary: "Appends elements to an array and tells the index of the last one.",
        complexity: PER_VALUE,
        script: "> ARINSERT a x\n0\n> ARINSERT a y z\n2\n> ARGET a 1\ny\n> ARSEEK a \
            18446744073709551614\n1\n> ARINSERT a p q\n(error) ERR insert index overflow\n\
            > ARINSERT a p\n18446744073709551614\n> ARINSERT a q\n(error) ERR insert index overflow\n\
            > ARSET b 0 x\n1\n> ARINSERT b y\n0\n",
        ..array_command("arinsert", Arity::AtLeast(3), WRITE_OOM_FAST, write::arinsert)
    },
    Command {
        args: &[KEY, Arg::integer("size"), VALUES],
        summary: "Appends elements to an array that is a ring of so many places, over the oldest ones.",
        complexity: "O(N) with the number of values; when the ring gets another size, and with its \
            elements.",
        script: "> ARRING a 3 v0 v1 v2\n2\n> ARRING a 3 v3\n0\n> ARGETRANGE a 0 2\n1) v3\n2) v1\n3) v2\n\
            > ARLASTITEMS a 3\n1) v1\n2) v2\n3) v3\n> ARRING a 5 v4\n3\n> ARGETRANGE a 0 4\n1) v1\n\
            2) v2\n3) v3\n4) v4\n5) (nil)\n> ARRING a 2 v5\n0\n> ARGETRANGE a 0 2\n1) v5\n2) v4\n\
            3) (nil)\n> ARRING a 0 x\n(error) ERR size must be positive\n> ARRING a x x\n\
            (error) ERR invalid size\n",
        ..array_command("arring", Arity::AtLeast(4), WRITE_OOM, write::arring)
    },
    Command {
        args: &[KEY, Arg::integer("count"), Arg::word("rev", "REV").optional()],
        summary: "Returns the elements that were appended to an array last.",
        complexity: "O(N) with the number of elements returned.",
        script: "> ARINSERT a x y z\n2\n> ARLASTITEMS a 2\n1) y\n2) z\n> ARLASTITEMS a 9 REV\n1) z\n2) y\n\
            3) x\n> ARDEL a 1\n1\n> ARLASTITEMS a 2\n1) (nil)\n2) z\n> ARLASTITEMS a 0\n(empty array)\n\
            > ARLASTITEMS a 1 FWD\n(error) ERR syntax error\n> ARLASTITEMS a x\n\
            (error) ERR invalid COUNT\n> ARLASTITEMS absent 1\n(empty array)\n",
        ..array_command("arlastitems", Arity::AtLeast(3), READ, read::arlastitems)
    },
    Command {
        args: &[KEY],
        summary: "Tells at which index the next element will be appended to an array.",
        script: "> ARNEXT a\n0\n> ARINSERT a x y\n1\n> ARNEXT a\n2\n> ARSET a 9 z\n1\n> ARNEXT a\n2\n\
            > ARSEEK a 18446744073709551615\n1\n> ARNEXT a\n(nil)\n",
        ..array_command("arnext", Arity::Exactly(2), READ_FAST, read::arnext)
    },
    Command {
        args: &[KEY, INDEX],
        summary: "Sets at which index the next element will be appended to an array.",
        script: "> ARINSERT a x y\n1\n> ARSEEK a 10\n1\n> ARINSERT a z\n10\n> ARSEEK a 0\n1\n\
            > ARINSERT a w\n0\n> ARSEEK absent 3\n0\n> ARSEEK a 18446744073709551616\n\
            (error) ERR invalid array index\n",
        ..array_command("arseek", Arity::Exactly(3), WRITE_FAST, write::arseek)
    },
    Command {
        args: &[KEY, Arg::word("full", "FULL").optional()],
        summary: "Tells how an array is kept.",
        complexity: "O(N) with the number of slices.",
        tips: &["nondeterministic_output"],
        script: "> ARMSET a 0 x 1 y 100 z\n3\n> ARINSERT a w\n0\n> ARINFO a\n 1) count\n 2) 3\n 3) len\n\
            \x204) 101\n 5) next-insert-index\n 6) 1\n 7) slices\n 8) 1\n 9) directory-size\n10) 1\n\
            11) super-dir-entries\n12) 0\n13) slice-size\n14) 4096\n> ARINFO a FUL\n\
            (error) ERR syntax error\n> ARINFO absent\n(error) ERR no such key\n",
        ..array_command("arinfo", Arity::AtLeast(2), READ, read::arinfo)
    },
];
