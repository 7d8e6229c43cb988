//! Searches: what is in a circle, a box or a polygon.

use slotward_keyspace::{Key, ScoreBound, SortedSet, Value};
use slotward_resp::Args;

use super::area::{Area, Place, Shape};
use super::{length, place, reply_distance, reply_place, unit};
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;

/// How the commands of the family differ.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// The command's name in its errors.
    name: &'static str,
    /// Index of the key that is searched.
    source: usize,
    /// Where the options begin.
    options: usize,
    start: Start,
    /// Whether `STORE` and `STOREDIST` are options.
    may_store: bool,
}

/// How the middle and the shape are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// As longitude, latitude, radius, unit.
    Place,
    /// As member, radius, unit.
    Member,
    /// Among the options; the result may be stored at the first key.
    Options { store: bool },
}

const RADIUS: Form =
    Form { name: "GEORADIUS", source: 1, options: 6, start: Start::Place, may_store: true };
const BY_MEMBER: Form = Form {
    name: "GEORADIUSBYMEMBER",
    source: 1,
    options: 5,
    start: Start::Member,
    may_store: true,
};

pub(super) fn georadius(call: &mut Call<'_>) -> Result<(), CmdError> {
    search(call, RADIUS)
}

pub(super) fn georadius_ro(call: &mut Call<'_>) -> Result<(), CmdError> {
    search(call, Form { may_store: false, ..RADIUS })
}

pub(super) fn georadiusbymember(call: &mut Call<'_>) -> Result<(), CmdError> {
    search(call, BY_MEMBER)
}

pub(super) fn georadiusbymember_ro(call: &mut Call<'_>) -> Result<(), CmdError> {
    search(call, Form { may_store: false, ..BY_MEMBER })
}

pub(super) fn geosearch(call: &mut Call<'_>) -> Result<(), CmdError> {
    let start = Start::Options { store: false };
    search(call, Form { name: "GEOSEARCH", source: 1, options: 2, start, may_store: false })
}

pub(super) fn geosearchstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    let start = Start::Options { store: true };
    search(call, Form { name: "GEOSEARCHSTORE", source: 2, options: 3, start, may_store: false })
}

/// Finds the key that `GEORADIUS` stores to.
pub(super) fn radius_store_key(argv: Args<'_>, found: &mut dyn FnMut(usize)) -> bool {
    store_key(argv, RADIUS.options, found)
}

/// Finds the key that `GEORADIUSBYMEMBER` stores to.
pub(super) fn member_store_key(argv: Args<'_>, found: &mut dyn FnMut(usize)) -> bool {
    store_key(argv, BY_MEMBER.options, found)
}

/// Finds the key after `STORE` or `STOREDIST`; of several the last counts. Reads options as
/// [`Search::option`] does.
fn store_key(argv: Args<'_>, options: usize, found: &mut dyn FnMut(usize)) -> bool {
    let (mut index, mut store) = (options, None);
    while let Some(word) = argv.get(index) {
        index += match word.to_ascii_uppercase().as_slice() {
            b"STORE" | b"STOREDIST" if index + 1 < argv.len() => {
                store = Some(index + 1);
                2
            }
            b"COUNT" => 2,
            _ => 1,
        };
    }
    store.into_iter().for_each(found);
    true
}

/// What the middle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Member,
    Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// What a command asks for.
#[derive(Debug)]
struct Search {
    form: Form,
    /// Unknown if it is a member's and there is no source.
    middle: Option<Place>,
    from: Option<From>,
    shape: Option<Shape>,
    /// Metres in the unit of the reply.
    metres: f64,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    order: Option<Order>,
    count: Option<usize>,
    any: bool,
    /// Index of the key that the result is stored at.
    store: Option<usize>,
    store_distances: bool,
}

/// A member that was found.
struct Found {
    member: Vec<u8>,
    /// Metres from the middle.
    distance: f64,
    score: f64,
    place: Place,
}

impl Search {
    fn new(form: Form) -> Search {
        Search {
            form,
            middle: None,
            from: None,
            shape: None,
            metres: 1.0,
            with_distance: false,
            with_hash: false,
            with_place: false,
            order: None,
            count: None,
            any: false,
            store: (form.start == Start::Options { store: true }).then_some(1),
            store_distances: false,
        }
    }

    fn parse(call: &mut Call<'_>, form: Form, source: &Key<'_>) -> Result<Search, CmdError> {
        let exists = call.db.zset(source)?.is_some();
        let mut search = Search::new(form);
        match form.start {
            Start::Place => {
                search.middle = Some(place(call, 2)?);
                search.set_circle(call, 4)?;
            }
            // Without a source, what is asked for is read no further than the options need.
            Start::Member if !exists => {}
            Start::Member => {
                search.middle = Some(place_of_member(call, source, 2)?);
                search.set_circle(call, 3)?;
            }
            Start::Options { .. } => {}
        }
        let mut index = form.options;
        while index < call.argv.len() {
            index += 1 + search.option(call, index, source, exists)?;
        }
        search.check()?;
        Ok(search)
    }

