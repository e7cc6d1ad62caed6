//! Silences and maintenance windows: when nobody is to be told, and about what.

use chrono::{DateTime, Datelike, Days, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LabelMatcher;

/// A time-bound mute by label matchers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Silence {
    /// Names it; made when left out.
    #[serde(default)]
    pub id: String,
    /// All must be met.
    pub matchers: Vec<LabelMatcher>,
    /// From; at once when left out.
    #[serde(default)]
    pub starts_at: DateTime<Utc>,
    /// To.
    pub ends_at: DateTime<Utc>,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

impl Silence {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// `pending`, `active` or `expired`.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> &'static str {
        if now < self.starts_at {
            "pending"
        } else if self.is_active(now) {
            "active"
        } else {
            "expired"
        }
    }
}

/// When a maintenance window is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Schedule {
    /// Again and again, by the clock on the wall.
    Recurring(Recurring),
    /// Once.
    #[serde(rename_all = "camelCase")]
    Once {
        /// From.
        starts_at: DateTime<Utc>,
        /// To.
        ends_at: DateTime<Utc>,
    },
}

/// A time of day on some days of the week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recurring {
    /// On which days it begins; every day when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// `HH:MM`.
    pub from: WallTime,
    /// `HH:MM`; at or before `from` it is that of the next day.
    pub to: WallTime,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Mon,
            Self::Tue => Weekday::Tue,
            Self::Wed => Weekday::Wed,
            Self::Thu => Weekday::Thu,
            Self::Fri => Weekday::Fri,
            Self::Sat => Weekday::Sat,
            Self::Sun => Weekday::Sun,
        }
    }
}

/// Minutes since midnight, written `HH:MM`; `24:00` is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, examples("08:30"))]
pub struct WallTime(u32);

impl TryFrom<String> for WallTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2);
        let minutes = parts.and_then(|(h, m)| Some((h.parse::<u32>().ok()?, m.parse::<u32>().ok()?)));
        match minutes {
            Some((h, m)) if m < 60 && (h < 24 || (h == 24 && m == 0)) => Ok(Self(h * 60 + m)),
            _ => Err(format!("{text:?} is not a time of day such as 08:30 or 24:00")),
        }
    }
}

impl From<WallTime> for String {
    fn from(time: WallTime) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

/// A planned time in which nobody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// Names it; made when left out.
    #[serde(default)]
    pub id: String,
    /// For people.
    pub name: String,
    /// All must be met; with none, it is about everything.
    #[serde(default)]
    pub matchers: Vec<LabelMatcher>,
    /// IANA name of the clock on the wall.
    #[serde(default = "utc")]
    #[schema(value_type = String, examples("Europe/Berlin"))]
    pub time_zone: Tz,
    /// When it is open.
    pub schedule: Schedule,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

const fn utc() -> Tz {
    Tz::UTC
}

impl MaintenanceWindow {
    /// Whether it is open at `now`.
    #[must_use]
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        match &self.schedule {
            Schedule::Once { starts_at, ends_at } => *starts_at <= now && now < *ends_at,
            Schedule::Recurring(recurring) => recurring.is_open(now, self.time_zone),
        }
    }
}

impl Recurring {
    /// By the wall's date and time, so that a change of the clocks moves nothing: 02:00 is whatever the wall shows.
    fn is_open(&self, now: DateTime<Utc>, zone: Tz) -> bool {
        let local = now.with_timezone(&zone).naive_local();
        let minute = (local.time() - NaiveTime::MIN).num_minutes() as u32;
        let begins_on = |day: Weekday| self.days.is_empty() || self.days.iter().any(|d| d.weekday() == day);
        let today = local.date().weekday();
        let yesterday = local.date().checked_sub_days(Days::new(1)).map_or(today, |date| date.weekday());
        if self.from < self.to {
            return begins_on(today) && (self.from.0..self.to.0).contains(&minute);
        }
        (begins_on(today) && minute >= self.from.0) || (begins_on(yesterday) && minute < self.to.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(zone: &str, schedule: &str) -> MaintenanceWindow {
        let json = format!(r#"{{"name":"night","timeZone":"{zone}","schedule":{schedule}}}"#);
        serde_json::from_str(&json).expect("a window")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = window("Europe/Berlin", r#"{"days":["fri"],"from":"22:00","to":"06:00"}"#);
        // Friday 2026-01-02, one hour ahead of UTC.
        assert!(!night.is_open(at("2026-01-02T20:59:00Z")));
        assert!(night.is_open(at("2026-01-02T21:00:00Z")));
        assert!(night.is_open(at("2026-01-03T04:59:00Z")));
        assert!(!night.is_open(at("2026-01-03T05:00:00Z")));
        assert!(!night.is_open(at("2026-01-03T21:30:00Z")));
    }

    #[test]
    fn the_wall_is_followed_over_a_change_of_the_clocks() {
        let morning = window("America/New_York", r#"{"from":"03:00","to":"04:00"}"#);
        // 2026-03-08: two becomes three at 07:00 UTC.
        assert!(morning.is_open(at("2026-03-07T08:30:00Z")));
        assert!(morning.is_open(at("2026-03-08T07:30:00Z")));
        assert!(!morning.is_open(at("2026-03-08T08:30:00Z")));
    }

    #[test]
    fn once_is_once_and_bad_times_are_refused() {
        let once = window("UTC", r#"{"startsAt":"2026-01-01T00:00:00Z","endsAt":"2026-01-01T01:00:00Z"}"#);
        assert!(once.is_open(at("2026-01-01T00:59:59Z")) && !once.is_open(at("2026-01-01T01:00:00Z")));
        for bad in ["25:00", "24:01", "8:30", "08:60", ""] {
            assert!(WallTime::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
