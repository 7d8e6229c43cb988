//! Rows of the family.

use super::{add, claim, delete, group, idempotent, info, nack, pending, range, read};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const READ: Flags = Flags::READ;
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(Flags::FAST);

const KEY: Arg = Arg::key("key");
const GROUP: Arg = Arg::string("group");
const CONSUMER: Arg = Arg::string("consumer");
const COUNT: Arg = Arg::integer("count").token("COUNT").optional();
const MAXCOUNT: Arg = Arg::integer("maxcount").token("MAXCOUNT").optional().since("8.10.0");
const MAXSIZE: Arg = Arg::integer("maxsize").token("MAXSIZE").optional().since("8.10.0");
const IDS: Arg = Arg::string("id").multiple();
const NEW_ID: Arg = Arg::one_of("id-selector", &[Arg::string("id"), Arg::word("new-id", "$")]);
const ENTRIES_READ: Arg =
    Arg::integer("entries-read").token("ENTRIESREAD").optional().since("7.0.0");

const CONDITION: Arg = Arg::one_of(
    "condition",
    &[Arg::word("keepref", "KEEPREF"), Arg::word("delref", "DELREF"), Arg::word("acked", "ACKED")],
)
.optional()
.since("8.2.0");

const COUNTED_IDS: Arg =
    Arg::block("ids", &[Arg::integer("numids"), Arg::string("id").multiple()]).token("IDS");

const TRIM: &[Arg] = &[
    Arg::one_of(
        "strategy",
        &[Arg::word("maxlen", "MAXLEN"), Arg::word("minid", "MINID").since("6.2.0")],
    ),
    Arg::one_of("operator", &[Arg::word("equal", "="), Arg::word("approximately", "~")]).optional(),
    Arg::string("threshold"),
    Arg::integer("count").token("LIMIT").optional().since("6.2.0"),
];