    /// Reads the option at `index`; how many arguments it has.
    fn option(
        &mut self,
        call: &mut Call<'_>,
        index: usize,
        source: &Key<'_>,
        exists: bool,
    ) -> Result<usize, CmdError> {
        let left = call.argv.len() - index - 1;
        let is_search = matches!(self.form.start, Start::Options { .. });
        match call.arg(index).to_ascii_uppercase().as_slice() {
            b"WITHDIST" => self.with_distance = true,
            b"WITHHASH" => self.with_hash = true,
            b"WITHCOORD" => self.with_place = true,
            b"ANY" => self.any = true,
            b"ASC" => self.order = Some(Order::Ascending),
            b"DESC" => self.order = Some(Order::Descending),
            b"COUNT" if left >= 1 => {
                let count = call.int(index + 1)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                self.count = Some(count.ok_or(CmdError::text("ERR COUNT must be > 0"))?);
                return Ok(1);
            }
            b"STORE" | b"STOREDIST" if self.form.may_store && left >= 1 => {
                self.store = Some(index + 1);
                self.store_distances = call.is_word(index, "STOREDIST");
                return Ok(1);
            }
            b"STOREDIST" if self.form.start == (Start::Options { store: true }) => {
                self.store_distances = true;
            }
            b"FROMMEMBER" if is_search && left >= 1 && self.may_be_from(From::Member) => {
                self.from = Some(From::Member);
                if exists {
                    self.middle = Some(place_of_member(call, source, index + 1)?);
                }
                return Ok(1);
            }
            b"FROMLONLAT" if is_search && left >= 2 && self.may_be_from(From::Place) => {
                self.from = Some(From::Place);
                self.middle = Some(place(call, index + 1)?);
                return Ok(2);
            }
            b"BYRADIUS" if is_search && left >= 2 && self.may_be(|shape| shape.is_circle()) => {
                self.set_circle(call, index + 1)?;
                return Ok(2);
            }
            b"BYBOX" if is_search && left >= 3 && self.may_be(|shape| shape.is_rectangle()) => {
                self.set_rectangle(call, index + 1)?;
                return Ok(3);
            }
            b"BYPOLYGON"
                if is_search
                    && left >= 1
                    && self.from.is_none()
                    && self.may_be(|shape| shape.is_polygon()) =>
            {
                return self.set_polygon(call, index + 1);
            }
            _ => return Err(CmdError::Syntax),
        }
        Ok(0)
    }

    /// Whether the middle may be given so: an option may be repeated, but not mixed with another,
    /// nor with a polygon, which has its own middle.
    fn may_be_from(&self, from: From) -> bool {
        self.from.is_none_or(|old| old == from) && self.may_be(|shape| !shape.is_polygon())
    }

    /// Whether a shape like this may be given.
    fn may_be(&self, like: impl Fn(&Shape) -> bool) -> bool {
        self.shape.as_ref().is_none_or(like)
    }

    fn set_circle(&mut self, call: &Call<'_>, index: usize) -> Result<(), CmdError> {
        let radius = length(call, index, "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(CmdError::text("ERR radius cannot be negative"));
        }
        self.metres = unit(call, index + 1)?;
        self.shape = Some(Shape::Circle { radius: radius * self.metres });
        Ok(())
    }

