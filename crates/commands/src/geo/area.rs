//! Places on the globe as sorted-set scores, distances, and the cells of the grid that a search has
//! to look at.
//!
//! A score is a geohash of 52 bits: the longitude's and the latitude's bits by turns, longitude
//! first, so that places near each other mostly have scores near each other.

use std::f64::consts::PI;

/// Metres; the sphere that Redis calculates with.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the circumference as the Mercator projection has it, in metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
/// The finest grid: 2^26 by 2^26 cells.
const STEPS_MAX: u32 = 26;

const LONGITUDES: Span = Span { min: -180.0, max: 180.0 };
/// As far as the Mercator projection goes (EPSG:900913).
const LATITUDES: Span = Span { min: -85.051_128_78, max: 85.051_128_78 };

#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    min: f64,
    max: f64,
}

impl Span {
    fn contains(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// Which of 2^steps parts the value is in. The end itself is beyond the last one, as in Redis.
    fn part_of(self, value: f64, steps: u32) -> u64 {
        let share = (value - self.min) / (self.max - self.min);
        (share * (1u64 << steps) as f64) as u64 & 0xffff_ffff
    }

    fn part(self, index: u64, steps: u32) -> Span {
        let count = (1u64 << steps) as f64;
        let edge = |index: u64| self.min + index as f64 / count * (self.max - self.min);
        Span { min: edge(index), max: edge(index + 1) }
    }
}

/// A place: longitude and latitude in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

impl Place {
    /// Whether the place can be kept.
    pub(super) fn is_valid(self) -> bool {
        LONGITUDES.contains(self.longitude) && LATITUDES.contains(self.latitude)
    }

    /// The score that stands for the place.
    pub(super) fn score(self) -> u64 {
        Cell::of(self, STEPS_MAX).bits()
    }

    /// The place that a score stands for: the middle of its cell.
    pub(super) fn of_score(score: f64) -> Place {
        let cell = Cell::of_bits(score as u64);
        let (longitudes, latitudes) = cell.spans();
        Place {
            longitude: ((longitudes.min + longitudes.max) / 2.0)
                .clamp(LONGITUDES.min, LONGITUDES.max),
            latitude: ((latitudes.min + latitudes.max) / 2.0).clamp(LATITUDES.min, LATITUDES.max),
        }
    }

    /// The geohash of eleven characters that other systems know. They span the latitudes from pole
    /// to pole; the last character would have less than one bit and is always 0.
    pub(super) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let longitude = LONGITUDES.part_of(self.longitude, STEPS_MAX);
        let latitude = Span { min: -90.0, max: 90.0 }.part_of(self.latitude, STEPS_MAX);
        let bits = interleave(longitude, latitude);
        std::array::from_fn(|index| match index {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - (index + 1) * 5) & 31) as usize],
        })
    }

    /// Metres to another place, on the sphere.
    pub(super) fn distance(self, other: Place) -> f64 {
        let half_longitude = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if half_longitude == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (a, b) = (radians(self.latitude), radians(other.latitude));
        let half_latitude = ((b - a) / 2.0).sin();
        let chord =
            half_latitude * half_latitude + a.cos() * b.cos() * half_longitude * half_longitude;
        2.0 * EARTH_RADIUS * chord.sqrt().asin()
    }
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (radians(b) - radians(a)).abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// The bits of both numbers by turns, the latitude's lowest first.
fn interleave(longitude: u64, latitude: u64) -> u64 {
    spread(latitude) | spread(longitude) << 1
}

fn spread(number: u64) -> u64 {
    (0..32).fold(0, |bits, at| bits | (number >> at & 1) << (2 * at))
}

fn gather(bits: u64) -> u64 {
    (0..32).fold(0, |number, at| number | (bits >> (2 * at) & 1) << at)
}

/// A cell of a grid of 2^steps by 2^steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    longitude: u64,
    latitude: u64,
    steps: u32,
}

impl Cell {
    fn of(place: Place, steps: u32) -> Cell {
        Cell {
            longitude: LONGITUDES.part_of(place.longitude, steps),
            latitude: LATITUDES.part_of(place.latitude, steps),
            steps,
        }
    }

    fn of_bits(bits: u64) -> Cell {
        Cell { longitude: gather(bits >> 1), latitude: gather(bits), steps: STEPS_MAX }
    }

    fn bits(self) -> u64 {
        interleave(self.longitude, self.latitude)
    }

    fn spans(self) -> (Span, Span) {
        let longitudes = LONGITUDES.part(self.longitude, self.steps);
        (longitudes, LATITUDES.part(self.latitude, self.steps))
    }

    /// The cell so many cells to the east and to the north, around the globe if need be.
    fn moved(self, east: i64, north: i64) -> Cell {
        // The very end of a span is beyond the last cell and stays there, as its scores do.
        let step = |index: u64, by: i64| match by {
            0 => index,
            _ => index.wrapping_add_signed(by) & ((1 << self.steps) - 1),
        };
        Cell {
            longitude: step(self.longitude, east),
            latitude: step(self.latitude, north),
            steps: self.steps,
        }
    }

