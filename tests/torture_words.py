"""Random commands for `make torture`: all families of differences.py, and what those leave out since its
effect depends on time, on chance or on others: ends that come, waiting, draws, big values, whole databases.
"""

import diff_hash_ttl
from differences import FAMILIES, Words

DATABASES = 4
WAIT_S = ["0.001", "0.01", "0.05"]
SHORT_MS = ["1", "5", "20", "100", "300"]
# Many slots, so that workers meet in some and pass each other in others.
WIDE = 500


class Torture(Words):
    """Draws of everything that the newest servers know."""

    peer = "redis-8.2"

    def key(self):
        return super().key() if self.chance(0.6) else f"{self.one('kw')}:{self.random.randrange(WIDE)}"


def _blocking(w):
    wait, side = w.one(WAIT_S), w.one(["LEFT", "RIGHT"])
    return w.one([
        lambda: [w.one(["BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX"]), *w.keys(), wait],
        lambda: ["BLMOVE", w.key(), w.key(), side, w.one(["LEFT", "RIGHT"]), wait],
        lambda: ["BRPOPLPUSH", w.key(), w.key(), wait],
        lambda: ["BLMPOP", wait, "1", w.key(), side, "COUNT", w.one(["1", "5"])],
        lambda: ["BZMPOP", wait, "1", w.key(), w.one(["MIN", "MAX"])],
        lambda: ["XREAD", "BLOCK", w.one(SHORT_MS[:3]), "STREAMS", w.one(["s0", "s1"]), "$"],
        lambda: ["XREADGROUP", "GROUP", "g", "ann", "BLOCK", w.one(SHORT_MS[:3]), "STREAMS", w.one(["s0", "s1"]), ">"],
        # What those wait for.
        lambda: [w.one(["LPUSH", "RPUSH"]), w.key(), *w.members()],
        lambda: ["ZADD", w.key(), "1", w.member(), "2", w.member()],
        lambda: ["XADD", w.one(["s0", "s1"]), "*", "f", w.member()],
    ])()


def _expiry(w):
    short = w.one(SHORT_MS)
    field = w.one(diff_hash_ttl.FIELDS)
    hashed = w.one(diff_hash_ttl.KEYS)
    return w.one([
        lambda: ["SET", w.key(), w.member(), "PX", short],
        lambda: ["PSETEX", w.key(), short, w.member()],
        lambda: ["GETEX", w.key(), "PX", short],
        lambda: ["PEXPIRE", w.key(), short, *w.flags("NX", "XX", "GT", "LT")[:1]],
        lambda: ["PEXPIRE", w.key(), short],
        lambda: ["HSET", hashed, field, w.member(), w.member(), "1"],
        lambda: ["HPEXPIRE", hashed, short, "FIELDS", "1", field],
        lambda: ["HGETEX", hashed, "PX", short, "FIELDS", "1", field],
        lambda: ["HSETEX", hashed, "PX", short, "FIELDS", "2", field, "v", w.member(), "v"],
        lambda: ["HPERSIST", hashed, "FIELDS", "1", field],
        lambda: ["PERSIST", w.key()],
    ])()


def _draws(w):
    return w.one([
        lambda: ["SPOP", w.key(), *w.one([[], [str(w.random.randint(0, 30))]])],
        lambda: ["SRANDMEMBER", w.key(), w.small()],
        lambda: ["HRANDFIELD", w.key(), w.small()],
        lambda: ["ZRANDMEMBER", w.key(), w.small()],
        lambda: ["RANDOMKEY"],
        lambda: ["XADD", w.one(["s0", "s1", "s2"]), "*", "f", w.member()],
        lambda: ["XCLAIM", w.one(["s0", "s1"]), "g", "bob", "0", "1-1", "FORCE"],
        lambda: ["OBJECT", "FREQ", w.key()],
        lambda: ["MEMORY", "USAGE", w.key()],
        lambda: ["SCAN", str(w.random.randrange(1 << 20)), "COUNT", "50"],
    ])()


