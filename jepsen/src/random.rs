//! Random numbers from a seed, the same on every machine.

/// A stream of numbers (splitmix64): small, and good enough to choose what to break next.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes a stream from a seed; each `place` gives an independent stream.
    #[must_use]
    pub fn new(seed: u64, place: u64) -> Self {
        let mut stream = Self(seed ^ place.wrapping_mul(0xD1B5_4A32_D192_ED03));
        stream.number();
        stream
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high`, inclusive.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// Returns true in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    /// Chooses one of the things.
    ///
    /// # Panics
    /// When there are none, which is a mistake of the harness.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let place = self.place(things.len());
        &things[place]
    }

    /// Returns an index into a list of this length, which must not be 0.
    pub fn place(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.number() % length).unwrap_or_default()
    }

    /// Puts the things into a random order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = self.place(last + 1);
            things.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_give_different_streams_of_a_seed() {
        let take = |seed, place| {
            let mut random = Random::new(seed, place);
            (0..8).map(|_| random.number()).collect::<Vec<_>>()
        };
        assert_eq!(take(7, 1), take(7, 1));
        assert_ne!(take(7, 1), take(7, 2));
        assert_ne!(take(7, 1), take(8, 1));
    }

    #[test]
    fn drawn_numbers_are_in_range() {
        let mut random = Random::new(1, 1);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
        let mut things = [1, 2, 3, 4, 5];
        random.shuffle(&mut things);
        things.sort_unstable();
        assert_eq!(things, [1, 2, 3, 4, 5]);
    }
}
