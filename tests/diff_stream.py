"""Random commands on streams: few keys, groups and consumers, ids close together."""

KEYS = ["s0", "s1", "s2", "k0"]
GROUPS = ["g", "g", "g", "h", "nogroup"]
CONSUMERS = ["ann", "bob", "cy"]
FIELDS = ["f", "f", "f", "g", "12", ""]
VALUES = ["v", "", "7", "-12345", "a value that is somewhat longer than others", "1\x000"]
BAD_IDS = ["x", "", "-1", "1-", "1-x", "18446744073709551616", "5-*", "$", ">", "(1", "1-1-1"]
REFERENCES = ["KEEPREF", "DELREF", "ACKED"]
# From these versions on there is more than Redis 7.0 has.
NEWER = {"redis-8.2"}


def _id(w):
    if w.chance(0.04):
        return w.one(BAD_IDS)
    ms = str(w.random.randint(0, 60))
    return ms if w.chance(0.3) else f"{ms}-{w.random.randint(0, 3)}"


def _ids(w, most=4):
    return [_id(w) for _ in range(w.random.randint(1, most))]


def _bound(w):
    return w.one(["-", "+"]) if w.chance(0.3) else w.one(["", "", "("]) + _id(w)


def _key(w):
    return w.one(KEYS)


def _count(w):
    return w.one([[], [], ["COUNT", w.small()]])


def _is_newer(w):
    return getattr(w, "peer", None) in NEWER


def _references(w):
    return [w.one(REFERENCES)] if _is_newer(w) and w.chance(0.3) else []


def _trim(w):
    if w.chance(0.5):
        how = ["MAXLEN", *w.one([[], ["="], ["~"]]), w.one([w.small(), "20", "0"])]
    else:
        how = ["MINID", *w.one([[], ["="], ["~"]]), _id(w)]
    return how + (["LIMIT", w.small()] if w.chance(0.2) else [])


def _fields(w):
    pairs = [w.one(FIELDS) for _ in range(w.random.randint(1, 3))]
    odd = ["odd"] if w.chance(0.02) else []
    return [part for field in pairs for part in (field, w.one(VALUES))] + odd


def _add(w):
    # Ids above those that are there, mostly; a stream that is beyond them is made anew.
    number = w.random.randint(0, 60)
    new = w.one([f"{number}-*", f"{number}-*", str(number), _id(w)])
    return ["XADD", _key(w), *w.flags("NOMKSTREAM"), *_references(w),
            *(_trim(w) if w.chance(0.15) else []), new, *_fields(w)]


def _claim(w):
    options = w.one([[], [], ["RETRYCOUNT", w.small()], ["IDLE", "0"], ["LASTID", _id(w)],
                     ["TIME", "12"], ["FOO"]])
    return ["XCLAIM", _key(w), w.one(GROUPS), w.one(CONSUMERS), w.one(["0", "0", "0", "9999999", "x"]),
            *_ids(w), *options, *w.flags("FORCE"), *w.flags("JUSTID")]


def _counted(w):
    ids = _ids(w)
    return ["IDS", str(len(ids)) if w.chance(0.95) else w.small(), *ids]


def _streams(w, special):
    keys = [_key(w) for _ in range(w.random.randint(1, 2))]
    return ["STREAMS", *keys, *[w.one(special) if w.chance(0.7) else _id(w) for _ in keys],
            *(["1"] if _is_newer(w) and w.chance(0.02) else [])]


def _entries_read(w):
    return w.one([[], [], ["ENTRIESREAD", w.small()]]) if _is_newer(w) else []


def _newer(w):
    """What Redis 7.0 has not, or counts otherwise: progress of groups, consumers that got nothing."""
    return w.one([
        lambda: ["XINFO", "GROUPS", _key(w)],
        lambda: ["XINFO", "CONSUMERS", _key(w), w.one(GROUPS)],
        lambda: ["XINFO", "STREAM", _key(w), "FULL", *_count(w)],
        lambda: ["XGROUP", "CREATECONSUMER", _key(w), w.one(GROUPS), w.one(CONSUMERS)],
        lambda: ["XSETID", _key(w), _id(w), *w.one([[], ["ENTRIESADDED", w.small()]]),
                 *w.one([[], [], ["MAXDELETEDID", _id(w)]])],
        lambda: ["XDELEX", _key(w), *_references(w), *_counted(w)],
        lambda: ["XACKDEL", _key(w), w.one(GROUPS), *_references(w), *_counted(w)],
        lambda: ["XTRIM", _key(w), *_trim(w), *_references(w)],
        lambda: ["XREAD", *_count(w), *_streams(w, ["0", "+"])],
    ])()


