//! Rows of the family.

use super::{add, change, read, similar};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const READ: Flags = Flags::READ;
const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;

const KEY: Arg = Arg::key("key");
const ELEMENT: Arg = Arg::string("element");
const FP32: Arg = Arg::string("blob").token("FP32");
const VALUES: Arg =
    Arg::block("values", &[Arg::integer("num"), Arg::double("value").multiple()]).token("VALUES");
const READ_KEY: &[Keys] = &[Keys::at(1, Access::READ)];
const PEEK_KEY: &[Keys] = &[Keys::at(1, Access::PEEK)];

const fn vector_command(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    run: fn(&mut Call<'_>) -> Result<(), CmdError>,
) -> Command {
    Command {
        name,
        arity,
        flags,
        group: Group::VectorSet,
        since: "8.0.0",
        run: Run::Data(run),
        ..Command::BLANK
    }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            Arg::integer("dim").token("REDUCE").optional(),
            Arg::one_of("vector", &[FP32, VALUES]),
            ELEMENT,
            Arg::word("cas", "CAS").optional(),
            Arg::one_of(
                "quantization",
                &[Arg::word("noquant", "NOQUANT"), Arg::word("q8", "Q8"), Arg::word("bin", "BIN")],
            )
            .optional(),
            Arg::integer("build-exploration-factor").token("EF").optional(),
            Arg::string("attributes").token("SETATTR").optional(),
            Arg::integer("numlinks").token("M").optional(),
        ],
        summary: "Adds an element with a vector to a vector set, or gives it another vector.",
        complexity: "O(log(N)) with N elements.",
        script: "> VADD v VALUES 3 1 2 3 a\n1\n> VADD v VALUES 3 3 2 1 a CAS Q8 EF 50 M 16\n0\n\
            > VADD v VALUES 2 1 2 b\n\
            (error) ERR Vector dimension mismatch - got 2 but set has 3\n\
            > VADD v VALUES 3 1 2 3 b NOQUANT\n\
            (error) ERR asked quantization mismatch with existing vector set\n\
            > VADD v VALUES 3 1 2 x b\n(error) ERR invalid vector specification\n\
            > VADD v VALUES 3 1 2 3 b SETATTR {}\n1\n\
            > VADD r REDUCE 2 VALUES 3 1 2 3 a NOQUANT\n1\n> VDIM r\n2\n",
        ..vector_command("vadd", Arity::AtLeast(5), WRITE.and(Flags::DENYOOM), add::vadd)
    },
    Command {
        keys: PEEK_KEY,
        args: &[KEY],
        summary: "Tells how many elements a vector set has.",
        script: "> VCARD v\n0\n> VADD v VALUES 2 1 1 a\n1\n> VCARD v\n1\n",
        ..vector_command("vcard", Arity::Exactly(2), READ_FAST, read::vcard)
    },
    Command {
        keys: PEEK_KEY,
        args: &[KEY],
        summary: "Tells how many dimensions the vectors of a vector set have.",
        script: "> VADD v VALUES 2 1 1 a\n1\n> VDIM v\n2\n> VDIM absent\n\
            (error) ERR key does not exist\n",
        ..vector_command("vdim", Arity::Exactly(2), READ_FAST, read::vdim)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, ELEMENT, Arg::word("raw", "RAW").optional()],
        summary: "Returns the vector of an element, as numbers or as it is kept.",
        complexity: "O(D) with D dimensions.",
        script: "> VADD v VALUES 2 3 4 a NOQUANT\n1\n> VEMB v a\n1) 3\n2) 4\n\
            > VADD b VALUES 3 3 -4 0.5 a BIN\n1\n> VEMB b a\n1) 1\n2) -1\n3) 1\n\
            > VEMB b a RAW\n1) bin\n2) \\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\n\
            3) 5.024937629699707\n> VEMB v absent\n(nil)\n",
        ..vector_command("vemb", Arity::AtLeast(3), READ_FAST, read::vemb)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, ELEMENT],
        summary: "Returns the attributes of an element.",
        script: "> VADD v VALUES 2 1 1 a SETATTR {}\n1\n> VGETATTR v a\n{}\n\
            > VGETATTR v absent\n(nil)\n",
        ..vector_command("vgetattr", Arity::Exactly(3), READ_FAST, read::vgetattr)
    },
    Command {
        keys: PEEK_KEY,
        args: &[KEY],
        summary: "Tells how a vector set is built.",
        // Numbers of sets differ from process to process, so only what is absent is shown.
        script: "> VINFO absent\n(nil)\n",
        ..vector_command("vinfo", Arity::Exactly(2), READ_FAST, read::vinfo)
    },
    Command {
        keys: PEEK_KEY,
        args: &[KEY, ELEMENT],
        since: "8.2.0",
        summary: "Tells whether a vector set has an element.",
        script: "> VADD v VALUES 2 1 1 a\n1\n> VISMEMBER v a\n1\n> VISMEMBER v b\n0\n",
        ..vector_command("vismember", Arity::Exactly(3), READ, read::vismember)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, ELEMENT, Arg::word("withscores", "WITHSCORES").optional()],
        summary: "Returns the neighbours of an element in each layer of the graph, the highest first.",
        script: "> VADD v VALUES 2 1 0 a NOQUANT\n1\n> VADD v VALUES 2 0 1 b NOQUANT\n1\n\
            > VLINKS v a\n1) 1) b\n> VLINKS v a WITHSCORES\n1) 1) b\n   2) 0.5\n\
            > VLINKS v absent\n(nil)\n",
        ..vector_command("vlinks", Arity::AtLeast(3), READ_FAST, read::vlinks)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::integer("count").optional()],
        summary: "Returns elements drawn at random.",
        complexity: "O(N) with N elements returned.",
        tips: &["nondeterministic_output"],
        script: "> VADD v VALUES 2 1 1 a\n1\n> VRANDMEMBER v\na\n> VRANDMEMBER v -2\n1) a\n2) a\n\
            > VRANDMEMBER v 5\n1) a\n> VRANDMEMBER absent\n(nil)\n\
            > VRANDMEMBER absent 5\n(empty array)\n",
        ..vector_command("vrandmember", Arity::AtLeast(2), READ, read::vrandmember)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::string("start"), Arg::string("end"), Arg::integer("count").optional()],
        since: "8.4.0",
        summary: "Returns the elements between two names, in the order of their bytes.",
        complexity: "O(log(N)+M) with N elements, of which M are returned.",
        script: "> VADD v VALUES 2 1 1 b\n1\n> VADD v VALUES 2 1 1 a\n1\n\
            > VRANGE v - +\n1) a\n2) b\n> VRANGE v (a [b\n1) b\n> VRANGE v - + 1\n1) a\n\
            > VRANGE v + -\n(empty array)\n> VRANGE v a b\n\
            (error) ERR min or max not valid string range item\n",
        ..vector_command("vrange", Arity::AtLeast(4), READ, read::vrange)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[KEY, ELEMENT],
        summary: "Removes an element from a vector set.",
        complexity: "O(log(N)) with N elements.",
        script: "> VADD v VALUES 2 1 1 a\n1\n> VREM v a\n1\n> VREM v a\n0\n> EXISTS v\n0\n",
        ..vector_command("vrem", Arity::Exactly(3), WRITE, change::vrem)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[KEY, ELEMENT, Arg::string("attributes")],
        summary: "Sets the attributes of an element, a JSON object; an empty text takes them away.",
        script: "> VADD v VALUES 2 1 1 a\n1\n> VSETATTR v a {}\n1\n> VGETATTR v a\n{}\n\
            > VSETATTR v a \"\"\n1\n> VGETATTR v a\n(nil)\n> VSETATTR v absent {}\n0\n",
        ..vector_command("vsetattr", Arity::Exactly(4), WRITE.and(Flags::FAST), change::vsetattr)
    },
    Command {
        keys: READ_KEY,
        args: &[
            KEY,
            Arg::one_of("query", &[Arg::string("element").token("ELE"), FP32, VALUES]),
            Arg::word("withscores", "WITHSCORES").optional(),
            Arg::word("withattribs", "WITHATTRIBS").optional().since("8.2.0"),
            Arg::integer("count").token("COUNT").optional(),
            Arg::double("max-distance").token("EPSILON").optional(),
            Arg::integer("search-exploration-factor").token("EF").optional(),
            Arg::string("expression").token("FILTER").optional(),
            Arg::integer("max-filtering-effort").token("FILTER-EF").optional(),
            Arg::word("truth", "TRUTH").optional(),
            Arg::word("nothread", "NOTHREAD").optional(),
        ],
        summary: "Returns the elements whose vectors are nearest to a vector or to an element's.",
        complexity: "O(log(N)) with N elements; O(N) with TRUTH.",
        history: &[("8.2.0", "WITHATTRIBS.")],
        script: "> VADD v VALUES 2 1 0 a NOQUANT SETATTR '{\"n\":1}'\n1\n\
            > VADD v VALUES 2 0 1 b NOQUANT SETATTR '{\"n\":2}'\n1\n\
            > VADD v VALUES 2 -1 0 c NOQUANT\n1\n\
            > VSIM v ELE a\n1) a\n2) b\n3) c\n\
            > VSIM v VALUES 2 2 0 WITHSCORES COUNT 2\n1) a\n2) 1\n3) b\n4) 0.5\n\
            > VSIM v ELE a WITHATTRIBS EPSILON 0.5\n1) a\n2) {\\\"n\\\":1}\n3) b\n4) {\\\"n\\\":2}\n\
            > VSIM v ELE a FILTER '.n > 1' TRUTH\n1) b\n\
            > VSIM v ELE a FILTER '.n >'\n\
            (error) ERR syntax error in FILTER expression near: .n >\n\
            > VSIM v ELE x\n(error) ERR element not found in set\n\
            > VSIM absent ELE x\n(empty array)\n",
        ..vector_command("vsim", Arity::AtLeast(4), READ, similar::vsim)
    },
];
