//! The sorted-set family; those that wait are in [`blocking`].

use crate::arg::Arg;
use crate::command::{Arity, Command, Deprecated, Flags, Group, Run};
use crate::keys::{Access, Keys};

mod add;
pub(crate) mod blocking;
pub(crate) mod bounds;
mod combine;
mod pop;
mod range;
mod read;
#[cfg(test)]
mod tests;

const READ: Flags = Flags::READ;
const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);

const READ_KEY: &[Keys] = &[Keys::at(1, Access::READ)];
const TRIM_KEY: &[Keys] = &[Keys::at(1, Access::TRIM)];
const POP_KEY: &[Keys] = &[Keys::at(1, Access::POP)];
const COUNTED_KEYS: &[Keys] = &[Keys::counted(1, Access::READ)];
const STORE_KEYS: &[Keys] = &[Keys::at(1, Access::OVERWRITE), Keys::counted(2, Access::READ)];

const KEY: Arg = Arg::key("key");
const MEMBER: Arg = Arg::string("member");
const WITHSCORES: Arg = Arg::word("withscores", "WITHSCORES").optional();
const WITHSCORE: Arg = Arg::word("withscore", "WITHSCORE").optional().since("7.2.0");
const LIMIT: Arg =
    Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")]).token("LIMIT").optional();
const SORT_BY: Arg =
    Arg::one_of("sortby", &[Arg::word("byscore", "BYSCORE"), Arg::word("bylex", "BYLEX")])
        .optional()
        .since("6.2.0");
const WHERE: Arg = Arg::one_of("where", &[Arg::word("min", "MIN"), Arg::word("max", "MAX")]);
const NUMKEYS: Arg = Arg::integer("numkeys");
const KEYS: Arg = KEY.multiple();
const STORE_TO: Arg = Arg::key("destination");
const STORE_FROM: Arg = KEY.multiple().key_spec(1);
const WEIGHTS: Arg = Arg::integer("weight").token("WEIGHTS").optional().multiple();
const AGGREGATE: Arg = Arg::one_of(
    "aggregate",
    &[
        Arg::word("sum", "SUM"),
        Arg::word("min", "MIN"),
        Arg::word("max", "MAX"),
        Arg::word("count", "COUNT").since("8.8.0"),
    ],
)
.token("AGGREGATE")
.optional();

const KEY_SCORES: &[Arg] = &[KEY, Arg::double("min"), Arg::double("max")];
const KEY_LEX: &[Arg] = &[KEY, Arg::string("min"), Arg::string("max")];
const KEY_RANKS: &[Arg] = &[KEY, Arg::integer("start"), Arg::integer("stop")];

const REPLACED_BY_REV: &str = "`ZRANGE` with the `REV` argument";
const LOG_AND_MORE: &str = "O(log(N)+M) with N members of which M are returned.";
const LOG_AND_REMOVED: &str = "O(log(N)*M) with N members of which M are removed.";

const fn replaced(by: &'static str) -> Option<Deprecated> {
    Some(Deprecated { since: "6.2.0", replaced_by: by })
}