    /// The scores of the places in the cell: from the first on, below the second.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }
}

/// What a search covers. Lengths are in metres.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// All within a distance of the middle.
    Circle { radius: f64 },
    /// A rectangle around the middle.
    Rectangle { width: f64, height: f64 },
    /// All inside of a closed line through these places.
    Polygon(Vec<Place>),
}

impl Shape {
    pub(super) fn is_circle(&self) -> bool {
        matches!(self, Shape::Circle { .. })
    }

    pub(super) fn is_rectangle(&self) -> bool {
        matches!(self, Shape::Rectangle { .. })
    }

    pub(super) fn is_polygon(&self) -> bool {
        matches!(self, Shape::Polygon(_))
    }
}

/// A shape somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Area {
    pub(super) middle: Place,
    pub(super) shape: Shape,
}

/// A part of the globe between meridians and parallels.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    longitudes: Span,
    latitudes: Span,
}

impl Area {
    /// A polygon; its middle is that of its corners, on the sphere.
    pub(super) fn polygon(corners: Vec<Place>) -> Area {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (east, north) = (radians(corner.longitude), radians(corner.latitude));
            x += north.cos() * east.cos();
            y += north.cos() * east.sin();
            z += north.sin();
        }
        let middle = Place {
            longitude: degrees(y.atan2(x)),
            latitude: degrees(z.atan2(x.hypot(y))).clamp(LATITUDES.min, LATITUDES.max),
        };
        Area { middle, shape: Shape::Polygon(corners) }
    }

    /// How far the place is from the middle, in metres, if it is within the area.
    pub(super) fn distance_within(&self, place: Place) -> Option<f64> {
        let is_within = match &self.shape {
            Shape::Circle { radius } => {
                let distance = self.middle.distance(place);
                return (distance <= *radius).then_some(distance);
            }
            Shape::Rectangle { width, height } => {
                let beside = Place { latitude: place.latitude, ..self.middle };
                latitude_distance(place.latitude, self.middle.latitude) <= height / 2.0
                    && place.distance(beside) <= width / 2.0
            }
            Shape::Polygon(corners) => is_inside(corners, place),
        };
        is_within.then(|| self.middle.distance(place))
    }

    /// The cells that together hold the area, each once, in the order in which Redis visits them.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut steps = steps_for(self.reach(), self.middle.latitude);
        let mut cell = Cell::of(self.middle, steps);
        // One step is enough for circles and rectangles; polygons may reach further on one side.
        let retries = if self.shape.is_polygon() { STEPS_MAX } else { 1 };
        for _ in 0..retries {
            if steps == 1 || covers(cell, bounds) {
                break;
            }
            steps -= 1;
            cell = Cell::of(self.middle, steps);
        }
        let mut cells: Vec<Cell> = Vec::with_capacity(9);
        for (east, north) in
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
        {
            let neighbour = cell.moved(east, north);
            // Around the globe in a coarse grid, neighbours on both sides are one.
            if (steps < 2 || reaches(cell, bounds, east, north)) && !cells.contains(&neighbour) {
                cells.push(neighbour);
            }
        }
        cells
    }

    /// Metres from the middle to the farthest place.
    fn reach(&self) -> f64 {
        match &self.shape {
            Shape::Circle { radius } => *radius,
            Shape::Rectangle { width, height } => (width / 2.0).hypot(height / 2.0),
            Shape::Polygon(corners) => {
                let far = corners.iter().map(|corner| self.middle.distance(*corner));
                far.fold(0.0, f64::max)
            }
        }
    }

    fn bounds(&self) -> Bounds {
        let (width, height) = match &self.shape {
            Shape::Circle { radius } => (*radius, *radius),
            Shape::Rectangle { width, height } => (width / 2.0, height / 2.0),
            Shape::Polygon(corners) => {
                let span = |of: fn(&Place) -> f64| Span {
                    min: corners.iter().map(of).fold(f64::INFINITY, f64::min),
                    max: corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max),
                };
                return Bounds {
                    longitudes: span(|at| at.longitude),
                    latitudes: span(|at| at.latitude),
                };
            }
        };
        let Place { longitude, latitude } = self.middle;
        let north = degrees(height / EARTH_RADIUS);
        // Meridians come together towards the poles, so the side that is nearer to one counts.
        let nearer = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = degrees(width / EARTH_RADIUS / radians(nearer).cos());
        Bounds {
            longitudes: Span { min: longitude - east, max: longitude + east },
            latitudes: Span { min: latitude - north, max: latitude + north },
        }
    }
}

