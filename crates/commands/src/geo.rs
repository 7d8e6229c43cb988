//! The geo family: sorted sets whose scores are places.

use slotward_resp::Reply;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Deprecated, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::geo::area::Place;
use crate::keys::{Access, Keys};
use crate::number::parse_double;

mod area;
mod search;

const READ: Flags = Flags::READ;
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const READ_KEY: &[Keys] = &[Keys::at(1, Access::READ)];
const RADIUS_KEYS: &[Keys] =
    &[Keys::at(1, Access::READ), Keys::computed(search::radius_store_key, Access::OVERWRITE)];
const MEMBER_KEYS: &[Keys] =
    &[Keys::at(1, Access::READ), Keys::computed(search::member_store_key, Access::OVERWRITE)];

const UNIT: Arg = Arg::one_of(
    "unit",
    &[Arg::word("m", "M"), Arg::word("km", "KM"), Arg::word("ft", "FT"), Arg::word("mi", "MI")],
);
const LONGITUDE: Arg = Arg::double("longitude");
const LATITUDE: Arg = Arg::double("latitude");
const RADIUS: Arg = Arg::double("radius");
const WITHCOORD: Arg = Arg::word("withcoord", "WITHCOORD").optional();
const WITHDIST: Arg = Arg::word("withdist", "WITHDIST").optional();
const WITHHASH: Arg = Arg::word("withhash", "WITHHASH").optional();
const ORDER: Arg =
    Arg::one_of("order", &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")]).optional();
const COUNT: Arg = Arg::block(
    "count-block",
    &[Arg::integer("count").token("COUNT"), Arg::word("any", "ANY").optional().since("6.2.0")],
)
.optional();
const STORE: Arg = Arg::one_of(
    "store",
    &[
        Arg::key("storekey").key_spec(1).token("STORE"),
        Arg::key("storedistkey").key_spec(1).token("STOREDIST"),
    ],
)
.optional();
const FROM: Arg = Arg::one_of(
    "from",
    &[
        Arg::string("member").token("FROMMEMBER"),
        Arg::block("fromlonlat", &[LONGITUDE, LATITUDE]).token("FROMLONLAT"),
    ],
);
const BY: Arg = Arg::one_of(
    "by",
    &[
        Arg::block("circle", &[RADIUS.token("BYRADIUS"), UNIT]),
        Arg::block("box", &[Arg::double("width").token("BYBOX"), Arg::double("height"), UNIT]),
    ],
);
const CORNER: Arg = Arg::block("vertex", &[LONGITUDE, LATITUDE]);
const POLYGON: Arg = Arg::block(
    "polygon",
    &[Arg::integer("num-vertices").token("BYPOLYGON"), CORNER, CORNER, CORNER.multiple()],
);
const WHERE: Arg = Arg::one_of("where", &[Arg::block("around", &[FROM, BY]), POLYGON]);

const SEARCH_COST: &str = "O(N+log(M)) with N members near the area and M in the sorted set.";

const fn row(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::Geo, since: "3.2.0", ..Command::BLANK }
}