def stream(w):
    if _is_newer(w) and w.chance(0.2):
        return _newer(w)
    if w.chance(0.35):
        return _add(w)
    return w.one([
        lambda: ["XLEN", _key(w)],
        lambda: ["XDEL", _key(w), *_ids(w)],
        lambda: ["XTRIM", _key(w), *_trim(w)],
        lambda: ["XRANGE", _key(w), _bound(w), _bound(w), *_count(w)],
        lambda: ["XREVRANGE", _key(w), _bound(w), _bound(w), *_count(w)],
        lambda: ["XREAD", *_count(w), *_streams(w, ["0", "$"])],
        lambda: ["XREAD", *_count(w), *_streams(w, ["0", "0", "$", ">"])],
        lambda: ["XREADGROUP", "GROUP", w.one(GROUPS), w.one(CONSUMERS), *_count(w), *w.flags("NOACK"),
                 *_streams(w, [">", ">", ">", "0", "$"])],
        lambda: ["XREADGROUP", "GROUP", "g", w.one(CONSUMERS), *_count(w), "STREAMS", _key(w), ">"],
        lambda: ["XACK", _key(w), w.one(GROUPS), *_ids(w)],
        lambda: ["XGROUP", "CREATE", _key(w), w.one(GROUPS[:4]), w.one(["0", "$", _id(w)]),
                 *w.flags("MKSTREAM"), *_entries_read(w)],
        lambda: ["XGROUP", "SETID", _key(w), w.one(GROUPS), w.one(["0", "$", "-", "+", _id(w)]),
                 *_entries_read(w)],
        lambda: ["XGROUP", "DESTROY", _key(w), w.one(["h", "nogroup"])],
        lambda: ["XGROUP", "DELCONSUMER", _key(w), w.one(GROUPS), w.one(CONSUMERS)],
        lambda: ["XPENDING", _key(w), w.one(GROUPS)],
        lambda: ["XPENDING", _key(w), w.one(GROUPS), *w.one([[], ["IDLE", "0"], ["IDLE", "9999999"]]),
                 _bound(w), _bound(w), w.small(), *w.one([[], [w.one(CONSUMERS)]])],
        lambda: _claim(w),
        lambda: _claim(w),
        lambda: ["XAUTOCLAIM", _key(w), w.one(GROUPS), w.one(CONSUMERS), w.one(["0", "0", "9999999", "x"]),
                 _bound(w), *_count(w), *w.flags("JUSTID")],
        lambda: ["XINFO", "STREAM", _key(w), *w.one([[], ["FOO"]])],
        lambda: w.one([["COPY", _key(w), _key(w), "REPLACE"], ["RENAME", _key(w), _key(w)], ["DEL", _key(w)],
                       ["TYPE", _key(w)], ["OBJECT", "ENCODING", _key(w)], ["SORT", _key(w)]]),
    ])()


# What depends on the clock or on how a server keeps a stream, by the name before it.
CLOCKS = {b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-nodes"}


def _without_clocks(value, named=None):
    if isinstance(value, tuple) and len(value) == 2 and value[0] in CLOCKS:
        return (value[0], "a moment")
    if isinstance(value, tuple):
        # RESP3: a pair of a map, or a kind and its items, if it has any.
        return (value[0], *[_without_clocks(part) for part in value[1:]])
    if isinstance(value, list):
        kept = [_without_clocks(item, value[at - 1] if at else None) for at, item in enumerate(value)]
        return kept
    if isinstance(named, bytes) and named in CLOCKS or (isinstance(value, int) and value > 10 ** 9):
        return "a moment"
    return value


def comparable_stream(command, reply):
    """The reply of a command on a stream without what the clock or the server's memory tells."""
    if command[0] == "XINFO":
        return _without_clocks(reply)
    if command[0] == "XPENDING" and isinstance(reply, list) and len(command) > 3:
        return [[*item[:2], "idle", *item[3:]] for item in reply]
    return reply
