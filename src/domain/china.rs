//! China's clock: one zone, eight hours east, without daylight saving.

use chrono::{DateTime, FixedOffset, NaiveDate, TimeZone};

/// 中国标准时间: what channels write in their bills, and what our accounting days are of.
pub const CHINA_STANDARD_TIME: FixedOffset = match FixedOffset::east_opt(8 * 60 * 60) {
    Some(offset) => offset,
    None => panic!("eight hours east is an offset"),
};

/// The day in China at this instant.
pub fn china_day<Zone: TimeZone>(instant: &DateTime<Zone>) -> NaiveDate {
    instant.with_timezone(&CHINA_STANDARD_TIME).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_china() {
        let day = |instant: &str| {
            let instant: DateTime<FixedOffset> = instant.parse().unwrap();
            china_day(&instant).to_string()
        };
        assert_eq!(day("2026-03-02T15:59:59.999999Z"), "2026-03-02");
        assert_eq!(day("2026-03-02T16:00:00Z"), "2026-03-03");
        assert_eq!(day("2026-03-02T16:00:00+08:00"), "2026-03-02");
    }
}