/// Whether a ray from the place to the east crosses the closed line an odd number of times.
fn is_inside(corners: &[Place], place: Place) -> bool {
    let previous = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    let crossed = previous.zip(corners).filter(|(a, b)| {
        let between = (a.latitude > place.latitude) != (b.latitude > place.latitude);
        between && {
            let share = (place.latitude - b.latitude) / (a.latitude - b.latitude);
            place.longitude < (a.longitude - b.longitude) * share + b.longitude
        }
    });
    crossed.count() % 2 == 1
}

/// How fine the grid may be so that a cell and its neighbours hold all within `reach` metres.
fn steps_for(mut reach: f64, latitude: f64) -> u32 {
    if reach == 0.0 {
        return STEPS_MAX;
    }
    let mut steps = 1;
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        steps += 1;
    }
    // Some slack in general, more towards the poles.
    steps -= 2;
    steps -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// Whether the cell and its neighbours reach as far as the bounds on all four sides.
fn covers(cell: Cell, bounds: Bounds) -> bool {
    let (_, north) = cell.moved(0, 1).spans();
    let (_, south) = cell.moved(0, -1).spans();
    let (east, _) = cell.moved(1, 0).spans();
    let (west, _) = cell.moved(-1, 0).spans();
    north.max >= bounds.latitudes.max
        && south.min <= bounds.latitudes.min
        && east.max >= bounds.longitudes.max
        && west.min <= bounds.longitudes.min
}

/// Whether the bounds go beyond the cell on the sides where this neighbour is.
fn reaches(cell: Cell, bounds: Bounds, east: i64, north: i64) -> bool {
    let (longitudes, latitudes) = cell.spans();
    let side = |step: i64, own: Span, wanted: Span| match step {
        1 => own.max <= wanted.max,
        -1 => own.min >= wanted.min,
        _ => true,
    };
    side(east, longitudes, bounds.longitudes) && side(north, latitudes, bounds.latitudes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Place = Place { longitude: 13.361389, latitude: 38.115556 };

    #[test]
    fn scores_are_those_of_redis() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698);
        assert_eq!(&Place::of_score(PALERMO.score() as f64).geohash(), b"sqc8b49rny0");
        let catania = Place { longitude: 15.087269, latitude: 37.502669 };
        let place = |of: Place| Place::of_score(of.score() as f64);
        assert_eq!(format!("{:.4}", place(PALERMO).distance(place(catania))), "166274.1516");
    }

    #[test]
    fn the_ends_of_the_world_have_scores() {
        for longitude in [-180.0, 180.0] {
            for latitude in [LATITUDES.min, LATITUDES.max] {
                let place = Place { longitude, latitude };
                assert!(place.is_valid());
                assert!(Place::of_score(place.score() as f64).is_valid());
            }
        }
    }

    #[test]
    fn a_polygon_has_an_inside() {
        let at = |longitude, latitude| Place { longitude, latitude };
        let corners =
            vec![at(0.0, 0.0), at(10.0, 0.0), at(10.0, 10.0), at(5.0, 2.0), at(0.0, 10.0)];
        let area = Area::polygon(corners);
        for (why, place, want) in [
            ("inside", at(1.0, 1.0), true),
            ("in the notch", at(5.0, 5.0), false),
            ("under the notch", at(5.0, 1.0), true),
            ("to the west", at(-1.0, 5.0), false),
            ("to the north", at(1.0, 11.0), false),
        ] {
            assert_eq!(area.distance_within(place).is_some(), want, "{why}");
        }
    }

    fn place() -> impl Strategy<Value = Place> {
        (-180.0..180.0, -80.0..80.0).prop_map(|(longitude, latitude)| Place { longitude, latitude })
    }

    proptest! {
        #[test]
        fn a_score_is_near_its_place(place in place()) {
            let kept = Place::of_score(place.score() as f64);
            prop_assert!(place.distance(kept) < 1.0);
            prop_assert_eq!(kept.score(), place.score());
        }

        #[test]
        fn what_is_near_is_in_the_cells(
            middle in place(),
            radius in 1.0..500_000.0f64,
            (east, north) in (-1.0..1.0f64, -1.0..1.0f64),
        ) {
            // What crosses the meridian of 180 degrees is not found, as in Redis.
            prop_assume!(middle.longitude.abs() < 140.0 && middle.latitude.abs() < 70.0);
            let other = Place {
                longitude: middle.longitude + degrees(east * radius / EARTH_RADIUS),
                latitude: middle.latitude + degrees(north * radius / EARTH_RADIUS),
            };
            let other = Place::of_score(other.score() as f64);
            for shape in [
                Shape::Circle { radius },
                Shape::Rectangle { width: radius * 1.5, height: radius },
            ] {
                let area = Area { middle, shape };
                if area.distance_within(other).is_some() {
                    let score = other.score() as f64;
                    let holds = |cell: &Cell| {
                        let (first, end) = cell.scores();
                        (first..end).contains(&score)
                    };
                    prop_assert!(area.cells().iter().any(holds), "{area:?} {other:?}");
                }
            }
        }
    }
}