    fn set_rectangle(&mut self, call: &Call<'_>, index: usize) -> Result<(), CmdError> {
        let width = length(call, index, "ERR need numeric width")?;
        let height = length(call, index + 1, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CmdError::text("ERR height or width cannot be negative"));
        }
        self.metres = unit(call, index + 2)?;
        let (width, height) = (width * self.metres, height * self.metres);
        self.shape = Some(Shape::Rectangle { width, height });
        Ok(())
    }

    fn set_polygon(&mut self, call: &Call<'_>, index: usize) -> Result<usize, CmdError> {
        let count =
            call.int(index).map_err(|_| CmdError::text("ERR invalid number of vertices"))?;
        let left = call.argv.len() - index - 1;
        let count = usize::try_from(count).ok().filter(|count| (3..=left / 2).contains(count));
        let count =
            count.ok_or(CmdError::text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"))?;
        let corners = (0..count).map(|corner| place(call, index + 1 + corner * 2));
        self.shape = Some(Shape::Polygon(corners.collect::<Result<_, _>>()?));
        Ok(1 + count * 2)
    }

    /// Refuses what does not go together.
    fn check(&self) -> Result<(), CmdError> {
        let name = self.form.name;
        let with = self.with_distance || self.with_hash || self.with_place;
        let is_search = matches!(self.form.start, Start::Options { .. });
        let is_polygon = self.shape.as_ref().is_some_and(Shape::is_polygon);
        let text = if self.store.is_some() && with {
            let what = if is_search { name } else { "STORE option in GEORADIUS" };
            format!("{what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if is_search && self.from.is_none() && !is_polygon {
            format!("exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
        } else if is_search && self.shape.is_none() {
            format!("exactly one of BYRADIUS and BYBOX can be specified for {name}")
        } else if self.any && self.count.is_none() {
            "the ANY argument requires COUNT argument".to_owned()
        } else {
            return Ok(());
        };
        Err(CmdError::Other(format!("ERR {text}").into()))
    }

    /// The members of the set that are in the area.
    fn run(&self, set: &SortedSet, area: &Area) -> Vec<Found> {
        let limit = if self.any { self.count } else { None };
        let mut found = Vec::new();
        for cell in area.cells() {
            let (first, end) = cell.scores();
            let ranks = set.ranks_by_score(
                ScoreBound { value: first, exclusive: false },
                ScoreBound { value: end, exclusive: true },
            );
            for (item, score) in set.iter_from(ranks.start).take(ranks.len()) {
                let place = Place::of_score(score);
                if let Some(distance) = area.distance_within(place) {
                    found.push(Found { member: item.to_vec(), distance, score, place });
                    if Some(found.len()) == limit {
                        return self.sorted(found);
                    }
                }
            }
        }
        self.sorted(found)
    }

    /// The wanted ones in the wanted order: with a count those that are nearest.
    fn sorted(&self, mut found: Vec<Found>) -> Vec<Found> {
        let nearest = self.count.filter(|_| !self.any).map(|_| Order::Ascending);
        match self.order.or(nearest) {
            Some(Order::Ascending) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Order::Descending) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        found.truncate(self.count.unwrap_or(usize::MAX));
        found
    }

    fn reply(&self, call: &mut Call<'_>, found: &[Found]) {
        let reply = &mut *call.reply;
        let more = [self.with_distance, self.with_hash, self.with_place];
        let more = more.into_iter().filter(|with| *with).count();
        reply.array(found.len());
        for found in found {
            if more > 0 {
                reply.array(1 + more);
            }
            reply.bulk(&found.member);
            if self.with_distance {
                reply_distance(reply, found.distance / self.metres);
            }
            if self.with_hash {
                reply.integer(found.score as i64);
            }
            if self.with_place {
                reply_place(reply, found.place);
            }
        }
    }

    fn store(&self, call: &mut Call<'_>, index: usize, found: &[Found]) {
        let target = call.key(index);
        let mut set = SortedSet::new();
        for found in found {
            let distance = found.distance / self.metres;
            let score = if self.store_distances { distance } else { found.score };
            set.insert(&found.member, score, &call.settings.limits);
        }
        if set.is_empty() {
            if call.db.remove(&target) {
                call.effects.changed(1);
                call.notify(EventClass::GENERIC, "del", target.bytes);
            }
        } else {
            call.db.insert(&target, Value::ZSet(set), None);
            call.effects.changed(found.len() as u64);
            let is_search = matches!(self.form.start, Start::Options { .. });
            let event = if is_search { "geosearchstore" } else { "georadiusstore" };
            call.notify(EventClass::ZSET, event, target.bytes);
        }
        call.reply.integer(found.len() as i64);
    }
}

fn place_of_member(call: &mut Call<'_>, source: &Key<'_>, index: usize) -> Result<Place, CmdError> {
    let member = call.arg(index);
    let score = call.db.zset(source)?.and_then(|set| set.score(member));
    score.map(Place::of_score).ok_or(CmdError::text("ERR could not decode requested zset member"))
}

fn search(call: &mut Call<'_>, form: Form) -> Result<(), CmdError> {
    let source = call.key(form.source);
    let search = Search::parse(call, form, &source)?;
    let area = match (&search.shape, search.middle) {
        (Some(Shape::Polygon(corners)), _) => Some(Area::polygon(corners.clone())),
        (Some(shape), Some(middle)) => Some(Area { middle, shape: shape.clone() }),
        _ => None,
    };
    let found = match (area, call.db.zset(&source)?) {
        (Some(area), Some(set)) => search.run(set, &area),
        _ => Vec::new(),
    };
    match search.store {
        Some(index) => search.store(call, index, &found),
        None => search.reply(call, &found),
    }
    Ok(())
}
