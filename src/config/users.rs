//! The users of a zone as ids of the host: `[users]` in `zone.toml`.

use picozone_personality::users::{IdMap, IdRow, ROWS_MAX};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// Rows of a map that are not ours.
pub const RANGES_MAX: usize = ROWS_MAX - 1;

/// What is configured of a zone's users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Ranges of users and of groups.
    #[serde(
        default,
        deserialize_with = "ranges",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub map: Vec<IdRange>,
    /// Further ones of users only.
    #[serde(
        default,
        deserialize_with = "ranges",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uids: Vec<IdRange>,
    /// Further ones of groups only.
    #[serde(
        default,
        deserialize_with = "ranges",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gids: Vec<IdRange>,
    /// Who everybody else of the host is in the zone; nobody (65534) if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squash: Option<u32>,
}

/// A range of ids: `ZONE:HOST:COUNT`, `ZONE:HOST` for one, or `ZONE:FIRST-LAST` for ids of the host that
/// are all one in the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct IdRange(pub IdRow);

impl FromStr for IdRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "a range of users is ZONE:HOST:COUNT, as 0:100000:65536, ZONE:HOST for one, or ZONE:FIRST-LAST for many that are one in the zone";
        let number = |text: &str| {
            let parsed = text.parse::<u32>();
            parsed.map_err(|_| format!("{text:?} is not an id; {FORM}"))
        };
        let parts: Vec<&str> = text.trim().split(':').collect();
        let (zone, host, count, squashes) = match parts[..] {
            [zone, host] => match host.split_once('-') {
                None => (number(zone)?, number(host)?, 1, 0),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    let count = last
                        .checked_sub(first)
                        .and_then(|count| count.checked_add(1));
                    let count = count.ok_or_else(|| format!("{text:?} holds no id; {FORM}"))?;
                    (number(zone)?, first, count, 1)
                }
            },
            [zone, host, count] => (number(zone)?, number(host)?, number(count)?, 0),
            _ => return Err(FORM.to_owned()),
        };
        let row = IdRow {
            zone,
            host,
            count,
            squashes,
        };
        // The last number is none of an id: calls say by it that they want no change.
        let is_within = |first: u32, count: u32| first.checked_add(count).is_some();
        if count == 0 || !is_within(host, count) || !is_within(zone, zone_count(&row)) {
            return Err(format!("{text:?} holds what is not an id; {FORM}"));
        }
        Ok(Self(row))
    }
}

/// How many ids of the zone a row has.
const fn zone_count(row: &IdRow) -> u32 {
    if row.squashes == 0 { row.count } else { 1 }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.0;
        match (row.squashes, row.count) {
            (0, 1) => write!(f, "{}:{}", row.zone, row.host),
            (0, count) => write!(f, "{}:{}:{count}", row.zone, row.host),
            _ => write!(
                f,
                "{}:{}-{}",
                row.zone,
                row.host,
                row.host + (row.count - 1)
            ),
        }
    }
}

impl From<IdRange> for String {
    fn from(range: IdRange) -> Self {
        range.to_string()
    }
}

/// A list of ranges, or one text with commas, as a command line has it.
fn ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IdRange>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    let list = match Either::deserialize(from)? {
        Either::Text(text) => text.split(',').map(str::to_owned).collect(),
        Either::List(list) => list,
    };
    let parsed = list.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

/// One of the two kinds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Of users.
    User,
    /// Of groups.
    Group,
}

