"""Random commands of each family over few keys, so that they meet, and what of a reply may differ.

For everything that compares a node with a real server: test_differential.py, conformance.py.
"""

import random

import diff_bitmap
import diff_geo
import diff_hash_ttl
import diff_hyperloglog
import diff_stream
import diff_young_string
import diff_vector
from resp import Error, Tagged

KEYS = [f"k{number}" for number in range(10)]
# Ranges by name are only defined where all scores are equal: sorted sets of their own.
LEX_KEYS = ["x0", "x1"]
MEMBERS = ["a", "b", "c", "dd", "10", "-3", "7", "", "a long member of more than sixty-four bytes, "
           "so that no compact encoding holds it any longer", "\x00\xff\r\n"]
INTEGERS = ["0", "1", "-1", "2", "5", "-5", "100", "9223372036854775807", "-9223372036854775808"]
BAD_INTEGERS = ["", "x", "1.5", "9223372036854775808", " 1", "1 ", "+1", "0y1"]
# Fractions that binary numbers hold exactly: how the others print changed between 7.0 and 7.2.
FLOATS = ["0", "1", "-1", "1.5", "3.25", "-0.125", "1e3", "inf", "-inf", "17179869184", "0.5"]
# The oracle adds in 80 bits, we in decimal: equal for whole numbers, and for fractions of small ones.
WHOLE = ["0", "1", "-1", "7", "1e3", "-250", "inf", "-inf", "x", "1,5"]
FRACTION_KEYS = ["f0", "f1"]
BAD_FLOATS = ["", "x", "nan", "1,5", "1.5x"]