def _many(w, most=3000):
    first = w.random.randrange(10_000)
    return range(first, first + w.random.randint(100, most))


def _big(w):
    key = w.one(["k0", "k1", "big0", "big1", "big2"])
    return w.one([
        lambda: ["RPUSH", key, *[f"item {n}" for n in _many(w)]],
        lambda: ["SADD", key, *[str(n) for n in _many(w)]],
        lambda: ["SADD", key, *[f"member {n}" for n in _many(w)]],
        lambda: ["ZADD", key, *[word for n in _many(w) for word in (str(n / 4), f"m{n}")]],
        lambda: ["HSET", key, *[word for n in _many(w) for word in (f"f{n}", str(n))]],
        lambda: ["SREM", key, *[str(n) for n in _many(w)]],
        lambda: ["HDEL", key, *[f"f{n}" for n in _many(w)]],
        lambda: ["ZREMRANGEBYRANK", key, "10", "-10"],
        lambda: ["LTRIM", key, w.small(), str(w.random.randrange(2000))],
        lambda: ["SPOP", key, str(w.random.randrange(2000))],
        lambda: ["HPEXPIRE", key, w.one([*SHORT_MS, "100000"]), "FIELDS", "3", *[f"f{n}" for n in list(_many(w))[:3]]],
        lambda: ["SETRANGE", key, str(w.random.randrange(1 << 20)), "x" * 1000],
        lambda: ["APPEND", key, "y" * w.random.randrange(1 << 16)],
        lambda: ["SETBIT", key, str(w.random.randrange(1 << 23)), "1"],
        lambda: ["BITOP", w.one(["OR", "XOR", "NOT"]), key, w.one(["big0", "big1", "k0"])],
        lambda: ["COPY", key, w.one(["big0", "big1", "k1"]), "REPLACE"],
        lambda: ["RENAME", key, w.one(["big0", "big1", "k1"])],
        lambda: ["SUNIONSTORE", w.one(["big0", "big2"]), "big0", "big1", "k0"],
        lambda: ["ZUNIONSTORE", "big2", "2", "big0", "big1"],
        lambda: ["SORT", key, "ALPHA", "LIMIT", "0", "500", "STORE", w.one(["big1", "k1"])],
        lambda: ["XADD", "s0", "*", *[word for n in list(_many(w))[:200] for word in (f"f{n % 7}", str(n))]],
        lambda: [w.one(["DEL", "UNLINK"]), key],
        lambda: ["GETRANGE", key, "-2000", "-1"],
        lambda: ["LRANGE", key, "-50", "-1"],
    ])()


def _whole(w):
    database = str(w.random.randrange(DATABASES))
    return w.one([
        lambda: ["SELECT", database],
        lambda: ["SELECT", database],
        lambda: ["MOVE", w.key(), database],
        lambda: ["MOVE", w.key(), database],
        lambda: ["COPY", w.key(), w.key(), "DB", database, *w.flags("REPLACE")],
        lambda: ["SWAPDB", database, str(w.random.randrange(DATABASES))],
        lambda: [w.one(["FLUSHALL", "FLUSHDB", "FLUSHDB"]), *w.one([[], ["ASYNC"], ["SYNC"]])]
        if w.chance(0.02) else ["DBSIZE"],
        lambda: ["KEYS", "k?"],
        lambda: ["EXEC"],
    ])()


GENERATORS = [*FAMILIES.values(), diff_hash_ttl.commands, _blocking, _expiry, _draws, _whole]
# Each of these costs as much as hundreds of others.
RARE = [_big]


def endless(seed):
    """What one connection sends: the same for the same seed."""
    w = Torture(seed)
    while True:
        # For a while, mostly one family: values live long enough to grow old.
        family = w.one([None, None, *GENERATORS])
        for _ in range(w.random.randint(50, 500)):
            if w.chance(0.003):
                yield w.one(RARE)(w)
            elif family is not None and w.chance(0.7):
                yield family(w)
            else:
                yield w.one(GENERATORS)(w)
        yield ["EXEC"]