const fn stream_command(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    run: fn(&mut Call<'_>) -> Result<(), CmdError>,
) -> Command {
    Command { name, arity, flags, group: Group::Stream, run: Run::Data(run), ..Command::BLANK }
}

/// Rows about the entries.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            Arg::word("nomkstream", "NOMKSTREAM").optional().since("6.2.0"),
            CONDITION,
            Arg::one_of(
                "idmp",
                &[
                    Arg::string("producer-id").token("IDMPAUTO"),
                    Arg::block("idmp", &[Arg::string("producer-id"), Arg::string("idempotent-id")])
                        .token("IDMP"),
                ],
            )
            .optional()
            .since("8.6.0"),
            Arg::block("trim", TRIM).optional(),
            Arg::one_of("id-selector", &[Arg::word("auto-id", "*"), Arg::string("id")]),
            Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
        ],
        since: "5.0.0",
        summary: "Adds an entry to a stream, and trims the stream if that is asked for.",
        complexity: "O(1), and O(N) with the number of entries trimmed.",
        history: &[
            ("6.2.0", "`NOMKSTREAM`, `MINID`, `LIMIT`."),
            ("7.0.0", "Ids of the form `ms-*`."),
            ("8.2.0", "`KEEPREF`, `DELREF`, `ACKED`."),
            ("8.6.0", "`IDMP` and `IDMPAUTO`."),
        ],
        tips: &["nondeterministic_output"],
        script: "> XADD s 5-1 name Ann\n5-1\n> XADD s 5-* name Bob\n5-2\n> XADD s * name Cy\n\
            1700000000000-0\n> XADD s MAXLEN = 2 * name Di\n1700000000000-1\n> XLEN s\n2\n\
            > XADD s 5 name Eve\n(error) ERR The ID specified in XADD is equal or smaller than the \
            target stream top item\n> XADD absent NOMKSTREAM * name Flo\n(nil)\n",
        ..stream_command("xadd", Arity::AtLeast(5), WRITE_OOM_FAST, add::xadd)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            Arg::integer("idmp-duration").token("IDMP-DURATION").optional(),
            Arg::integer("idmp-maxsize").token("IDMP-MAXSIZE").optional(),
        ],
        since: "8.6.0",
        summary: "Sets for how many seconds, and how many, names of entries a stream keeps for each \
            producer, and forgets those there are.",
        script: "> XADD s IDMP ann 1 * f a\n1700000000000-0\n> XADD s IDMP ann 1 * f b\n\
            1700000000000-0\n> XLEN s\n1\n> XCFGSET s IDMP-DURATION 60 IDMP-MAXSIZE 10\nOK\n\
            > XADD s IDMP ann 1 * f c\n1700000000000-1\n> XCFGSET s IDMP-MAXSIZE 0\n\
            (error) ERR invalid maxsize\n> XCFGSET s\n(error) ERR syntax error\n",
        ..stream_command("xcfgset", Arity::AtLeast(2), WRITE_FAST, idempotent::xcfgset)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[KEY, Arg::string("pid"), Arg::string("iid"), Arg::string("stream-id")],
        since: "8.6.2",
        summary: "Keeps under which name a producer has added an entry; what replicas are told.",
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XIDMPRECORD s ann x 1-0\nOK\n\
            > XADD s IDMP ann x * f c\n1-0\n> XIDMPRECORD s ann x 2-0\n\
            (error) ERR The idempotent ID is that of another entry\n",
        ..stream_command("xidmprecord", Arity::Exactly(5), WRITE_OOM_FAST, idempotent::xidmprecord)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[KEY, Arg::block("trim", TRIM), CONDITION],
        since: "5.0.0",
        summary: "Removes entries from the beginning of a stream.",
        complexity: "O(N) with the number of entries removed.",
        history: &[("6.2.0", "`MINID`, `LIMIT`."), ("8.2.0", "`KEEPREF`, `DELREF`, `ACKED`.")],
        tips: &["nondeterministic_output"],
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XADD s 3 f c\n3-0\n> XTRIM s MAXLEN 2\n\
            1\n> XTRIM s MINID 3\n1\n> XRANGE s - +\n1) 1) 3-0\n   2) 1) f\n      2) c\n",
        ..stream_command("xtrim", Arity::AtLeast(4), WRITE, add::xtrim)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[KEY, IDS],
        since: "5.0.0",
        summary: "Removes entries of a stream by their ids; tells how many there were.",
        complexity: "O(1) for each entry.",
        script: "> XADD s 1 f a\n1-0\n> XDEL s 1 2\n1\n> XLEN s\n0\n> EXISTS s\n1\n",
        ..stream_command("xdel", Arity::AtLeast(3), WRITE_FAST, delete::xdel)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[KEY, CONDITION, COUNTED_IDS],
        since: "8.2.0",
        summary: "Removes entries of a stream as their references allow; tells of each what became \
            of it: 1 gone, 2 kept, -1 absent.",
        complexity: "O(1) for each entry and group.",
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XGROUP CREATE s g 0\nOK\n\
            > XDELEX s ACKED IDS 1 1\n1) 2\n> XDELEX s DELREF IDS 2 1 7\n1) 1\n2) -1\n",
        ..stream_command("xdelex", Arity::AtLeast(5), WRITE_FAST, delete::xdelex)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            Arg::string("last-id"),
            Arg::integer("entries-added").token("ENTRIESADDED").optional().since("7.0.0"),
            Arg::string("max-deleted-id").token("MAXDELETEDID").optional().since("7.0.0"),
        ],
        since: "5.0.0",
        summary: "Sets the last id of a stream; for replication.",
        history: &[("7.0.0", "`ENTRIESADDED`, `MAXDELETEDID`.")],
        script: "> XADD s 1 f a\n1-0\n> XSETID s 9\nOK\n> XADD s 8 f b\n(error) ERR The ID \
            specified in XADD is equal or smaller than the target stream top item\n",
        ..stream_command("xsetid", Arity::AtLeast(3), WRITE_OOM_FAST, add::xsetid)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: &[KEY],
        since: "5.0.0",
        summary: "Tells how many entries a stream has.",
        script: "> XADD s 1 f a\n1-0\n> XLEN s\n1\n> XLEN absent\n0\n",
        ..stream_command("xlen", Arity::Exactly(2), READ.and(Flags::FAST), range::xlen)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[KEY, Arg::string("start"), Arg::string("end"), COUNT],
        since: "5.0.0",
        summary: "Returns the entries of a stream between two ids.",
        complexity: "O(N) with the number of entries returned.",
        history: &[("6.2.0", "Ids that are left out themselves, with `(`.")],
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b g c\n2-0\n> XRANGE s (1 +\n1) 1) 2-0\n   \
            2) 1) f\n      2) b\n      3) g\n      4) c\n> XRANGE s - + COUNT 1\n1) 1) 1-0\n   \
            2) 1) f\n      2) a\n",
        ..stream_command("xrange", Arity::AtLeast(4), READ, range::xrange)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[KEY, Arg::string("end"), Arg::string("start"), COUNT],
        since: "5.0.0",
        summary: "Returns the entries of a stream between two ids, the last one first.",
        complexity: "O(N) with the number of entries returned.",
        history: &[("6.2.0", "Ids that are left out themselves, with `(`.")],
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XREVRANGE s + - COUNT 1\n\
            1) 1) 2-0\n   2) 1) f\n      2) b\n",
        ..stream_command("xrevrange", Arity::AtLeast(4), READ, range::xrevrange)
    },
    Command {
        keys: &[Keys::part_after("STREAMS", 1, 2, Access::READ)],
        args: &[
            COUNT,
            MAXCOUNT,
            MAXSIZE,
            Arg::integer("milliseconds").token("BLOCK").optional(),
            Arg::block("streams", &[KEY.multiple(), IDS]).token("STREAMS"),
        ],
        since: "5.0.0",
        summary: "Returns entries of streams after given ids, waiting for them if asked to.",
        complexity: "O(N) with the number of entries returned.",
        history: &[("7.4.0", "`+` for the last entry."), ("8.10.0", "`MAXCOUNT` and `MAXSIZE`.")],
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XREAD COUNT 1 STREAMS s 1\n\
            1) 1) s\n   2) 1) 1) 2-0\n         2) 1) f\n            2) b\n> XREAD STREAMS s $\n\
            (nil)\n> XREAD STREAMS s t 0\n(error) ERR Unbalanced 'xread' list of streams: for each \
            stream key an ID, '+', or '$' must be specified.\n",
        ..stream_command(
            "xread",
            Arity::AtLeast(4),
            READ.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
            read::xread,
        )
    },
    Command {
        name: "xinfo",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        summary: "A container for commands that tell about a stream.",
        complexity: "Depends on subcommand.",
        subcommands: XINFO,
        ..Command::BLANK
    },
];

