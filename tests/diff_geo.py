"""Random commands on places, for the differential tests."""

from resp import Error

KEYS = [f"g{number}" for number in range(4)]
PLACES = [("13.361389", "38.115556"), ("15.087269", "37.502669"), ("0", "0"), ("-180", "0"), ("180", "85.05112878"),
          ("-0.1278", "51.5074"), ("-70", "-80"), ("179.9", "10"), ("-179.9", "10"), ("2.3522", "48.8566")]
BAD_PLACES = [("x", "0"), ("0", ""), ("181", "0"), ("0", "86"), ("nan", "1"), ("inf", "0")]
UNITS = ["m", "km", "ft", "mi", "KM"]
LENGTHS = ["0", "1", "100", "1000", "5000", "20000", "0.5", "300.25", "1e5"]
BAD_LENGTHS = ["-1", "x", "", "nan"]


def _key(w):
    return w.one(KEYS)


def _member(w):
    return f"m{w.random.randrange(40)}"


def _place(w):
    if w.chance(0.03):
        return list(w.one(BAD_PLACES))
    if w.chance(0.3):
        return list(w.one(PLACES))
    spread = w.one([1, 10, 80])
    return [f"{w.random.uniform(-spread, spread):.6f}", f"{w.random.uniform(-spread, spread):.6f}"]


def _length(w):
    return w.one(BAD_LENGTHS) if w.chance(0.03) else w.one(LENGTHS)


def _unit(w):
    return w.one(["x", ""]) if w.chance(0.03) else w.one(UNITS)


def _order(w):
    # Without an order, which of several are the first is nobody's business.
    return w.one([["ASC"], ["DESC"], ["ASC", "COUNT", w.one(["1", "3", "100", "0", "x"])], ["COUNT", "2"],
                  ["COUNT", "1000", "ANY"], ["ANY"]])


def _with(w):
    return w.flags("WITHDIST", "WITHHASH", "WITHCOORD")


def _from(w):
    return w.one([["FROMMEMBER", _member(w)], ["FROMLONLAT", *_place(w)]])


def _by(w):
    return w.one([["BYRADIUS", _length(w), _unit(w)], ["BYBOX", _length(w), _length(w), _unit(w)]])


def _around(w):
    parts = [_from(w), _by(w)]
    if w.chance(0.05):
        parts = w.one([parts[:1] * 2, parts[1:] * 2, parts + [_by(w)], parts + [_from(w)], [["WITHDIST"] * 5]])
    w.random.shuffle(parts)
    return [word for part in parts for word in part]


def commands(w):
    """One command."""
    return w.one([
        lambda: ["GEOADD", _key(w), *w.flags("NX", "XX", "CH"),
                 *[word for _ in range(w.random.randint(1, 4)) for word in (*_place(w), _member(w))]],
        lambda: ["GEOADD", _key(w), *[word for _ in range(20) for word in (*_place(w), _member(w))]],
        lambda: ["GEODIST", _key(w), _member(w), _member(w), *w.one([[], [_unit(w)], [_unit(w), "x"]])],
        lambda: ["GEOHASH", _key(w), *[_member(w) for _ in range(w.random.randint(0, 3))]],
        lambda: ["GEOPOS", _key(w), *[_member(w) for _ in range(w.random.randint(0, 3))]],
        lambda: ["GEORADIUS", _key(w), *_place(w), _length(w), _unit(w), *_with(w), *_order(w)],
        lambda: ["GEORADIUS_RO", _key(w), *_place(w), _length(w), _unit(w), *_with(w), *_order(w)],
        lambda: ["GEORADIUSBYMEMBER", _key(w), _member(w), _length(w), _unit(w), *_with(w), *_order(w)],
        lambda: ["GEORADIUSBYMEMBER_RO", _key(w), _member(w), _length(w), _unit(w), *_with(w), *_order(w)],
        lambda: ["GEORADIUS", _key(w), *_place(w), _length(w), _unit(w), w.one(["ASC", "DESC"]), *w.flags("WITHDIST"),
                 w.one(["STORE", "STOREDIST"]), _key(w)],
        lambda: ["GEORADIUSBYMEMBER", _key(w), _member(w), _length(w), _unit(w), w.one(["STORE", "STOREDIST"]), _key(w)],
        lambda: ["GEOSEARCH", _key(w), *_around(w), *_with(w), *_order(w)],
        lambda: ["GEOSEARCH", _key(w), *_around(w), *_with(w), *_order(w)],
        lambda: ["GEOSEARCHSTORE", _key(w), _key(w), *_around(w), w.one(["ASC", "DESC"]), *w.flags("STOREDIST", "WITHDIST")],
        lambda: ["ZRANGE", _key(w), "0", "-1"],
        lambda: ["ZSCORE", _key(w), _member(w)],
        lambda: ["DEL", _key(w)] if w.chance(0.3) else ["ZCARD", _key(w)],
        lambda: ["SET", _key(w), "x"] if w.chance(0.1) else ["ZCARD", _key(w)],
    ])()


def commands_9(w):
    """One command that Valkey has from 9.0 on."""
    if w.chance(0.3):
        return ["GEOADD", _key(w), *[word for _ in range(20) for word in (*_place(w), _member(w))]]
    count = w.random.randint(3, 6)
    stated = w.one([str(count)] * 10 + ["2", "x", "-1", "100"])
    # Not around the back of the globe: there Valkey does not look everywhere.
    corners = [f"{w.random.uniform(-60, 60):.4f}" for _ in range(2 * count)]
    polygon = ["BYPOLYGON", stated, *corners]
    return w.one([
        lambda: ["GEOSEARCH", _key(w), *polygon, *_with(w), *_order(w)],
        lambda: ["GEOSEARCHSTORE", _key(w), _key(w), *polygon, w.one(["ASC", "DESC"]), *w.flags("STOREDIST")],
    ])()


def family(w):
    """One command that the peer knows."""
    return commands_9(w) if getattr(w, "peer", None) == "valkey-9.1" and w.chance(0.2) else commands(w)


def _rounded(reply):
    """Coordinates as numbers: 7.0 prints 17 digits, 8.2 as many as the number needs."""
    if isinstance(reply, list):
        return [_rounded(item) for item in reply]
    if isinstance(reply, tuple) and reply[0] == ",":
        return _rounded(reply[1])
    try:
        return round(float(reply), 12) if isinstance(reply, bytes) else reply
    except ValueError:
        return reply


def comparable(command, reply):
    """The reply without an order that nobody asked for, and without forms of numbers."""
    if command[0] not in ("GEOPOS", "GEOHASH", "GEODIST") and isinstance(reply, list):
        if "COUNT" in command:
            # Which of several at the same distance are the first is nobody's business either.
            return len(reply)
        if not {"ASC", "DESC"} & set(command):
            return sorted(_rounded(reply), key=repr)
    return _rounded(reply) if not isinstance(reply, Error) else reply
