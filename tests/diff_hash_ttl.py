"""Random commands on hash fields that end, for the differential tests (Redis from 8.0 on)."""

FIELDS = ["a", "b", "c", "7", ""]
KEYS = ["e0", "e1", "e2"]
# Far enough away that nothing ends while the test runs, or over already.
SPANS = ["100000", "100", "0", "-1", "x", "99999999999999"]
MOMENTS = ["4102444800", "1", "0", "x"]
MOMENTS_MS = ["4102444800000", "4102444800001", "1", "-1", "70368744177663", "70368744177664"]


def _key(w):
    return w.one(KEYS)


def _fields(w):
    count = w.random.randint(1, 3)
    stated = w.one(["0", "x", "-1", "2", "5"]) if w.chance(0.04) else str(count)
    return [w.one(["FIELDS", "fields"]) if w.chance(0.97) else "FIELD", stated,
            *[w.one(FIELDS) for _ in range(count)]]


def _pairs(w):
    count = w.random.randint(1, 3)
    stated = w.one(["0", "x", "2"]) if w.chance(0.04) else str(count)
    return ["FIELDS", stated, *[word for _ in range(count) for word in (w.one(FIELDS), w.one(["1", "v", "-5"]))]]


def _condition(w):
    return [w.one(["NX", "XX", "GT", "LT"])] if w.chance(0.4) else []


def _end(w, others):
    return w.one([[], [], [w.one(["EX", "PX"]), w.one(SPANS[:4])], ["PXAT", w.one(MOMENTS_MS)],
                  ["EXAT", w.one(MOMENTS)], [others], ["EX", "100", others]])


def commands(w):
    """One command."""
    return w.one([
        lambda: ["HSET", _key(w), *[word for _ in range(3) for word in (w.one(FIELDS), "1")]],
        lambda: [w.one(["HEXPIRE", "HPEXPIRE"]), _key(w), w.one(SPANS), *_condition(w), *_fields(w)],
        lambda: ["HEXPIREAT", _key(w), w.one(MOMENTS), *_condition(w), *_fields(w)],
        lambda: ["HPEXPIREAT", _key(w), w.one(MOMENTS_MS), *_condition(w), *_fields(w)],
        lambda: ["HPEXPIREAT", _key(w), w.one(MOMENTS_MS[:2]), *_condition(w), *_fields(w)],
        lambda: [w.one(["HTTL", "HEXPIRETIME"]), _key(w), *_fields(w)],
        lambda: ["HPERSIST", _key(w), *_fields(w)],
        lambda: ["HGETEX", _key(w), *_end(w, "PERSIST"), *_fields(w)],
        lambda: ["HSETEX", _key(w), *w.flags("FNX", "FXX"), *_end(w, "KEEPTTL"), *_pairs(w)],
        lambda: ["HSETEX", _key(w), *_end(w, "KEEPTTL"), *w.flags("FXX"), *_pairs(w)],
        lambda: ["HGETDEL", _key(w), *_fields(w)],
        lambda: ["HINCRBY", _key(w), w.one(FIELDS), "1"],
        lambda: [w.one(["HLEN", "HGETALL"]), _key(w)],
        lambda: ["HDEL", _key(w), w.one(FIELDS)],
        lambda: [w.one(["COPY", "RENAME"]), _key(w), _key(w)],
        lambda: ["SET", _key(w), "x"] if w.chance(0.2) else ["TYPE", _key(w)],
    ])()


def comparable(command, reply):
    """The reply without what may differ: a second may pass between two servers."""
    if command[0] in ("HTTL", "HEXPIRETIME") and isinstance(reply, list):
        return [round(item / 30) if item > 0 else item for item in reply]
    if command[0] == "HGETALL" and isinstance(reply, list):
        return sorted(zip(reply[::2], reply[1::2]))
    if command[0] == "HGETALL" and isinstance(reply, tuple):
        return sorted(reply[1], key=repr)
    return reply