const XINFO: &[Command] = &[
    Command {
        keys: &[Keys::at(2, Access::READ)],
        args: &[KEY, Arg::block("full-block", &[Arg::word("full", "FULL"), COUNT]).optional()],
        since: "5.0.0",
        summary: "Tells about a stream; with `FULL` also about its groups and what is pending.",
        history: &[
            ("6.0.0", "`FULL`."),
            ("7.0.0", "`max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `lag`."),
            ("7.2.0", "`active-time`, `seen-time`."),
        ],
        script: "> XADD s 1 f a\n1-0\n> XINFO STREAM s\n 1) length\n 2) 1\n 3) radix-tree-keys\n \
            4) 1\n 5) radix-tree-nodes\n 6) 2\n 7) last-generated-id\n 8) 1-0\n \
            9) max-deleted-entry-id\n10) 0-0\n11) entries-added\n12) 1\n\
            13) recorded-first-entry-id\n14) 1-0\n15) groups\n16) 0\n17) first-entry\n\
            18) 1) 1-0\n    2) 1) f\n       2) a\n19) last-entry\n20) 1) 1-0\n    2) 1) f\n       \
            2) a\n> XINFO STREAM absent\n(error) ERR no such key\n",
        ..stream_command("stream", Arity::AtLeast(3), READ, info::xinfo_stream)
    },
    Command {
        keys: &[Keys::at(2, Access::READ)],
        args: &[KEY],
        since: "5.0.0",
        summary: "Tells about the groups of a stream.",
        history: &[("7.0.0", "`entries-read` and `lag`.")],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n> XINFO GROUPS s\n1)  1) name\n    \
            2) g\n    3) consumers\n    4) 0\n    5) pending\n    6) 0\n    7) last-delivered-id\n    \
            8) 0-0\n    9) entries-read\n   10) (nil)\n   11) lag\n   12) 1\n",
        ..stream_command("groups", Arity::Exactly(3), READ, info::xinfo_groups)
    },
    Command {
        keys: &[Keys::at(2, Access::READ)],
        args: &[KEY, GROUP],
        since: "5.0.0",
        summary: "Tells about the consumers of a group.",
        history: &[("7.2.0", "`inactive`.")],
        tips: &["nondeterministic_output"],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XGROUP CREATECONSUMER s g ann\n1\n@advance 5\n> XINFO CONSUMERS s g\n1) 1) name\n   \
            2) ann\n   3) pending\n   4) 0\n   5) idle\n   6) 5\n   7) inactive\n   8) -1\n",
        ..stream_command("consumers", Arity::Exactly(4), READ, info::xinfo_consumers)
    },
    Command {
        since: "5.0.0",
        summary: "Explains the subcommands.",
        ..stream_command("help", Arity::Exactly(2), Flags::ANYTIME, xinfo_help)
    },
];