const fn replaced(by: &'static str) -> Option<Deprecated> {
    Some(Deprecated { since: "6.2.0", replaced_by: by })
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[
            Arg::key("key"),
            Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
                .optional()
                .since("6.2.0"),
            Arg::word("change", "CH").optional().since("6.2.0"),
            Arg::block("data", &[LONGITUDE, LATITUDE, Arg::string("member")]).multiple(),
        ],
        summary: "Sets the places of members and tells how many are new.",
        complexity: "O(log(N)) for each member, with N in the sorted set.",
        history: &[("6.2.0", "CH, NX and XX.")],
        run: Run::Data(geoadd),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > ZSCORE g Palermo\n3479099956230698\n> GEOADD g CH 13 38 Palermo\n1\n\
            > GEOADD g 200 38 x\n\
            (error) ERR invalid longitude,latitude pair 200.000000,38.000000\n\
            > GEOADD g NX XX 1 1 x\n(error) ERR syntax error\n",
        ..row("geoadd", Arity::AtLeast(5), WRITE_OOM)
    },
    Command {
        keys: READ_KEY,
        args: &[Arg::key("key"), Arg::string("member1"), Arg::string("member2"), UNIT.optional()],
        summary: "Tells how far two members are from each other.",
        run: Run::Data(geodist),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEODIST g Palermo Catania\n166274.1516\n> GEODIST g Palermo Catania KM\n166.2742\n\
            > GEODIST g Palermo x\n(nil)\n> GEODIST g Palermo Catania AU\n\
            (error) ERR unsupported unit provided. please use M, KM, FT, MI\n",
        ..row("geodist", Arity::AtLeast(4), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[Arg::key("key"), Arg::string("member").optional().multiple()],
        summary: "Returns the geohashes of members, as other systems write them.",
        complexity: "O(1) for each member.",
        run: Run::Data(geohash),
        script: "> GEOADD g 13.361389 38.115556 Palermo\n1\n> GEOHASH g Palermo x\n\
            1) sqc8b49rny0\n2) (nil)\n",
        ..row("geohash", Arity::AtLeast(2), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[Arg::key("key"), Arg::string("member").optional().multiple()],
        summary: "Returns the longitudes and latitudes of members.",
        complexity: "O(1) for each member.",
        run: Run::Data(geopos),
        script: "> GEOADD g 13.361389 38.115556 Palermo\n1\n> GEOPOS g Palermo x\n\
            1) 1) 13.361389338970184\n   2) 38.1155563954963\n2) (nil)\n",
        ..row("geopos", Arity::AtLeast(2), READ)
    },
    Command {
        keys: RADIUS_KEYS,
        args: &[
            Arg::key("key"),
            LONGITUDE,
            LATITUDE,
            RADIUS,
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ORDER,
            STORE,
        ],
        summary: "Returns or stores the members within a distance of a place.",
        complexity: SEARCH_COST,
        deprecated: replaced("`GEOSEARCH` and `GEOSEARCHSTORE` with `BYRADIUS`"),
        history: &[("6.2.0", "ANY."), ("7.0.0", "Words in upper or lower case.")],
        run: Run::Data(search::georadius),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEORADIUS g 15 37 200 km WITHDIST ASC\n1) 1) Catania\n   2) 56.4413\n\
            2) 1) Palermo\n   2) 190.4424\n> GEORADIUS g 15 37 100 km STORE {g}near\n1\n\
            > ZRANGE {g}near 0 -1\n1) Catania\n",
        ..row("georadius", Arity::AtLeast(6), WRITE_OOM)
    },
    Command {
        keys: MEMBER_KEYS,
        args: &[
            Arg::key("key"),
            Arg::string("member"),
            RADIUS,
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ORDER,
            STORE,
        ],
        summary: "Returns or stores the members within a distance of a member.",
        complexity: SEARCH_COST,
        deprecated: replaced("`GEOSEARCH` and `GEOSEARCHSTORE` with `BYRADIUS` and `FROMMEMBER`"),
        history: &[("6.2.0", "ANY."), ("7.0.0", "Words in upper or lower case.")],
        run: Run::Data(search::georadiusbymember),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEORADIUSBYMEMBER g Palermo 100 km\n1) Palermo\n> GEORADIUSBYMEMBER g x 100 km\n\
            (error) ERR could not decode requested zset member\n",
        ..row("georadiusbymember", Arity::AtLeast(5), WRITE_OOM)
    },
    Command {
        keys: READ_KEY,
        args: &[
            Arg::key("key"),
            LONGITUDE,
            LATITUDE,
            RADIUS,
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ORDER,
        ],
        since: "3.2.10",
        summary: "Returns the members within a distance of a place.",
        complexity: SEARCH_COST,
        deprecated: replaced("`GEOSEARCH` with `BYRADIUS`"),
        history: &[("6.2.0", "ANY.")],
        run: Run::Data(search::georadius_ro),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEORADIUS_RO g 15 37 100 km\n1) Catania\n> GEORADIUS_RO g 15 37 100 km STORE x\n\
            (error) ERR syntax error\n",
        ..row("georadius_ro", Arity::AtLeast(6), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[
            Arg::key("key"),
            Arg::string("member"),
            RADIUS,
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ORDER,
        ],
        since: "3.2.10",
        summary: "Returns the members within a distance of a member.",
        complexity: SEARCH_COST,
        deprecated: replaced("`GEOSEARCH` with `BYRADIUS` and `FROMMEMBER`"),
        history: &[("6.2.0", "ANY.")],
        run: Run::Data(search::georadiusbymember_ro),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEORADIUSBYMEMBER_RO g Catania 1 m\n1) Catania\n",
        ..row("georadiusbymember_ro", Arity::AtLeast(5), READ)
    },
    Command {
        keys: READ_KEY,
        args: &[Arg::key("key"), WHERE, ORDER, COUNT, WITHCOORD, WITHDIST, WITHHASH],
        since: "6.2.0",
        summary: "Returns the members in a circle, a box or a polygon.",
        complexity: SEARCH_COST,
        history: &[("7.0.0", "Words in upper or lower case."), ("9.0.0", "BYPOLYGON (Valkey).")],
        run: Run::Data(search::geosearch),
        script: "> GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km DESC COUNT 1 WITHHASH\n\
            1) 1) Palermo\n   2) 3479099956230698\n\
            > GEOSEARCH g BYPOLYGON 4 13 38 13 39 14 39 14 38\n1) Palermo\n\
            > GEOSEARCH g BYRADIUS 1 m ASC COUNT 1\n(error) ERR exactly one of FROMMEMBER or \
            FROMLONLAT can be specified for GEOSEARCH\n",
        ..row("geosearch", Arity::AtLeast(7), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::OVERWRITE), Keys::at(2, Access::READ)],
        args: &[
            Arg::key("destination"),
            Arg::key("source").key_spec(1),
            WHERE,
            ORDER,
            COUNT,
            Arg::word("storedist", "STOREDIST").optional(),
        ],
        since: "6.2.0",
        summary: "Stores the members in a circle, a box or a polygon.",
        complexity: SEARCH_COST,
        history: &[("7.0.0", "Words in upper or lower case."), ("9.0.0", "BYPOLYGON (Valkey).")],
        run: Run::Data(search::geosearchstore),
        script: "> GEOADD {g} 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n2\n\
            > GEOSEARCHSTORE {g}near {g} FROMLONLAT 15 37 BYRADIUS 100 km\n1\n\
            > ZRANGE {g}near 0 -1 WITHSCORES\n1) Catania\n2) 3479447370796909\n",
        ..row("geosearchstore", Arity::AtLeast(8), WRITE_OOM)
    },
];