impl Users {
    /// Whether nothing is configured.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The ranges of one kind.
    pub fn ranges(&self, kind: IdKind) -> impl Iterator<Item = &IdRange> {
        let further = match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        };
        self.map.iter().chain(further)
    }

    /// The map of one kind, for a zone that `own` runs.
    #[must_use]
    pub fn map(&self, kind: IdKind, own: u32) -> IdMap {
        let mut map = IdMap::usual(own);
        map.other = self.squash.unwrap_or(map.other);
        if self.ranges(kind).next().is_some() {
            map.is_closed = 1;
            map.rows[1] = IdRow::default();
            for (row, range) in map.rows[1..].iter_mut().zip(self.ranges(kind)) {
                *row = range.0;
            }
        }
        map
    }

    /// User and group of the host as whom a zone of the host's root runs: those whom the map has for the
    /// zone's root. None where there is no map.
    ///
    /// # Errors
    /// A sentence that says what the map lacks for that.
    pub fn runner(&self) -> Result<Option<(u32, u32)>, String> {
        if self.is_usual() {
            return Ok(None);
        }
        let root_of = |kind| {
            let mut rows = self.ranges(kind).map(|range| &range.0);
            let row = rows.find(|row| row.zone == 0).map(|row| row.host);
            row.filter(|host| *host != 0).ok_or_else(|| {
                "the zone runs under the ids that its map has for its root, so that the kernel keeps it apart: the map must say a user and a group of the host for 0, and not the host's root".to_owned()
            })
        };
        Ok(Some((root_of(IdKind::User)?, root_of(IdKind::Group)?)))
    }

    /// Says what is wrong with the ranges, if anything is.
    ///
    /// # Errors
    /// A sentence that names the range.
    pub fn check(&self) -> Result<(), String> {
        for kind in [IdKind::User, IdKind::Group] {
            let ranges: Vec<&IdRange> = self.ranges(kind).collect();
            if ranges.len() > RANGES_MAX {
                return Err(format!(
                    "{} ranges of users are more than {RANGES_MAX}",
                    ranges.len()
                ));
            }
            for (at, range) in ranges.iter().enumerate() {
                let overlaps = |a: (u32, u32), b: (u32, u32)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
                let (host, zone) = (
                    (range.0.host, range.0.count),
                    (range.0.zone, zone_count(&range.0)),
                );
                for other in &ranges[..at] {
                    if overlaps(host, (other.0.host, other.0.count)) {
                        return Err(format!(
                            "users {range} and {other} have an id of the host in common"
                        ));
                    }
                    let is_squashed = range.0.squashes == 1 || other.0.squashes == 1;
                    if !is_squashed && overlaps(zone, (other.0.zone, other.0.count)) {
                        return Err(format!(
                            "users {range} and {other} have an id of the zone in common"
                        ));
                    }
                }
            }
        }
        if self.squash == Some(u32::MAX) {
            return Err(format!("users: {} is not an id", u32::MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_every_form() {
        for text in ["0:100000:65536", "33:1033", "7:2000-2999", "0:0:4294967295"] {
            let range: IdRange = text.parse().expect("fine");
            assert_eq!(range.to_string(), text);
        }
        for wrong in [
            "",
            "0",
            "0:1:2:3",
            "a:1",
            "0:1:0",
            "0:5-4",
            "0:4294967295",
            "4294967295:0:1",
            "1:0:4294967295",
            "-1:0",
        ] {
            assert!(wrong.parse::<IdRange>().is_err(), "{wrong}");
        }
    }

    fn users(map: &[&str]) -> Users {
        Users {
            map: map.iter().map(|text| text.parse().expect("fine")).collect(),
            ..Users::default()
        }
    }

    #[test]
    fn ranges_that_have_ids_in_common_are_refused() {
        assert_eq!(
            users(&["0:100000:1000", "1000:5000", "0:7000-7999"]).check(),
            Ok(())
        );
        assert!(users(&["0:100000:1000", "999:5000"]).check().is_err());
        assert!(users(&["0:100000:1000", "2000:100999"]).check().is_err());
        assert!(
            users(&["0:100000:1000", "5:100500-100600"])
                .check()
                .is_err()
        );
        let mut both = users(&["0:100000:1000"]);
        both.gids = users(&["10:9000"]).map;
        assert!(both.check().is_err());
        both.gids = users(&["1000:9000"]).map;
        assert_eq!(both.check(), Ok(()));
        assert!(both.map(IdKind::Group, 1).has(1000) && !both.map(IdKind::User, 1).has(1000));
    }

    #[test]
    fn a_zone_of_root_runs_as_whom_its_map_has_for_its_root() {
        assert_eq!(Users::default().runner(), Ok(None));
        let runner = |map: &[&str]| users(map).runner();
        assert_eq!(
            runner(&["33:1033", "0:100000:65536"]),
            Ok(Some((100_000, 100_000)))
        );
        assert_eq!(runner(&["0:7000-7999"]), Ok(Some((7000, 7000))));
        assert!(runner(&["1:100000:65536"]).is_err());
        assert!(runner(&["0:0:65536"]).is_err());
        let mut split = users(&["5:5"]);
        (split.uids, split.gids) = (users(&["0:20"]).map, users(&["0:30"]).map);
        assert_eq!(split.runner(), Ok(Some((20, 30))));
        split.gids.clear();
        assert!(split.runner().is_err());
    }

    #[test]
    fn a_map_is_written_as_a_list_and_read_as_a_text_too() {
        let text = toml::to_string(&users(&["0:100000:65536", "70000:5"])).expect("written");
        assert_eq!(text, "map = [\"0:100000:65536\", \"70000:5\"]\n");
        let read = |text: &str| toml::from_str::<Users>(text).map_err(|error| error.to_string());
        assert_eq!(read(&text), Ok(users(&["0:100000:65536", "70000:5"])));
        assert_eq!(read("map = \"0:1:2,9:9\""), Ok(users(&["0:1:2", "9:9"])));
        assert!(read("map = \"0:1:x\"").is_err_and(|error| error.contains("ZONE:HOST:COUNT")));
    }
}
