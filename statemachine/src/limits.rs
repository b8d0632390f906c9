//! All limits that the state machine enforces, by name, with one section per job. They are replicated in the state.

use crate::jobs::jobs;
use crate::level::{LEVEL, LEVEL_MIN};
use crate::limit::Setting;
use crate::rejection::invalid;
use crate::{Rejection, common_limits, retries};

macro_rules! limits {
    ($($Job:ident = $module:ident),*) => {
        /// The limits in force, by job. They are part of the state and changed only by [`crate::cluster::SetLimits`], so that every
        /// replica refuses the same requests. The names of limits are unique over all jobs.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Limits {
            /// The limits of all jobs.
            pub common: common_limits::Limits,
            /// The limits of remembered answers.
            pub retries: retries::Limits,
            $(#[doc = concat!("The limits of [`crate::", stringify!($module), "`].")] pub $module: crate::$module::Limits,)*
        }

        impl Limits {
            fn settings(&self) -> impl Iterator<Item = Setting> {
                let settings = self.common.settings().chain(self.retries.settings());
                $(let settings = settings.chain(self.$module.settings());)*
                settings
            }

            /// Sets a limit whose name has been checked before.
            fn set(&mut self, name: &str, value: u64) {
                let _ = self.common.set(name, value)
                    || self.retries.set(name, value)
                    $(|| self.$module.set(name, value))*;
            }
        }
    };
}
jobs!(limits);

/// A change of some limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// The limits to change, as (name, new value), at most one per limit.
    pub values: Vec<(String, u64)>,
}

impl LimitsPatch {
    /// The level of the newest limit that it names. A name that is no limit is refused by apply, in every build alike.
    pub(crate) fn level(&self) -> u32 {
        let limits = Limits::default();
        let named =
            limits.settings().filter(|setting| self.values.iter().any(|(name, _)| name == setting.name));
        named.map(|setting| setting.level).max().unwrap_or(LEVEL_MIN)
    }
}

impl Limits {
    /// All limits by name, with one section per job.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, u64)> {
        self.settings().map(|setting| (setting.name, setting.value)).collect()
    }

    /// The limits that builds of a level know, by name. A limit of a higher level has its default as long as the cluster has not reached
    /// that level.
    #[must_use]
    pub fn values_at(&self, level: u32) -> Vec<(&'static str, u64)> {
        let known = self.settings().filter(|setting| setting.level <= level);
        known.map(|setting| (setting.name, setting.value)).collect()
    }

    /// Returns the limits with some of them changed.
    ///
    /// # Errors
    /// `invalid_argument` naming the limit: unknown, given twice, out of its range, or `ttl_ms_min` over `ttl_ms_max`.
    pub fn patched(&self, patch: &LimitsPatch) -> Result<Self, Rejection> {
        self.patched_at(LEVEL, patch)
    }

    /// As [`Self::patched`], for a state of this level. What came with a higher level is no limit yet, so that every build that applies
    /// the patch says the same.
    pub(crate) fn patched_at(&self, level: u32, patch: &LimitsPatch) -> Result<Self, Rejection> {
        let mut limits = self.clone();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &patch.values {
            if seen.contains(&name.as_str()) {
                return Err(invalid("limits", format!("{name} is given twice")));
            }
            seen.push(name);
            let mut known = self.settings().filter(|setting| setting.level <= level);
            let Some(setting) = known.find(|setting| setting.name == name) else {
                let known: Vec<&str> = self.values_at(level).into_iter().map(|(name, _)| name).collect();
                return Err(invalid(
                    "limits",
                    format!("{name} is not a limit; the limits are {}", known.join(", ")),
                ));
            };
            if *value < setting.min || *value > setting.max {
                let range = format!("{name} is {value}; it must be from {} to {}", setting.min, setting.max);
                return Err(invalid("limits", range));
            }
            limits.set(name, *value);
        }
        if limits.common.ttl_ms_min > limits.common.ttl_ms_max {
            return Err(invalid("limits", "ttl_ms_min must not be over ttl_ms_max"));
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(values: &[(&str, u64)]) -> LimitsPatch {
        LimitsPatch { values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
    }

    #[test]
    fn patch_changes_only_the_named_limits() {
        let limits =
            Limits::default().patched(&patch(&[("ttl_ms_min", 100), ("name_bytes_max", 64)])).unwrap();
        let mut expected = Limits::default();
        (expected.common.ttl_ms_min, expected.common.name_bytes_max) = (100, 64);
        assert_eq!(limits, expected);
        assert_eq!(limits.values().len(), 33);
    }

    #[test]
    fn limits_are_of_a_level_that_this_build_knows() {
        let limits = Limits::default();
        assert_eq!(limits.values_at(LEVEL), limits.values());
        assert!(limits.settings().all(|setting| (LEVEL_MIN..=LEVEL).contains(&setting.level)));
        assert!(limits.values_at(0).is_empty());
        assert_eq!(patch(&[("name_bytes_max", 64)]).level(), LEVEL_MIN);
        assert_eq!(patch(&[("colour", 1)]).level(), LEVEL_MIN);
        assert_eq!(patch(&[("name_bytes_max", 64), ("members_max", 5)]).level(), 2, "as the newest of them");
        assert_eq!(limits.values_at(1).len(), 21, "an older build would not know the others");
    }

    #[test]
    fn limit_of_a_higher_level_is_unknown_to_every_build() {
        let newer = patch(&[("members_max", 5)]);
        let refused = Limits::default().patched_at(1, &newer).unwrap_err().to_string();
        assert!(refused.contains("members_max is not a limit"), "{refused}");
        assert!(!refused.contains("members_max,") && !refused.ends_with("members_max"), "{refused}");
        assert_eq!(Limits::default().patched_at(2, &newer).unwrap().cluster.members_max, 5);
    }

    #[test]
    fn a_bad_patch_names_the_limit() {
        for values in [
            &[("colour", 1)][..],
            &[("name_bytes_max", 0)],
            &[("name_bytes_max", 5), ("name_bytes_max", 6)],
            &[("ttl_ms_min", 20_000), ("ttl_ms_max", 10_000)],
        ] {
            let error = Limits::default().patched(&patch(values)).unwrap_err();
            assert_eq!(error.code().as_str(), "invalid_argument");
            assert!(error.to_string().contains(values[0].0), "{error}");
        }
    }
}