/// Rows about groups of consumers.
pub(crate) const GROUP_COMMANDS: &[Command] = &[
    Command {
        // Redis counts this as a read of the key, although it changes what is pending.
        keys: &[Keys::part_after("STREAMS", 4, 2, Access::READ)],
        args: &[
            Arg::block("group-block", &[GROUP, CONSUMER]).token("GROUP"),
            COUNT,
            MAXCOUNT,
            MAXSIZE,
            Arg::integer("milliseconds").token("BLOCK").optional(),
            Arg::integer("min-idle-time").token("CLAIM").optional().since("8.4.0"),
            Arg::word("noack", "NOACK").optional(),
            Arg::block("streams", &[KEY.multiple(), IDS]).token("STREAMS"),
        ],
        since: "5.0.0",
        summary: "Returns entries that a group has not got yet (`>`), or those that a consumer has \
            not acknowledged, waiting for the former if asked to.",
        complexity: "O(N) with the number of entries returned.",
        history: &[("8.4.0", "`CLAIM`."), ("8.10.0", "`MAXCOUNT` and `MAXSIZE`.")],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XREADGROUP GROUP g ann STREAMS s >\n(nil)\n\
            > XREADGROUP GROUP g ann STREAMS s 0\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XREADGROUP GROUP no ann STREAMS s >\n(error) NOGROUP No such key 's' or consumer \
            group 'no' in XREADGROUP with GROUP option\n",
        ..stream_command(
            "xreadgroup",
            Arity::AtLeast(7),
            WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
            read::xreadgroup,
        )
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[KEY, GROUP, IDS],
        since: "5.0.0",
        summary: "Acknowledges entries that a group was given; tells how many were pending.",
        complexity: "O(1) for each entry.",
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XACK s g 1 2\n1\n> XACK s g 1\n0\n",
        ..stream_command("xack", Arity::AtLeast(4), WRITE_FAST, delete::xack)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            GROUP,
            Arg::one_of(
                "mode",
                &[
                    Arg::word("silent", "SILENT"),
                    Arg::word("fail", "FAIL"),
                    Arg::word("fatal", "FATAL"),
                ],
            ),
            COUNTED_IDS,
            Arg::integer("count").token("RETRYCOUNT").optional(),
            Arg::word("force", "FORCE").optional(),
        ],
        since: "8.8.0",
        summary: "Gives entries back to their group, for whoever claims them next; tells how many.",
        complexity: "O(1) for each entry.",
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XNACK s g FAIL IDS 2 1 2\n1\n> XPENDING s g - + 1\n1) 1) 1-0\n   2) \"\"\n   \
            3) -1\n   4) 1\n> XREADGROUP GROUP g bob CLAIM 1000000 STREAMS s >\n\
            1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            2) a\n         3) 1700000000000\n         \
            4) 1\n> XNACK s g QUIET IDS 1 1\n(error) ERR syntax error\n",
        ..stream_command("xnack", Arity::AtLeast(7), WRITE_FAST, nack::xnack)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[KEY, GROUP, CONDITION, COUNTED_IDS],
        since: "8.2.0",
        summary: "Acknowledges entries and removes them as their references allow; tells of each \
            what became of it: 1 gone, 2 kept, -1 not pending.",
        complexity: "O(1) for each entry and group.",
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XACKDEL s g ACKED IDS 2 1 2\n1) 1\n2) -1\n> XLEN s\n0\n",
        ..stream_command("xackdel", Arity::AtLeast(6), WRITE_FAST, delete::xackdel)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            KEY,
            GROUP,
            Arg::block(
                "filters",
                &[
                    Arg::integer("min-idle-time").token("IDLE").optional().since("6.2.0"),
                    Arg::string("start"),
                    Arg::string("end"),
                    Arg::integer("count"),
                    CONSUMER.optional(),
                ],
            )
            .optional(),
        ],
        since: "5.0.0",
        summary: "Tells what a group has not acknowledged.",
        complexity: "O(N) with the number of entries returned.",
        history: &[("6.2.0", "`IDLE`, and ids that are left out themselves.")],
        tips: &["nondeterministic_output"],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n@advance 7\n> XPENDING s g\n1) 1\n2) 1-0\n3) 1-0\n4) 1) 1) ann\n      2) 1\n\
            > XPENDING s g - + 10\n1) 1) 1-0\n   2) ann\n   3) 7\n   4) 1\n",
        ..stream_command("xpending", Arity::AtLeast(3), READ, pending::xpending)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            KEY,
            GROUP,
            CONSUMER,
            Arg::string("min-idle-time"),
            IDS,
            Arg::integer("ms").token("IDLE").optional(),
            Arg::unix_time("unix-time-milliseconds").token("TIME").optional(),
            Arg::integer("count").token("RETRYCOUNT").optional(),
            Arg::word("force", "FORCE").optional(),
            Arg::word("justid", "JUSTID").optional(),
            Arg::string("lastid").token("LASTID").optional(),
        ],
        since: "5.0.0",
        summary: "Gives a consumer pending entries that others have not acknowledged.",
        complexity: "O(log N) for each entry, with the number of pending ones.",
        tips: &["nondeterministic_output"],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         2) 1) f\n            \
            2) a\n> XCLAIM s g bob 1000 1\n(empty array)\n@advance 1000\n> XCLAIM s g bob 1000 1\n\
            1) 1) 1-0\n   2) 1) f\n      2) a\n> XPENDING s g - + 10\n1) 1) 1-0\n   2) bob\n   \
            3) 0\n   4) 2\n",
        ..stream_command("xclaim", Arity::AtLeast(6), WRITE_FAST, claim::xclaim)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE.and(Access::ACCESS).and(Access::DELETE))],
        args: &[
            KEY,
            GROUP,
            CONSUMER,
            Arg::string("min-idle-time"),
            Arg::string("start"),
            COUNT,
            Arg::word("justid", "JUSTID").optional(),
        ],
        since: "6.2.0",
        summary: "Gives a consumer pending entries that have been idle, and forgets those that are \
            gone.",
        complexity: "O(1) if COUNT is small.",
        history: &[("7.0.0", "The ids of entries that are gone.")],
        tips: &["nondeterministic_output"],
        script: "> XADD s 1 f a\n1-0\n> XADD s 2 f b\n2-0\n> XGROUP CREATE s g 0\nOK\n\
            > XREADGROUP GROUP g ann NOACK STREAMS s 5\n1) 1) s\n   2) (empty array)\n\
            > XREADGROUP GROUP g ann COUNT 2 STREAMS s >\n1) 1) s\n   2) 1) 1) 1-0\n         \
            2) 1) f\n            2) a\n      2) 1) 2-0\n         2) 1) f\n            2) b\n\
            > XDEL s 1\n1\n> XAUTOCLAIM s g bob 0 - JUSTID\n1) 0-0\n2) 1) 2-0\n3) 1) 1-0\n",
        ..stream_command("xautoclaim", Arity::AtLeast(6), WRITE_FAST, claim::xautoclaim)
    },
    Command {
        name: "xgroup",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        summary: "A container for commands about groups of consumers.",
        complexity: "Depends on subcommand.",
        subcommands: XGROUP,
        ..Command::BLANK
    },
];