/// The place that two arguments name.
fn place(call: &Call<'_>, index: usize) -> Result<Place, CmdError> {
    let place = Place { longitude: call.double(index)?, latitude: call.double(index + 1)? };
    if place.is_valid() {
        return Ok(place);
    }
    let Place { longitude, latitude } = place;
    let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
    Err(CmdError::Other(text.into()))
}

/// How many metres the unit has that an argument names.
fn unit(call: &Call<'_>, index: usize) -> Result<f64, CmdError> {
    match call.arg(index).to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CmdError::text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// Writes a distance: four digits behind the point, a string in both protocols.
fn reply_distance(reply: &mut Reply, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

/// Writes a place as an array of its two numbers.
fn reply_place(reply: &mut Reply, place: Place) {
    reply.array(2);
    reply.double(place.longitude);
    reply.double(place.latitude);
}

fn geoadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (mut first, mut nx, mut xx, mut changed_too) = (2, false, false, false);
    while let Some(word) = call.argv.get(first) {
        let option = match word.to_ascii_uppercase().as_slice() {
            b"NX" => &mut nx,
            b"XX" => &mut xx,
            b"CH" => &mut changed_too,
            _ => break,
        };
        *option = true;
        first += 1;
    }
    let members = call.argv.len() - first;
    if !members.is_multiple_of(3) || nx && xx {
        return Err(CmdError::Syntax);
    }
    let indices = (first..call.argv.len()).step_by(3);
    let places: Result<Vec<Place>, CmdError> = indices.map(|index| place(call, index)).collect();
    let places = places?;
    let (key, argv, limits) = (call.key(1), call.argv, &call.settings.limits);
    let found = if xx { call.db.zset_mut(&key)? } else { Some(call.db.zset_or_new(&key)?) };
    let (mut added, mut updated) = (0, 0);
    if let Some(set) = found {
        for (index, place) in places.iter().enumerate() {
            let new = place.score() as f64;
            set.update(&argv[first + index * 3 + 2], limits, |old| {
                match old {
                    None if xx => return None,
                    None => added += 1,
                    Some(_) if nx => return None,
                    Some(old) => updated += u64::from(old != new),
                }
                Some(new)
            });
        }
        if set.is_empty() {
            call.db.remove_if_empty(&key);
        }
    }
    if added + updated == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(added + updated);
        propagate_as_zadd(call, first, &places);
        call.notify(EventClass::ZSET, "zadd", key.bytes);
    }
    call.reply.integer(if changed_too { added + updated } else { added } as i64);
    Ok(())
}

