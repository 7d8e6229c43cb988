"""Random commands on strings that only Valkey 9.1 knows of the servers at hand."""


def commands(w):
    def expiry():
        return w.one([[], [], ["EX", w.one(["1000", "0", "-1", "x", "9223372036854775807"])], ["KEEPTTL"],
                      ["PX", "100000"], ["EXAT", "4102444800"], ["EX", "10", "KEEPTTL"]])

    def pairs():
        # Of one slot: in a cluster, Valkey 9.1 does not see that keys lie in several.
        base = w.key()
        keys = [w.one([base, f"{{{base}}}x"]) for _ in range(w.random.randint(1, 3))]
        return [item for key in keys for item in (key, w.member())]

    def msetex():
        data = pairs()
        if w.chance(0.2):
            # Words that follow would be keys, of other slots.
            return ["MSETEX", str(w.one([0, 1, 2, 4, -1, "x", 2 ** 31, 2 ** 63])), *data]
        count = len(data) // 2
        return ["MSETEX", str(count), *data, *w.one([[], [], ["NX"], ["XX"], ["NX", "XX"]]), *expiry()]

    return w.one([
        msetex,
        msetex,
        lambda: ["DELIFEQ", w.key(), w.member()],
        lambda: ["SET", w.key(), w.member(), "IFEQ", w.member(), *w.flags("GET"), *expiry()],
        lambda: ["SET", w.key(), w.member(), *w.flags("NX", "XX"), *w.one([["IFEQ"], ["IFEQ", w.member()]])],
        lambda: ["SET", w.key(), w.member()],
        lambda: ["GET", w.key()],
        lambda: ["TTL", w.key()],
        lambda: [w.one(["RPUSH", "SADD"]), w.key(), w.member()],
    ])()