const XGROUP: &[Command] = &[
    Command {
        keys: &[Keys::at(2, Access::ADD)],
        args: &[KEY, GROUP, NEW_ID, Arg::word("mkstream", "MKSTREAM").optional(), ENTRIES_READ],
        since: "5.0.0",
        summary: "Makes a group of consumers, which gets what comes after an id.",
        history: &[("7.0.0", "`ENTRIESREAD`.")],
        script: "> XGROUP CREATE s g $\n(error) ERR The XGROUP subcommand requires the key to \
            exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty \
            stream automatically.\n> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATE s g 0\n\
            (error) BUSYGROUP Consumer Group name already exists\n",
        ..stream_command("create", Arity::AtLeast(5), WRITE_OOM, group::xgroup_create)
    },
    Command {
        keys: &[Keys::at(2, Access::CHANGE)],
        args: &[KEY, GROUP, NEW_ID, ENTRIES_READ],
        since: "5.0.0",
        summary: "Sets the id after which a group gets entries.",
        history: &[("7.0.0", "`ENTRIESREAD`.")],
        script: "> XADD s 1 f a\n1-0\n> XGROUP CREATE s g 0\nOK\n> XGROUP SETID s g $\nOK\n\
            > XREADGROUP GROUP g ann STREAMS s >\n(nil)\n",
        ..stream_command("setid", Arity::AtLeast(5), WRITE, group::xgroup_setid)
    },
    Command {
        keys: &[Keys::at(2, Access::TRIM)],
        args: &[KEY, GROUP],
        since: "5.0.0",
        summary: "Removes a group of consumers.",
        complexity: "O(N) with the number of pending entries.",
        script: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP DESTROY s g\n1\n\
            > XGROUP DESTROY s g\n0\n",
        ..stream_command("destroy", Arity::Exactly(4), WRITE, group::xgroup_destroy)
    },
    Command {
        keys: &[Keys::at(2, Access::ADD)],
        args: &[KEY, GROUP, CONSUMER],
        since: "6.2.0",
        summary: "Makes a consumer of a group.",
        script: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATECONSUMER s g ann\n1\n\
            > XGROUP CREATECONSUMER s g ann\n0\n",
        ..stream_command(
            "createconsumer",
            Arity::Exactly(5),
            WRITE_OOM,
            group::xgroup_createconsumer,
        )
    },
    Command {
        keys: &[Keys::at(2, Access::TRIM)],
        args: &[KEY, GROUP, CONSUMER],
        since: "5.0.0",
        summary: "Removes a consumer; tells how many entries it had not acknowledged.",
        script: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATECONSUMER s g ann\n1\n\
            > XGROUP DELCONSUMER s g ann\n0\n",
        ..stream_command("delconsumer", Arity::Exactly(5), WRITE, group::xgroup_delconsumer)
    },
    Command {
        since: "5.0.0",
        summary: "Explains the subcommands.",
        ..stream_command("help", Arity::Exactly(2), Flags::ANYTIME, xgroup_help)
    },
];

fn xinfo_help(call: &mut Call<'_>) -> Result<(), CmdError> {
    crate::introspect::help("XINFO", XINFO, call.reply);
    Ok(())
}

fn xgroup_help(call: &mut Call<'_>) -> Result<(), CmdError> {
    crate::introspect::help("XGROUP", XGROUP, call.reply);
    Ok(())
}
