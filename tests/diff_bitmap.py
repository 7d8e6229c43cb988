"""Random commands on strings as arrays of bits, for the differential tests."""

FORMS = ["u1", "u2", "u8", "i8", "u4", "i5", "u31", "i32", "u63", "i64", "i1", "i16"]
BAD_FORMS = ["u64", "i65", "u0", "x8", "", "8", "I8", "i-1"]
OFFSETS = ["0", "1", "7", "8", "13", "64", "100", "#0", "#1", "#3", "#7"]
BAD_OFFSETS = ["-1", "#-1", "x", "#", "", "99999999999", "#9223372036854775807", "9223372036854775807"]
INCREMENTS = ["0", "1", "-1", "127", "128", "255", "-128", "-129", "3000000000", "9223372036854775807",
              "-9223372036854775808"]
# Redis saturates values far below the smallest at the largest: its distance overflows.
VALUES = INCREMENTS[:-1] + ["-3000000000"]


def _form(w):
    return w.one(BAD_FORMS) if w.chance(0.03) else w.one(FORMS)


def _offset(w):
    return w.one(BAD_OFFSETS) if w.chance(0.03) else w.one(OFFSETS)


def _operation(w):
    return w.one([
        lambda: ["GET", _form(w), _offset(w)],
        lambda: ["SET", _form(w), _offset(w), w.one(VALUES)],
        lambda: ["INCRBY", _form(w), _offset(w), w.one(INCREMENTS)],
        lambda: ["OVERFLOW", w.one(["WRAP", "sat", "FAIL", "FAIL"]), "INCRBY", _form(w), _offset(w), w.one(INCREMENTS)],
        lambda: ["OVERFLOW", w.one(["WRAP", "SAT", "fail"]), "SET", _form(w), _offset(w), w.one(VALUES)],
        lambda: w.one([["OVERFLOW", "x"], ["GET", "u8"], ["SET", "u8", "0"], ["OVERFLOW"], ["NEXT"]])
        if w.chance(0.2) else ["get", _form(w), _offset(w)],
    ])()


def commands(w):
    """One command."""
    operations = lambda: [word for _ in range(w.random.randint(0, 4)) for word in _operation(w)]
    return w.one([
        lambda: ["BITFIELD", w.key(), *operations()],
        lambda: ["BITFIELD", w.key(), *operations()],
        lambda: ["BITFIELD", w.key(), *operations()],
        lambda: ["BITFIELD_RO", w.key(), *w.one([operations(), ["GET", _form(w), _offset(w)]])],
        lambda: ["GET", w.key()],
        lambda: ["STRLEN", w.key()],
        lambda: ["SET", w.key(), w.one([w.member(), w.integer()])],
        lambda: ["SETBIT", w.key(), w.one(OFFSETS[:7] + BAD_OFFSETS), w.one(["0", "1", "1", "2", "x"])],
        lambda: ["GETBIT", w.key(), w.one(OFFSETS[:7] + BAD_OFFSETS)],
        lambda: ["BITCOUNT", w.key(), *w.one([[], [w.one(INCREMENTS), w.one(INCREMENTS)],
                                              [w.one(INCREMENTS), w.one(INCREMENTS), w.one(["BIT", "BYTE"])]])],
        lambda: ["BITPOS", w.key(), w.one(["0", "1", "2", "x"]),
                 *w.one([[], [w.one(INCREMENTS)], [w.one(INCREMENTS), w.one(INCREMENTS)],
                         [w.one(INCREMENTS), w.one(INCREMENTS), w.one(["BIT", "BYTE"])]])],
        lambda: ["BITOP", w.one(["AND", "OR", "XOR", "NOT", "x"]), w.key(), *w.keys()],
        lambda: ["DEL", w.key()],
    ])()


def commands_8_2(w):
    """One command that Redis has from 8.2 on."""
    if w.chance(0.5):
        return commands(w)
    if w.chance(0.3):
        # Before 8.2 the arguments were not looked at if there was no such key.
        ends = w.one([[], [w.small()], [w.small(), w.small(), w.one(["BIT", "x"])]])
        return w.one([["BITCOUNT", w.key(), *ends], ["BITPOS", w.key(), w.one(["0", "1", "x"]), *ends]])
    return ["BITOP", w.one(["DIFF", "DIFF1", "ANDOR", "ONE"]), w.key(), *w.keys()]


def family(w):
    """One command that the peer knows."""
    return commands_8_2(w) if getattr(w, "peer", None) == "redis-8.2" else commands(w)