fn propagate_as_zadd(call: &mut Call<'_>, first: usize, places: &[Place]) {
    let argv = call.argv;
    let scores: Vec<String> = places.iter().map(|place| place.score().to_string()).collect();
    let mut command: Vec<&[u8]> = vec![b"ZADD"];
    command.extend(argv.iter().skip(1).take(first - 1));
    for (index, score) in scores.iter().enumerate() {
        command.extend([score.as_bytes(), &argv[first + index * 3 + 2]]);
    }
    call.effects.propagate(command);
}

/// The places of members of the sorted set at the first key.
fn places_of(call: &mut Call<'_>, members: &[&[u8]]) -> Result<Vec<Option<Place>>, CmdError> {
    let key = call.key(1);
    let set = call.db.zset(&key)?;
    let place = |member: &&[u8]| set.and_then(|set| set.score(member)).map(Place::of_score);
    Ok(members.iter().map(place).collect())
}

fn geodist(call: &mut Call<'_>) -> Result<(), CmdError> {
    let metres = match call.argv.len() {
        4 => 1.0,
        5 => unit(call, 4)?,
        _ => return Err(CmdError::Syntax),
    };
    let members = [call.arg(2), call.arg(3)];
    match places_of(call, &members)?[..] {
        [Some(a), Some(b)] => reply_distance(call.reply, a.distance(b) / metres),
        _ => call.reply.null(),
    }
    Ok(())
}

fn geohash(call: &mut Call<'_>) -> Result<(), CmdError> {
    let members: Vec<&[u8]> = call.argv.from(2).iter().collect();
    let places = places_of(call, &members)?;
    call.reply.array(places.len());
    for place in places {
        match place {
            Some(place) => call.reply.bulk(&place.geohash()),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn geopos(call: &mut Call<'_>) -> Result<(), CmdError> {
    let members: Vec<&[u8]> = call.argv.from(2).iter().collect();
    let places = places_of(call, &members)?;
    call.reply.array(places.len());
    for place in places {
        match place {
            Some(place) => reply_place(call.reply, place),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

/// A distance or a length, which must not be negative.
fn length(call: &Call<'_>, index: usize, not_a_number: &'static str) -> Result<f64, CmdError> {
    parse_double(call.arg(index)).ok_or(CmdError::text(not_a_number))
}
