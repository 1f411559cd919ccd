//! What a seed is: a number, and what the runs it stands for are about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What runs are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Everything.
    #[default]
    General,
    /// Consensus: three to nine members most of which vote, few messages, leaders that fall, members that come and go, short logs.
    Raft,
    /// Three to nine members that lose their quorum, and an operator who has the others go on.
    Recovery,
    /// Streams: two to seven members, streams of several targets, ends that fall, lose their disks, go, or are lost for good.
    Streams,
}

impl Profile {
    /// All of them, with the names used on the command line.
    pub const ALL: [(&'static str, Self); 4] = [
        ("general", Self::General),
        ("raft", Self::Raft),
        ("recovery", Self::Recovery),
        ("streams", Self::Streams),
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The seed of that number.
    #[must_use]
    pub const fn seed(self, number: u64) -> Seed {
        Seed { profile: self, number }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(other, _)| *other == name);
        found.map(|(_, profile)| profile).ok_or_else(|| format!("there are: {}", known()))
    }
}

/// What a plan is made of. Written as its number, behind its profile if that is not the general one: `7`, `raft:7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What the run is about.
    pub profile: Profile,
    /// Its number.
    pub number: u64,
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Profile::General.seed(number)
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (profile, number) = match text.split_once(':') {
            Some((profile, number)) => (profile.parse()?, number),
            None => (Profile::General, text),
        };
        let wrong =
            |_| format!("{text:?} is no seed: write a number, or a profile and a number as in raft:7");
        Ok(profile.seed(number.parse().map_err(wrong)?))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.profile {
            Profile::General => write!(f, "{}", self.number),
            profile => write!(f, "{}:{}", profile.name(), self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_are_written() {
        for text in ["7", "raft:7", "raft:0", "recovery:3", "streams:5"] {
            assert_eq!(text.parse::<Seed>().map(|seed| seed.to_string()), Ok(text.into()));
        }
        assert_eq!("general:7".parse(), Ok(Seed::from(7)));
        for wrong in ["", "raft", "raft:", "raft:x", "-1"] {
            assert!(wrong.parse::<Seed>().is_err(), "{wrong}");
        }
        assert!("rift:7".parse::<Seed>().is_err_and(|what| what.contains("raft")));
        for (place, (name, profile)) in Profile::ALL.into_iter().enumerate() {
            assert_eq!((profile as usize, profile.name()), (place, name));
        }
    }
}
