"""Random commands on HyperLogLogs, for the differential tests: their bytes must be the same too."""

KEYS = [f"h{number}" for number in range(5)] + ["damaged"]


def _element(w):
    return f"e{w.random.randrange(w.one([5, 50, 100000]))}"


def _add(w):
    key = _key(w)
    if key == "damaged":
        # Of several elements Redis keeps those that it met before the damage.
        return ["PFADD", key, _element(w)]
    return ["PFADD", key, *_elements(w)]


def _elements(w):
    return [_element(w) for _ in range(w.one([0, 1, 1, 2, 3, 40, 300]))]


def _key(w):
    return w.one(KEYS)


def _keys(w, most=3):
    return [_key(w) for _ in range(w.random.randint(1, most))]


def commands(w):
    """One command."""
    return w.one([
        lambda: _add(w),
        lambda: _add(w),
        lambda: ["PFCOUNT", *_keys(w)],
        lambda: ["PFCOUNT", _key(w)],
        lambda: ["PFMERGE", _key(w), *_keys(w)],
        lambda: ["PFMERGE", _key(w)],
        lambda: ["GET", _key(w)],
        lambda: ["STRLEN", _key(w)],
        lambda: ["DEL", _key(w)],
        lambda: ["PFDEBUG", w.one(["ENCODING", "DECODE", "TODENSE", "GETREG", "x"]) if w.chance(0.3) else "ENCODING",
                 _key(w)],
        lambda: w.one([
            lambda: ["SET", "damaged", w.one(["HYLL", "x", "", "HYLL\x01" + "\x00" * 11, "HYLL\x01" + "\x00" * 40,
                                            "HYLL\x00" + "\x00" * 40, "HYLL\x02" + "\x00" * 11])],
            lambda: ["SETRANGE", "damaged", w.one(["15", "16", "17", "20"]), w.one(["\xff", "\x00", "\x80", "a"])],
            lambda: ["APPEND", "damaged", w.one(["\xff", "\x00", "a"])],
            lambda: ["LPUSH", _key(w), "x"],
        ])() if w.chance(0.2) else _add(w),
    ])()
