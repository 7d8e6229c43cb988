"""Random commands on vector sets, for the differential tests (Redis from 8.0 on).

Which elements the graph finds, and who is linked with whom, differs from server to server; what
`TRUTH` finds does not, but for the order of those that are equally near.
"""

from resp import Tagged

KEYS = ["v0", "v1", "v2"]
ELEMENTS = ["a", "b", "c", "d", "e", "f", "g", ""]
# Halves, so that no two servers round differently.
NUMBERS = ["1", "2", "-1", "-2", "0.5", "-0.5", "3", "4"]
ATTRIBUTES = ['{"n":1}', '{"n":2,"s":"x"}', '{"s":"y","l":[1,"x"]}', "no JSON", ""]
FILTERS = [".n == 1", ".n > 1", '.s == "x" or .n', '"x" in .l', ".n in [1, 3]", "not .s", "1", ".n >", "(1", ""]


def _key(w):
    return w.one(KEYS)


def _element(w):
    return w.one(ELEMENTS)


def _vector(w):
    if w.chance(0.05):
        return w.one([["VALUES", "2", "1", "x"], ["VALUES", "0"], ["VALUES", "9", "1", "1"], ["FP32", "abc"],
                      ["FP32", ""], ["VALUES", "x", "1"], ["VALUE", "1", "1"], ["FP32", "abcdefgh"]])
    count = 3 if w.chance(0.95) else 2
    return ["VALUES", str(count), *[w.one(NUMBERS) for _ in range(count)]]


def _quantization(w, key):
    # One kind of set for each key, nearly always.
    return {"v0": ["NOQUANT"], "v1": ["BIN"], "v2": ["Q8"]}[key] if w.chance(0.97) else w.flags("NOQUANT", "BIN")


def _add(w):
    key = _key(w)
    options = w.one([[], [], ["SETATTR", w.one(ATTRIBUTES)], ["EF", w.one(["10", "0", "x", "1000001"])],
                     ["M", w.one(["16", "4", "3", "x"])], ["CAS"], ["FOO"], ["SETATTR"]])
    return ["VADD", key, *_vector(w), _element(w), *_quantization(w, key), *options]


def _similar(w):
    query = ["ELE", _element(w)] if w.chance(0.5) else _vector(w)
    options = [w.flags("WITHSCORES"), w.flags("WITHATTRIBS"), w.flags("NOTHREAD")]
    if w.chance(0.3):
        options.append(["FILTER", w.one(FILTERS)])
    if w.chance(0.1):
        options.append(w.one([["COUNT", "0"], ["COUNT", "x"], ["EF", "0"], ["EF", "5"], ["FILTER-EF", "-1"],
                              ["FILTER-EF", "0"], ["EPSILON", "x"], ["EPSILON", "0"], ["FOO"], ["COUNT"]]))
    if w.chance(0.2):
        options.append(["EPSILON", w.one(["0.1", "0.33", "0.7", "1"])])
    w.random.shuffle(options)
    return ["VSIM", _key(w), *query, "COUNT", "100", "TRUTH", *[word for option in options for word in option]]


def commands(w):
    """One command."""
    return w.one([
        lambda: _add(w),
        lambda: _add(w),
        lambda: _similar(w),
        lambda: _similar(w),
        lambda: ["VREM", _key(w), _element(w)],
        lambda: ["VSETATTR", _key(w), _element(w), w.one(ATTRIBUTES)],
        lambda: ["VGETATTR", _key(w), _element(w)],
        lambda: ["VEMB", _key(w), _element(w), *w.flags("RAW")],
        lambda: [w.one(["VCARD", "VDIM"]), _key(w)],
        lambda: ["VISMEMBER", _key(w), _element(w)],
        lambda: ["VLINKS", _key(w), _element(w), *w.flags("WITHSCORES")],
        lambda: ["VRANDMEMBER", _key(w), *w.one([[], ["0"], ["100"], ["-3"], ["x"]])],
        lambda: ["VINFO", _key(w)],
        lambda: [w.one(["COPY", "RENAME"]), _key(w), _key(w)],
        lambda: [w.one(["TYPE", "EXISTS", "DEL", "PERSIST"]), _key(w)],
        lambda: ["SET", _key(w), "x"] if w.chance(0.1) else ["OBJECT", "ENCODING", _key(w)],
    ])()


def _plain(reply):
    """Nested lists of a reply, maps as lists of their keys and values, numbers as six digits."""
    if isinstance(reply, Tagged):
        if reply[0] == ",":
            return round(float(reply[1]), 5)
        return _plain(reply[1]) if reply[0] == "map" else tuple(reply)
    if isinstance(reply, (list, tuple)):
        return [_plain(item) for item in reply]
    if isinstance(reply, bytes):
        try:
            return round(float(reply), 5)
        except ValueError:
            return bytes(reply)
    return reply


def comparable(command, reply):
    """The reply without what may differ."""
    name, words = command[0], [word.upper() for word in command[3:]]
    plain = _plain(reply)
    if name == "VSIM" and isinstance(plain, list):
        return _by_element(plain, 1 + ("WITHSCORES" in words) + ("WITHATTRIBS" in words), reply)
    if name == "VLINKS" and isinstance(plain, list):
        return type(plain[-1]).__name__
    if name == "VRANDMEMBER":
        return sorted(plain, key=repr) if isinstance(plain, list) and words[-1:] != ["-3"] else type(reply).__name__
    if name == "VINFO" and isinstance(plain, list):
        flat = plain if not isinstance(plain[0], list) else [word for pair in plain for word in pair]
        pairs = {str(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)}
        return sorted((key, value) for key, value in pairs.items() if "level" not in key and "uid" not in key)
    return plain


def _by_element(plain, step, reply):
    if isinstance(reply, Tagged):
        return ("map", sorted(plain, key=repr))
    return sorted((plain[at:at + step] for at in range(0, len(plain), step)), key=repr)
