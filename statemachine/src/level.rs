//! Levels: which commands a build knows, and from which level of the cluster on they may be proposed.
//!
//! A build that adds a command, a field of a command or a limit adds a level. The state keeps the level that every member has reached
//! ([`crate::cluster::RaiseLevel`] raises it), and a command of a higher level is refused before it is proposed. So a member never
//! meets an entry that it can apply only in part.

/// The first version of Batuta of each level, level 1 first. A line stays as it is once its version is released; the newest level
/// comes with this build.
const VERSIONS: [&str; 2] = ["0.1.0", env!("CARGO_PKG_VERSION")];

/// The level of this build: it knows every command up to this level.
#[expect(clippy::cast_possible_truncation, reason = "a handful of levels")]
pub const LEVEL: u32 = VERSIONS.len() as u32;

/// The level of a cluster whose members have not said otherwise, and of everything that every build knows.
pub const LEVEL_MIN: u32 = 1;

/// The version of Batuta to install for a level; `None` for a level that this build does not know, and for 0.
#[must_use]
pub fn version_of(level: u32) -> Option<&'static str> {
    let place = level.checked_sub(LEVEL_MIN)?;
    VERSIONS.get(usize::try_from(place).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_level_has_a_version() {
        assert!((LEVEL_MIN..=LEVEL).all(|level| version_of(level).is_some()));
        assert_eq!(version_of(LEVEL), Some(env!("CARGO_PKG_VERSION")), "this build has its newest level");
        assert_eq!((version_of(0), version_of(LEVEL + 1)), (None, None));
    }
}