class Words:
    """Draws arguments."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    def key(self):
        return self.one(KEYS)

    def keys(self, most=3):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def member(self):
        return self.one(MEMBERS) if self.chance(0.8) else f"m{self.random.randrange(200)}"

    def members(self, most=4):
        return [self.member() for _ in range(self.random.randint(1, most))]

    def integer(self):
        return self.one(BAD_INTEGERS) if self.chance(0.04) else self.one(INTEGERS)

    def small(self):
        return self.one(BAD_INTEGERS) if self.chance(0.03) else str(self.random.randint(-6, 12))

    def float(self):
        return self.one(BAD_FLOATS) if self.chance(0.04) else self.one(FLOATS)

    def bound(self):
        return self.one(["(", ""]) + self.one(FLOATS[:9]) if self.chance(0.9) else self.one(["x", "("])

    def lex(self):
        return self.one(["-", "+", "[a", "(b", "[c", "(", "[", "[dd", "x"])

    def lex_key(self):
        return self.one(LEX_KEYS)

    def flags(self, *choices):
        return [flag for flag in choices if self.chance(0.25)]


def pairs(first, second, most=3):
    return lambda w: [item for _ in range(w.random.randint(1, most)) for item in (first(w), second(w))]


def _limit(w):
    return ["LIMIT", w.small(), w.small()] if w.chance(0.3) else []


def _string(w):
    return w.one([
        lambda: ["SET", w.key(), w.member(), *w.flags("NX", "XX", "GET", "KEEPTTL")],
        lambda: ["SET", w.key(), w.member(), w.one(["EX", "PX"]), w.one(["1000", "0", "-1", "x"])],
        lambda: ["GET", w.key()],
        lambda: ["GETSET", w.key(), w.member()],
        lambda: ["GETDEL", w.key()],
        lambda: ["GETEX", w.key(), *w.one([[], ["PERSIST"], ["EX", "1000"], ["EX", "0"], ["NX"]])],
        lambda: ["SETNX", w.key(), w.member()],
        lambda: ["SETEX", w.key(), w.one(["1000", "0", "-1", "x"]), w.member()],
        lambda: ["APPEND", w.key(), w.member()],
        lambda: ["STRLEN", w.key()],
        lambda: [w.one(["INCR", "DECR"]), w.key()],
        lambda: [w.one(["INCRBY", "DECRBY"]), w.key(), w.integer()],
        lambda: ["INCRBYFLOAT", w.key(), w.one(WHOLE)],
        lambda: ["INCRBYFLOAT", w.one(FRACTION_KEYS), w.one(["0.5", "-0.25", "3.125", "-2", "x"])],
        lambda: ["SET", w.one(FRACTION_KEYS), w.one(["10", "-3.5", "0.0625", "1e2"])],
        lambda: ["GET", w.one(FRACTION_KEYS)],
        lambda: ["SET", w.key(), w.integer()],
        lambda: ["GETRANGE", w.key(), w.small(), w.small()],
        lambda: ["SUBSTR", w.key(), w.small(), w.small()],
        lambda: ["SETRANGE", w.key(), w.one(["0", "1", "5", "-1", "x", "600000000"]), w.member()],
        lambda: ["MGET", *w.keys()],
        lambda: [w.one(["MSET", "MSETNX"]), *pairs(Words.key, Words.member)(w)],
        lambda: ["MSET", w.key(), "v", w.key()],
    ])()


def _generic(w):
    return w.one([
        lambda: [w.one(["DEL", "UNLINK", "EXISTS", "TOUCH"]), *w.keys()],
        lambda: ["TYPE", w.key()],
        lambda: [w.one(["EXPIRE", "PEXPIRE"]), w.key(), w.one(["100000", "100", "-1", "0", "x"]),
                 *w.flags("NX", "XX", "GT", "LT")],
        lambda: [w.one(["EXPIREAT"]), w.key(), w.one(["4102444800", "1", "x"])],
        lambda: ["PEXPIREAT", w.key(), w.one(["4102444800000", "1", "-1"])],
        lambda: ["EXPIRETIME", w.key()],
        lambda: ["TTL", w.key()],
        lambda: ["PERSIST", w.key()],
        lambda: [w.one(["RENAME", "RENAMENX"]), w.key(), w.key()],
        lambda: ["COPY", w.key(), w.key(), *w.flags("REPLACE")],
        lambda: ["KEYS", w.one(["*", "k[1-5]", "k?", "nothing*"])],
        lambda: ["DBSIZE"],
        lambda: ["MOVE", w.key(), w.one(["0", "1", "99", "x"])],
    ])()


def _hash(w):
    return w.one([
        lambda: [w.one(["HSET", "HMSET"]), w.key(), *pairs(Words.member, Words.member)(w)],
        lambda: ["HSET", w.key(), w.member(), w.integer()],
        lambda: ["HSET", w.key(), "a"],
        lambda: ["HSETNX", w.key(), w.member(), w.member()],
        lambda: [w.one(["HGET", "HEXISTS", "HSTRLEN"]), w.key(), w.member()],
        lambda: ["HMGET", w.key(), *w.members()],
        lambda: ["HDEL", w.key(), *w.members()],
        lambda: [w.one(["HLEN", "HGETALL", "HKEYS", "HVALS"]), w.key()],
        lambda: ["HINCRBY", w.key(), w.member(), w.integer()],
        lambda: ["HINCRBYFLOAT", w.key(), w.member(), w.one(WHOLE)],
        lambda: ["HSCAN", w.key(), "0", "COUNT", "10000"],
        lambda: ["HRANDFIELD", w.key(), "100"],
    ])()


def _list(w):
    return w.one([
        lambda: [w.one(["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), w.key(), *w.members()],
        lambda: [w.one(["LPOP", "RPOP"]), w.key(), *w.one([[], [w.small()]])],
        lambda: ["LLEN", w.key()],
        lambda: ["LRANGE", w.key(), w.small(), w.small()],
        lambda: ["LINDEX", w.key(), w.small()],
        lambda: ["LSET", w.key(), w.small(), w.member()],
        lambda: ["LREM", w.key(), w.small(), w.member()],
        lambda: ["LTRIM", w.key(), w.small(), w.small()],
        lambda: ["LINSERT", w.key(), w.one(["BEFORE", "AFTER", "NEXT"]), w.member(), w.member()],
        lambda: ["LPOS", w.key(), w.member(), *w.one([[], ["RANK", w.small()], ["COUNT", w.small()],
                                                       ["MAXLEN", w.small()]])],
        lambda: ["RPOPLPUSH", w.key(), w.key()],
        lambda: ["LMOVE", w.key(), w.key(), w.one(["LEFT", "RIGHT", "UP"]), w.one(["LEFT", "RIGHT"])],
        lambda: ["LMPOP", w.one(["1", "2", "0", "x"]), w.key(), w.one(["LEFT", "RIGHT"]),
                 *w.one([[], ["COUNT", w.small()]])],
    ])()


def _set(w):
    return w.one([
        lambda: [w.one(["SADD", "SREM"]), w.key(), *w.members()],
        lambda: ["SADD", w.key(), *[str(n) for n in range(w.random.randint(1, 20))]],
        lambda: ["SISMEMBER", w.key(), w.member()],
        lambda: ["SMISMEMBER", w.key(), *w.members()],
        lambda: [w.one(["SCARD", "SMEMBERS"]), w.key()],
        lambda: [w.one(["SINTER", "SUNION", "SDIFF"]), *w.keys()],
        lambda: [w.one(["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]), w.key(), *w.keys()],
        lambda: ["SINTERCARD", w.one(["1", "2", "0", "x"]), *w.keys(), *w.one([[], ["LIMIT", w.small()]])],
        lambda: ["SMOVE", w.key(), w.key(), w.member()],
        lambda: ["SRANDMEMBER", w.key(), "1000"],
        lambda: ["SSCAN", w.key(), "0", "COUNT", "10000"],
    ])()


def _zset(w):
    return w.one([
        lambda: ["ZADD", w.key(), *w.flags("NX", "XX", "GT", "LT", "CH"), *pairs(Words.float, Words.member)(w)],
        lambda: ["ZADD", w.key(), "INCR", w.float(), w.member()],
        lambda: ["ZINCRBY", w.key(), w.float(), w.member()],
        lambda: ["ZREM", w.key(), *w.members()],
        lambda: ["ZCARD", w.key()],
        lambda: ["ZSCORE", w.key(), w.member()],
        lambda: ["ZMSCORE", w.key(), *w.members()],
        lambda: [w.one(["ZRANK", "ZREVRANK"]), w.key(), w.member()],
        lambda: [w.one(["ZRANGE", "ZREVRANGE"]), w.key(), w.small(), w.small(), *w.flags("WITHSCORES")],
        lambda: ["ZRANGE", w.key(), w.bound(), w.bound(), "BYSCORE", *w.flags("REV"), *_limit(w),
                 *w.flags("WITHSCORES")],
        lambda: ["ZADD", w.lex_key(), *[item for m in w.members() for item in ("0", m)]],
        lambda: ["ZRANGE", w.lex_key(), w.lex(), w.lex(), "BYLEX", *w.flags("REV"), *_limit(w)],
        lambda: [w.one(["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), w.key(), w.bound(), w.bound(),
                 *w.flags("WITHSCORES"), *_limit(w)],
        lambda: [w.one(["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), w.lex_key(), w.lex(), w.lex(), *_limit(w)],
        lambda: ["ZCOUNT", w.key(), w.bound(), w.bound()],
        lambda: ["ZLEXCOUNT", w.lex_key(), w.lex(), w.lex()],
        lambda: [w.one(["ZPOPMIN", "ZPOPMAX"]), w.key(), *w.one([[], [w.small()]])],
        lambda: ["ZREMRANGEBYRANK", w.key(), w.small(), w.small()],
        lambda: ["ZREMRANGEBYSCORE", w.key(), w.bound(), w.bound()],
        lambda: ["ZREMRANGEBYLEX", w.lex_key(), w.lex(), w.lex()],
        lambda: ["ZSCAN", w.key(), "0", "COUNT", "10000"],
        lambda: ["ZRANGESTORE", w.key(), w.key(), w.small(), w.small()],
        lambda: [w.one(["ZUNION", "ZINTER"]), "2", w.key(), w.key(), *w.flags("WITHSCORES")],
        lambda: ["ZUNIONSTORE", w.key(), "2", w.key(), w.key(), *w.one(
            [[], ["WEIGHTS", "2", "0.5"], ["AGGREGATE", w.one(["MIN", "MAX", "SUM"])]])],
        lambda: ["ZINTERSTORE", w.key(), "2", w.key(), w.key()],
    ])()


def _bitmap(w):
    offset = w.one(["0", "1", "7", "8", "100", "4294967296", "-1", "x"])
    return w.one([
        lambda: ["SETBIT", w.key(), offset if offset != "4294967296" else "77", w.one(["0", "1", "2"])],
        lambda: ["GETBIT", w.key(), offset],
        lambda: ["BITCOUNT", w.key(), *w.one([[], [w.small(), w.small()], [w.small()],
                                              [w.small(), w.small(), w.one(["BIT", "BYTE", "NIBBLE"])]])],
        lambda: ["BITPOS", w.key(), w.one(["0", "1", "2"]), *w.one(
            [[], [w.small()], [w.small(), w.small()], [w.small(), w.small(), w.one(["BIT", "BYTE"])]])],
        lambda: ["BITOP", w.one(["AND", "OR", "XOR", "NOT", "NAND"]), w.key(), *w.keys()],
    ])()


def _sort(w):
    return w.one([
        lambda: [w.one(["SORT", "SORT_RO"]), w.key(), *_limit(w), *w.flags("ASC", "DESC"), *w.flags("ALPHA")],
        lambda: ["SORT", w.key(), "ALPHA", "STORE", w.key()],
        lambda: ["RPUSH", w.key(), *[w.small() for _ in range(5)]],
    ])()


def _inspect(w):
    return w.one([
        lambda: ["OBJECT", "ENCODING", w.key()],
        lambda: ["OBJECT", "REFCOUNT", w.key()],
        lambda: ["RPUSH", "ordered", w.member()],
        lambda: ["SORT", "ordered", "BY", "nosort", *_limit(w)],
        lambda: ["LCS", w.key(), w.key(), *w.flags("LEN"), *w.flags("IDX"), *w.flags("WITHMATCHLEN")],
        lambda: ["COMMAND", "GETKEYS", *w.one([_string, _zset, _list, _set])(w)],
        lambda: ["SCAN", "0", "COUNT", "100000", *w.one([[], ["MATCH", "k[1-4]"], ["TYPE", w.one(
            ["string", "hash", "list", "set", "zset", "nothing"])]])],
        lambda: ["RANDOMKEY", "surplus"],
        lambda: ["TOUCH"],
        lambda: w.one([["NOSUCHCOMMAND", "a", "b"], ["get"], ["SET", "a"], ["OBJECT", "NOSUCH", "k"],
                       ["CONFIG", "GET"], ["ECHO", w.member()], ["PING", w.member()], ["PING", "a", "b"]]),
    ])()


def _transaction(w):
    """One command at a time: MULTI and EXEC meet whatever the others send between them."""
    return w.one([
        lambda: ["MULTI"],
        lambda: ["EXEC"],
        lambda: ["EXEC"],
        lambda: ["DISCARD"],
        lambda: ["WATCH", *w.keys()],
        lambda: ["UNWATCH"],
        lambda: ["SELECT", w.one(["0", "0", "1", "99", "x"])],
        lambda: ["SWAPDB", w.one(["0", "1", "x"]), w.one(["0", "1", "99"])],
        lambda: w.one([_string, _hash, _zset])(w),
    ])()


def _young_scan(w):
    return w.one([
        lambda: [w.one(["HSCAN", "SSCAN", "ZSCAN"]), w.key(), "0", "NOVALUES", *w.one([[], ["COUNT", "10000"]])],
        lambda: ["SCAN", "0", "NOVALUES"],
        lambda: ["HSET", w.key(), w.member(), w.member()],
    ])()


FAMILIES = {"string": _string, "generic": _generic, "hash": _hash, "list": _list, "set": _set,
            "zset": _zset, "bitmap": _bitmap, "sort": _sort, "inspect": _inspect,
            "transaction": _transaction, "stream": diff_stream.stream, "bitfield": diff_bitmap.family,
            "hyperloglog": diff_hyperloglog.commands, "geo": diff_geo.family}
# What not every server has.
YOUNG = {"redis-8.2": {"hash-ttl": diff_hash_ttl.commands, "vector": diff_vector.commands,
                       "scan": _young_scan},
         "valkey-9.1": {"young-string": diff_young_string.commands, "scan": _young_scan}}

# What has no order of its own, or one that may differ.
UNORDERED = {"SMEMBERS", "SINTER", "SUNION", "SDIFF", "KEYS", "HGETALL", "HKEYS", "HVALS",
             "SRANDMEMBER", "HRANDFIELD"}
SCANS = {"SCAN", "SSCAN", "HSCAN", "ZSCAN"}


def comparable(command, reply):
    """The reply without what may differ."""
    name = command[0]
    if isinstance(reply, Error):
        return reply
    if name.startswith("GEO"):
        return diff_geo.comparable(command, reply)
    if name.startswith("V"):
        return diff_vector.comparable(command, reply)
    if name in ("HTTL", "HEXPIRETIME"):
        return diff_hash_ttl.comparable(command, reply)
    if name in SCANS and isinstance(reply, list) and isinstance(reply[1], list):
        step = 1 if name in ("SCAN", "SSCAN") or "NOVALUES" in command else 2
        return [reply[0], grouped(reply[1], step)]
    if name in UNORDERED:
        if isinstance(reply, Tagged) and reply[0] in ("map", "~"):
            return (reply[0], sorted(reply[1], key=repr))
        if isinstance(reply, list):
            return grouped(reply, 2 if name == "HGETALL" else 1)
    if name.startswith("X"):
        return diff_stream.comparable_stream(command, reply)
    if name in ("TTL", "EXPIRETIME") and isinstance(reply, int) and reply > 0:
        # A second may pass between the two servers.
        return ("about", round(reply / 10))
    return reply


def grouped(items, step):
    return sorted((items[at:at + step] for at in range(0, len(items), step)), key=repr)


def near(a, b):
    if isinstance(a, tuple) and isinstance(b, tuple) and a[:1] == b[:1] == ("about",):
        return abs(a[1] - b[1]) <= 1
    return a == b