const fn zset_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::SortedSet, ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::RW.and(Access::UPDATE))],
        args: &[
            KEY,
            Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
                .optional()
                .since("3.0.2"),
            Arg::one_of("comparison", &[Arg::word("gt", "GT"), Arg::word("lt", "LT")])
                .optional()
                .since("6.2.0"),
            Arg::word("change", "CH").optional().since("3.0.2"),
            Arg::word("increment", "INCR").optional().since("3.0.2"),
            Arg::block("data", &[Arg::double("score"), MEMBER]).multiple(),
        ],
        since: "1.2.0",
        summary: "Adds members to a sorted set, or gives them other scores.",
        complexity: "O(log(N)) for each member.",
        history: &[
            ("2.4.0", "Several members."),
            ("3.0.2", "`XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "`GT` and `LT`."),
        ],
        run: Run::Data(add::zadd),
        script: "> ZADD z 1 a 2 b\n2\n> ZADD z CH 5 a 2 b\n1\n> ZADD z XX 1 c\n0\n> ZADD z NX 9 a\n0\n\
            > ZADD z GT 4 a 3 b\n0\n> ZADD z LT INCR -1 a\n4\n> ZADD z GT INCR -1 a\n(nil)\n\
            > ZRANGE z 0 -1 WITHSCORES\n1) b\n2) 3\n3) a\n4) 4\n> ZADD z x a\n\
            (error) ERR value is not a valid float\n> ZADD z 1\n\
            (error) ERR wrong number of arguments for 'zadd' command\n> ZADD z 1 a 2\n\
            (error) ERR syntax error\n> ZADD z NX XX 1 a\n\
            (error) ERR XX and NX options at the same time are not compatible\n> ZADD z NX GT 1 a\n\
            (error) ERR GT, LT, and/or NX options at the same time are not compatible\n\
            > ZADD z INCR 1 a 2 b\n\
            (error) ERR INCR option supports a single increment-element pair\n\
            > ZADD new XX 1 a\n0\n> EXISTS new\n0\n",
        ..zset_command("zadd", Arity::AtLeast(4), WRITE_OOM.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[KEY, Arg::integer("increment"), MEMBER],
        since: "1.2.0",
        summary: "Adds to the score of a member, which begins at 0 if it is new.",
        complexity: "O(log(N)) with the number of members.",
        run: Run::Data(add::zincrby),
        script: "> ZINCRBY z 1.5 a\n1.5\n> ZINCRBY z -3 a\n-1.5\n> ZINCRBY z inf a\ninf\n\
            > ZINCRBY z -inf a\n(error) ERR resulting score is not a number (NaN)\n",
        ..zset_command("zincrby", Arity::Exactly(4), WRITE_OOM.and(Flags::FAST))
    },
    Command {
        keys: TRIM_KEY,
        args: &[KEY, MEMBER.multiple()],
        since: "1.2.0",
        summary: "Removes members from a sorted set, and the key with its last member.",
        complexity: "O(log(N)) for each member.",
        history: &[("2.4.0", "Several members.")],
        run: Run::Data(add::zrem),
        script: "> ZADD z 1 a 2 b\n2\n> ZREM z a c\n1\n> ZREM z b b\n1\n> EXISTS z\n0\n> ZREM z b\n0\n",
        ..zset_command("zrem", Arity::AtLeast(3), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: &[KEY],
        since: "1.2.0",
        summary: "Tells how many members a sorted set has.",
        run: Run::Data(read::zcard),
        script: "> ZADD z 1 a 2 b\n2\n> ZCARD z\n2\n> ZCARD absent\n0\n",
        ..zset_command("zcard", Arity::Exactly(2), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, MEMBER],
        since: "1.2.0",
        summary: "Tells the score of a member.",
        run: Run::Data(read::zscore),
        script: "> ZADD z 1.5 a\n1\n> ZSCORE z a\n1.5\n> ZSCORE z b\n(nil)\n> ZSCORE absent a\n(nil)\n",
        ..zset_command("zscore", Arity::Exactly(3), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, MEMBER.multiple()],
        since: "6.2.0",
        summary: "Tells the scores of several members.",
        complexity: "O(1) for each member.",
        run: Run::Data(read::zmscore),
        script: "> ZADD z 1 a 2 b\n2\n> ZMSCORE z b x a\n1) 2\n2) (nil)\n3) 1\n\
            > ZMSCORE absent a\n1) (nil)\n",
        ..zset_command("zmscore", Arity::AtLeast(3), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, MEMBER, WITHSCORE],
        since: "2.0.0",
        summary: "Tells how many members have a lower place than a member.",
        complexity: "O(log(N)) with the number of members.",
        history: &[("7.2.0", "`WITHSCORE`.")],
        run: Run::Data(read::zrank),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZRANK z b\n1\n> ZRANK z c WITHSCORE\n1) 2\n2) 3\n\
            > ZRANK z x\n(nil)\n> ZRANK z x WITHSCORE\n(nil)\n> ZRANK z a WITHSCORES\n\
            (error) ERR syntax error\n",
        ..zset_command("zrank", Arity::AtLeast(3), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, MEMBER, WITHSCORE],
        since: "2.0.0",
        summary: "Tells how many members have a higher place than a member.",
        complexity: "O(log(N)) with the number of members.",
        history: &[("7.2.0", "`WITHSCORE`.")],
        run: Run::Data(read::zrevrank),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZREVRANK z a\n2\n> ZREVRANK z c WITHSCORE\n1) 0\n2) 3\n",
        ..zset_command("zrevrank", Arity::AtLeast(3), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: KEY_SCORES,
        since: "2.0.0",
        summary: "Counts the members whose scores lie between two bounds.",
        complexity: "O(log(N)) with the number of members.",
        run: Run::Data(range::zcount),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZCOUNT z -inf +inf\n3\n> ZCOUNT z (1 3\n2\n\
            > ZCOUNT z 3 1\n0\n> ZCOUNT z x 1\n(error) ERR min or max is not a float\n",
        ..zset_command("zcount", Arity::Exactly(4), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: KEY_LEX,
        since: "2.8.9",
        summary: "Counts the members between two texts, where all scores are equal.",
        complexity: "O(log(N)) with the number of members.",
        run: Run::Data(range::zlexcount),
        script: "> ZADD z 0 a 0 b 0 c\n3\n> ZLEXCOUNT z - +\n3\n> ZLEXCOUNT z [b (c\n1\n\
            > ZLEXCOUNT z b c\n(error) ERR min or max not valid string range item\n",
        ..zset_command("zlexcount", Arity::Exactly(4), READ_FAST)
    },
    Command {
        keys: READ_KEY,
        args: &[
            KEY,
            Arg::string("start"),
            Arg::string("stop"),
            SORT_BY,
            Arg::word("rev", "REV").optional().since("6.2.0"),
            LIMIT.since("6.2.0"),
            WITHSCORES,
        ],
        since: "1.2.0",
        summary: "Returns members by rank, by score or by text, in either direction.",
        complexity: LOG_AND_MORE,
        history: &[("6.2.0", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
        run: Run::Data(range::zrange),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZRANGE z 0 -1\n1) a\n2) b\n3) c\n\
            > ZRANGE z 0 1 REV WITHSCORES\n1) c\n2) 3\n3) b\n4) 2\n\
            > ZRANGE z (1 +inf BYSCORE LIMIT 1 1\n1) c\n> ZRANGE z 3 1 BYSCORE REV LIMIT 1 -1\n\
            1) b\n2) a\n> ZRANGE z 5 9\n(empty array)\n> ZRANGE z 0 1 LIMIT 0 1\n\
            (error) ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
            BYLEX\n> ZRANGE z - + BYLEX WITHSCORES\n\
            (error) ERR syntax error, WITHSCORES not supported in combination with BYLEX\n\
            > ZRANGE z - + BYLEX LIMIT 0 2\n1) a\n2) b\n> ZRANGE absent 0 -1\n(empty array)\n",
        ..zset_command("zrange", Arity::AtLeast(4), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::OVERWRITE), Keys::at(2, Access::READ)],
        args: &[
            Arg::key("dst"),
            Arg::key("src").key_spec(1),
            Arg::string("min"),
            Arg::string("max"),
            SORT_BY,
            Arg::word("rev", "REV").optional(),
            LIMIT,
        ],
        since: "6.2.0",
        summary: "Stores what `ZRANGE` would return, with its scores, at another key.",
        complexity: "O(log(N)+M*log(M)) with N members of which M are stored.",
        run: Run::Data(range::zrangestore),
        script: "> ZADD {z} 1 a 2 b 3 c\n3\n> ZRANGESTORE {z}2 {z} 1 -1\n2\n\
            > ZRANGE {z}2 0 -1 WITHSCORES\n1) b\n2) 2\n3) c\n4) 3\n\
            > ZRANGESTORE {z}2 {z} 7 9 BYSCORE\n0\n> EXISTS {z}2\n0\n\
            > ZRANGESTORE {z}2 {z} 0 1 WITHSCORES\n(error) ERR syntax error\n",
        ..zset_command("zrangestore", Arity::AtLeast(5), WRITE_OOM)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::integer("start"), Arg::integer("stop"), WITHSCORES],
        since: "1.2.0",
        summary: "Returns members by rank, counted from the highest score.",
        complexity: LOG_AND_MORE,
        deprecated: replaced(REPLACED_BY_REV),
        run: Run::Data(range::zrevrange),
        script: "> ZADD z 1 a 2 b\n2\n> ZREVRANGE z 0 0 WITHSCORES\n1) b\n2) 2\n",
        ..zset_command("zrevrange", Arity::AtLeast(4), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::double("min"), Arg::double("max"), WITHSCORES.since("2.0.0"), LIMIT],
        since: "1.0.5",
        summary: "Returns the members whose scores lie between two bounds.",
        complexity: LOG_AND_MORE,
        deprecated: replaced("`ZRANGE` with the `BYSCORE` argument"),
        history: &[("2.0.0", "`WITHSCORES`.")],
        run: Run::Data(range::zrangebyscore),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZRANGEBYSCORE z (1 3\n1) b\n2) c\n\
            > ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 1 1\n1) b\n2) 2\n\
            > ZRANGEBYSCORE z -inf +inf LIMIT -1 1\n(empty array)\n\
            > ZRANGEBYSCORE z 1 x\n(error) ERR min or max is not a float\n",
        ..zset_command("zrangebyscore", Arity::AtLeast(4), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::double("max"), Arg::double("min"), WITHSCORES, LIMIT],
        since: "2.2.0",
        summary: "Returns the members whose scores lie between two bounds, the highest first.",
        complexity: LOG_AND_MORE,
        deprecated: replaced("`ZRANGE` with the `REV` and `BYSCORE` arguments"),
        run: Run::Data(range::zrevrangebyscore),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZREVRANGEBYSCORE z +inf (1\n1) c\n2) b\n",
        ..zset_command("zrevrangebyscore", Arity::AtLeast(4), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::string("min"), Arg::string("max"), LIMIT],
        since: "2.8.9",
        summary: "Returns the members between two texts, where all scores are equal.",
        complexity: LOG_AND_MORE,
        deprecated: replaced("`ZRANGE` with the `BYLEX` argument"),
        run: Run::Data(range::zrangebylex),
        script: "> ZADD z 0 a 0 b 0 c\n3\n> ZRANGEBYLEX z [b +\n1) b\n2) c\n> ZRANGEBYLEX z - (b\n1) a\n",
        ..zset_command("zrangebylex", Arity::AtLeast(4), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[KEY, Arg::string("max"), Arg::string("min"), LIMIT],
        since: "2.8.9",
        summary: "Returns the members between two texts, the last first.",
        complexity: LOG_AND_MORE,
        deprecated: replaced("`ZRANGE` with the `REV` and `BYLEX` arguments"),
        run: Run::Data(range::zrevrangebylex),
        script: "> ZADD z 0 a 0 b 0 c\n3\n> ZREVRANGEBYLEX z (c -\n1) b\n2) a\n",
        ..zset_command("zrevrangebylex", Arity::AtLeast(4), READ)
    },
    Command {
        keys: TRIM_KEY,
        args: KEY_RANKS,
        since: "2.0.0",
        summary: "Removes the members with some ranks.",
        complexity: LOG_AND_REMOVED,
        run: Run::Data(range::zremrangebyrank),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZREMRANGEBYRANK z 0 -2\n2\n> ZRANGE z 0 -1\n1) c\n\
            > ZREMRANGEBYRANK z 0 5\n1\n> EXISTS z\n0\n",
        ..zset_command("zremrangebyrank", Arity::Exactly(4), WRITE)
    },
    Command {
        keys: TRIM_KEY,
        args: KEY_SCORES,
        since: "1.2.0",
        summary: "Removes the members whose scores lie between two bounds.",
        complexity: LOG_AND_REMOVED,
        run: Run::Data(range::zremrangebyscore),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZREMRANGEBYSCORE z -inf (3\n2\n> ZRANGE z 0 -1\n1) c\n",
        ..zset_command("zremrangebyscore", Arity::Exactly(4), WRITE)
    },
    Command {
        keys: TRIM_KEY,
        args: KEY_LEX,
        since: "2.8.9",
        summary: "Removes the members between two texts, where all scores are equal.",
        complexity: LOG_AND_REMOVED,
        run: Run::Data(range::zremrangebylex),
        script: "> ZADD z 0 a 0 b 0 c\n3\n> ZREMRANGEBYLEX z [a (c\n2\n> ZRANGE z 0 -1\n1) c\n",
        ..zset_command("zremrangebylex", Arity::Exactly(4), WRITE)
    },
    Command {
        keys: POP_KEY,
        args: &[KEY, Arg::integer("count").optional()],
        since: "5.0.0",
        summary: "Takes the members with the lowest scores out of a sorted set.",
        complexity: "O(log(N)*M) with N members of which M are taken.",
        run: Run::Data(pop::zpopmin),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZPOPMIN z\n1) a\n2) 1\n> ZPOPMIN z 5\n1) b\n2) 2\n3) c\n\
            4) 3\n> EXISTS z\n0\n> ZPOPMIN z\n(empty array)\n> ZPOPMIN z -1\n\
            (error) ERR value is out of range, must be positive\n",
        ..zset_command("zpopmin", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: POP_KEY,
        args: &[KEY, Arg::integer("count").optional()],
        since: "5.0.0",
        summary: "Takes the members with the highest scores out of a sorted set.",
        complexity: "O(log(N)*M) with N members of which M are taken.",
        run: Run::Data(pop::zpopmax),
        script: "> ZADD z 1 a 2 b 3 c\n3\n> ZPOPMAX z\n1) c\n2) 3\n> ZPOPMAX z 0\n(empty array)\n",
        ..zset_command("zpopmax", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: &[Keys::counted(1, Access::POP)],
        args: &[NUMKEYS, KEYS, WHERE, Arg::integer("count").token("COUNT").optional()],
        since: "7.0.0",
        summary: "Takes members out of the first of several sorted sets that has any.",
        complexity: "O(K)+O(M*log(N)) with K keys and N members of which M are taken.",
        run: Run::Data(pop::zmpop),
        script: "> ZADD {z}2 1 a 2 b 3 c\n3\n> ZMPOP 2 {z}1 {z}2 MIN\n1) {z}2\n2) 1) 1) a\n      2) 1\n\
            > ZMPOP 1 {z}2 MAX COUNT 9\n1) {z}2\n2) 1) 1) c\n      2) 3\n   2) 1) b\n      2) 2\n\
            > ZMPOP 1 {z}2 MIN\n(nil)\n> ZMPOP 0 {z}2 MIN\n\
            (error) ERR numkeys should be greater than 0\n> ZMPOP 1 {z}2 LEFT\n\
            (error) ERR syntax error\n",
        ..zset_command("zmpop", Arity::AtLeast(4), WRITE)
    },
    Command {
        keys: READ_KEY,
        args: &[
            KEY,
            Arg::block(
                "options",
                &[Arg::integer("count"), Arg::word("withscores", "WITHSCORES").optional()],
            )
            .optional(),
        ],
        since: "6.2.0",
        summary: "Returns random members: distinct ones, or with repetition for a negative count.",
        complexity: "O(M*log(N)) with N members of which M are returned.",
        tips: &["nondeterministic_output"],
        run: Run::Data(read::zrandmember),
        script: "> ZADD z 1 a\n1\n> ZRANDMEMBER z\na\n> ZRANDMEMBER z 5 WITHSCORES\n1) a\n2) 1\n\
            > ZRANDMEMBER z -2\n1) a\n2) a\n> ZRANDMEMBER absent\n(nil)\n> ZRANDMEMBER absent 1\n\
            (empty array)\n> ZRANDMEMBER z 1 x\n(error) ERR syntax error\n",
        ..zset_command("zrandmember", Arity::AtLeast(2), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[
            KEY,
            Arg::integer("cursor"),
            Arg::pattern("pattern").token("MATCH").optional(),
            Arg::integer("count").token("COUNT").optional(),
        ],
        since: "2.8.0",
        summary: "Walks through the members of a sorted set, some in each call.",
        complexity: "O(1) for each call, O(N) for a whole walk.",
        tips: &["nondeterministic_output"],
        run: Run::Data(read::zscan),
        script: "> ZADD z 1 a 2.5 b\n2\n> ZSCAN z 0\n1) 0\n2) 1) a\n   2) 1\n   3) b\n   4) 2.5\n\
            > ZSCAN z 0 MATCH b* COUNT 100\n1) 0\n2) 1) b\n   2) 2.5\n> ZSCAN z -1\n\
            (error) ERR invalid cursor\n",
        ..zset_command("zscan", Arity::AtLeast(3), READ)
    },
    Command {
        keys: COUNTED_KEYS,
        args: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        since: "6.2.0",
        summary: "Returns the members of any of several sorted sets or sets.",
        complexity: "O(N*log(N)) with the members of all.",
        run: Run::Data(combine::zunion),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZADD {z}2 10 b\n1\n> SADD {z}3 c\n1\n\
            > ZUNION 3 {z}1 {z}2 {z}3 WITHSCORES\n1) a\n2) 1\n3) c\n4) 1\n5) b\n6) 12\n\
            > ZUNION 2 {z}1 {z}2 WEIGHTS 2 1 AGGREGATE MAX WITHSCORES\n1) a\n2) 2\n3) b\n4) 10\n\
            > ZUNION 2 {z}1 {z}2 WEIGHTS 2 3 AGGREGATE COUNT WITHSCORES\n1) a\n2) 2\n3) b\n4) 5\n\
            > ZUNION 0 {z}1\n(error) ERR at least 1 input key is needed for 'zunion' command\n\
            > ZUNION 1 {z}1 WEIGHTS x\n(error) ERR weight value is not a float\n\
            > ZUNION 3 {z}1 {z}2\n(error) ERR syntax error\n",
        ..zset_command("zunion", Arity::AtLeast(3), READ)
    },
    Command {
        keys: COUNTED_KEYS,
        args: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        since: "6.2.0",
        summary: "Returns the members that all of several sorted sets or sets have.",
        complexity: "O(N*K)+O(M*log(M)) with N members of the smallest, K keys and M results.",
        run: Run::Data(combine::zinter),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZADD {z}2 10 b\n1\n> ZINTER 2 {z}1 {z}2 WITHSCORES\n1) b\n\
            2) 12\n> ZINTER 2 {z}1 {z}2 AGGREGATE MIN\n1) b\n\
            > ZINTER 2 {z}1 {z}2 AGGREGATE COUNT WITHSCORES\n1) b\n2) 2\n> ZINTER 2 {z}1 absent{z}\n\
            (empty array)\n",
        ..zset_command("zinter", Arity::AtLeast(3), READ)
    },
    Command {
        keys: COUNTED_KEYS,
        args: &[NUMKEYS, KEYS, Arg::integer("limit").token("LIMIT").optional()],
        since: "7.0.0",
        summary: "Counts the members that all of several sorted sets or sets have.",
        complexity: "O(N*K) with N members of the smallest and K keys.",
        run: Run::Data(combine::zintercard),
        script: "> ZADD {z}1 1 a 2 b 3 c\n3\n> ZADD {z}2 1 a 2 b\n2\n> ZINTERCARD 2 {z}1 {z}2\n2\n\
            > ZINTERCARD 2 {z}1 {z}2 LIMIT 1\n1\n> ZINTERCARD 2 {z}1 {z}2 LIMIT -1\n\
            (error) ERR LIMIT can't be negative\n",
        ..zset_command("zintercard", Arity::AtLeast(3), READ)
    },
    Command {
        keys: COUNTED_KEYS,
        args: &[NUMKEYS, KEYS, WITHSCORES],
        since: "6.2.0",
        summary: "Returns the members of the first sorted set that no other one has.",
        complexity: "O(N*K)+O(M*log(M)) with N members of the first, K keys and M results.",
        run: Run::Data(combine::zdiff),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZADD {z}2 10 b\n1\n> ZDIFF 2 {z}1 {z}2 WITHSCORES\n1) a\n\
            2) 1\n> ZDIFF 1 {z}1 WEIGHTS 2\n(error) ERR syntax error\n",
        ..zset_command("zdiff", Arity::AtLeast(3), READ)
    },
    Command {
        keys: STORE_KEYS,
        args: &[STORE_TO, NUMKEYS, STORE_FROM, WEIGHTS, AGGREGATE],
        since: "2.0.0",
        summary: "Stores what `ZUNION` would return, with its scores, at a key.",
        complexity: "O(N*log(N)) with the members of all.",
        run: Run::Data(combine::zunionstore),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZUNIONSTORE {z}2 2 {z}1 {z}1\n2\n\
            > ZRANGE {z}2 0 -1 WITHSCORES\n1) a\n2) 2\n3) b\n4) 4\n> ZUNIONSTORE {z}2 1 absent{z}\n0\n\
            > EXISTS {z}2\n0\n> ZUNIONSTORE {z}2 1 {z}1 WITHSCORES\n(error) ERR syntax error\n",
        ..zset_command("zunionstore", Arity::AtLeast(4), WRITE_OOM)
    },
    Command {
        keys: STORE_KEYS,
        args: &[STORE_TO, NUMKEYS, STORE_FROM, WEIGHTS, AGGREGATE],
        since: "2.0.0",
        summary: "Stores what `ZINTER` would return, with its scores, at a key.",
        complexity: "O(N*K)+O(M*log(M)) with N members of the smallest, K keys and M results.",
        run: Run::Data(combine::zinterstore),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZADD {z}2 10 b\n1\n> ZINTERSTORE {z}1 2 {z}1 {z}2\n1\n\
            > ZRANGE {z}1 0 -1 WITHSCORES\n1) b\n2) 12\n",
        ..zset_command("zinterstore", Arity::AtLeast(4), WRITE_OOM)
    },
    Command {
        keys: STORE_KEYS,
        args: &[STORE_TO, NUMKEYS, STORE_FROM],
        since: "6.2.0",
        summary: "Stores what `ZDIFF` would return, with its scores, at a key.",
        complexity: "O(N*K)+O(M*log(M)) with N members of the first, K keys and M results.",
        run: Run::Data(combine::zdiffstore),
        script: "> ZADD {z}1 1 a 2 b\n2\n> ZADD {z}2 10 b\n1\n> ZDIFFSTORE {z}3 2 {z}1 {z}2\n1\n\
            > ZRANGE {z}3 0 -1\n1) a\n",
        ..zset_command("zdiffstore", Arity::AtLeast(4), WRITE_OOM)
    },
];
