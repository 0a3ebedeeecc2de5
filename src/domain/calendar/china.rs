//! Business days in China: what the yearly notices of the State Council say (国务院办公厅关于部分节假日安排的通知).
//!
//! A notice names holidays with the weekends beside them, and the weekend days that are worked in exchange (调休). The
//! notice of a year may also move days at the end of the year before, so that a year is settled only when the next
//! notice is out. Whoever changes a day here changes [`VERSION`], or a test says so.

use super::Announced;

/// Which days this is about: the last year with data, and how often its data was changed since.
pub(super) const VERSION: &str = "CN-2026.1";

/// Every year with data, ascending.
///
/// `notices` are the sources, the last ones those that changed something; `off` are the holidays, from the first to the
/// last day, as (month, day); `work` the days of a weekend that are worked.
#[rustfmt::skip]
pub(super) const YEARS: &[Announced] = &[
    Announced {
        year: 2007,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2008-03/28/content_1761.htm", "https://www.gov.cn/zhengce/zhengceku/2008-03/28/content_1645.htm"],
        off: &[((1, 1), (1, 3)), ((2, 18), (2, 24)), ((5, 1), (5, 7)), ((10, 1), (10, 7)), ((12, 30), (12, 31))],
        work: &[(2, 17), (2, 25), (4, 28), (4, 29), (9, 29), (9, 30), (12, 29)],
    },
    Announced {
        year: 2008,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2008-03/28/content_1645.htm"],
        off: &[((1, 1), (1, 1)), ((2, 6), (2, 12)), ((4, 4), (4, 6)), ((5, 1), (5, 3)), ((6, 7), (6, 9)), ((9, 13), (9, 15)), ((9, 29), (10, 5))],
        work: &[(2, 2), (2, 3), (5, 4), (9, 27), (9, 28)],
    },
    Announced {
        year: 2009,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2008-12/10/content_1572.htm"],
        off: &[((1, 1), (1, 3)), ((1, 25), (1, 31)), ((4, 4), (4, 6)), ((5, 1), (5, 3)), ((5, 28), (5, 30)), ((10, 1), (10, 8))],
        work: &[(1, 4), (1, 24), (2, 1), (5, 31), (9, 27), (10, 10)],
    },
    Announced {
        year: 2010,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2009-12/08/content_1476.htm"],
        off: &[((1, 1), (1, 3)), ((2, 13), (2, 19)), ((4, 3), (4, 5)), ((5, 1), (5, 3)), ((6, 14), (6, 16)), ((9, 22), (9, 24)), ((10, 1), (10, 7))],
        work: &[(2, 20), (2, 21), (6, 12), (6, 13), (9, 19), (9, 25), (9, 26), (10, 9)],
    },
    Announced {
        year: 2011,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2010-12/10/content_1423.htm", "https://www.gov.cn/zhengce/zhengceku/2011-12/06/content_1411.htm"],
        off: &[((1, 1), (1, 3)), ((2, 2), (2, 8)), ((4, 3), (4, 5)), ((4, 30), (5, 2)), ((6, 4), (6, 6)), ((9, 10), (9, 12)), ((10, 1), (10, 7))],
        work: &[(1, 30), (2, 12), (4, 2), (10, 8), (10, 9), (12, 31)],
    },
    Announced {
        year: 2012,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2011-12/06/content_1411.htm"],
        off: &[((1, 1), (1, 3)), ((1, 22), (1, 28)), ((4, 2), (4, 4)), ((4, 29), (5, 1)), ((6, 22), (6, 24)), ((9, 30), (10, 7))],
        work: &[(1, 21), (1, 29), (3, 31), (4, 1), (4, 28), (9, 29)],
    },
    Announced {
        year: 2013,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2012-12/10/content_1353.htm"],
        off: &[((1, 1), (1, 3)), ((2, 9), (2, 15)), ((4, 4), (4, 6)), ((4, 29), (5, 1)), ((6, 10), (6, 12)), ((9, 19), (9, 21)), ((10, 1), (10, 7))],
        work: &[(1, 5), (1, 6), (2, 16), (2, 17), (4, 7), (4, 27), (4, 28), (6, 8), (6, 9), (9, 22), (9, 29), (10, 12)],
    },
    Announced {
        year: 2014,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2014-01/02/content_1194.htm"],
        off: &[((1, 1), (1, 1)), ((1, 31), (2, 6)), ((4, 7), (4, 7)), ((5, 1), (5, 3)), ((6, 2), (6, 2)), ((9, 8), (9, 8)), ((10, 1), (10, 7))],
        work: &[(1, 26), (2, 8), (5, 4), (9, 28), (10, 11)],
    },
    Announced {
        year: 2015,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2014-12/16/content_9302.htm", "https://www.gov.cn/zhengce/zhengceku/2015-05/13/content_9742.htm"],
        off: &[((1, 1), (1, 3)), ((2, 18), (2, 24)), ((4, 5), (4, 6)), ((5, 1), (5, 1)), ((6, 22), (6, 22)), ((9, 3), (9, 5)), ((10, 1), (10, 7))],
        work: &[(1, 4), (2, 15), (2, 28), (9, 6), (10, 10)],
    },
    Announced {
        year: 2016,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2015-12/10/content_10394.htm"],
        off: &[((1, 1), (1, 1)), ((2, 7), (2, 13)), ((4, 4), (4, 4)), ((5, 1), (5, 2)), ((6, 9), (6, 11)), ((9, 15), (9, 17)), ((10, 1), (10, 7))],
        work: &[(2, 6), (2, 14), (6, 12), (9, 18), (10, 8), (10, 9)],
    },
    Announced {
        year: 2017,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2016-12/01/content_5141603.htm"],
        off: &[((1, 1), (1, 2)), ((1, 27), (2, 2)), ((4, 2), (4, 4)), ((5, 1), (5, 1)), ((5, 28), (5, 30)), ((10, 1), (10, 8))],
        work: &[(1, 22), (2, 4), (4, 1), (5, 27), (9, 30)],
    },
    Announced {
        year: 2018,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2017-11/30/content_5243579.htm", "https://www.gov.cn/zhengce/zhengceku/2018-12/06/content_5346276.htm"],
        off: &[((1, 1), (1, 1)), ((2, 15), (2, 21)), ((4, 5), (4, 7)), ((4, 29), (5, 1)), ((6, 18), (6, 18)), ((9, 24), (9, 24)), ((10, 1), (10, 7)), ((12, 30), (12, 31))],
        work: &[(2, 11), (2, 24), (4, 8), (4, 28), (9, 29), (9, 30), (12, 29)],
    },
    Announced {
        year: 2019,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2018-12/06/content_5346276.htm", "https://www.gov.cn/zhengce/zhengceku/2019-03/22/content_5375877.htm"],
        off: &[((1, 1), (1, 1)), ((2, 4), (2, 10)), ((4, 5), (4, 5)), ((5, 1), (5, 4)), ((6, 7), (6, 7)), ((9, 13), (9, 13)), ((10, 1), (10, 7))],
        work: &[(2, 2), (2, 3), (4, 28), (5, 5), (9, 29), (10, 12)],
    },
    Announced {
        year: 2020,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2019-11/21/content_5454164.htm", "https://www.gov.cn/zhengce/zhengceku/2020-01/27/content_5472352.htm"],
        off: &[((1, 1), (1, 1)), ((1, 24), (2, 2)), ((4, 4), (4, 6)), ((5, 1), (5, 5)), ((6, 25), (6, 27)), ((10, 1), (10, 8))],
        work: &[(1, 19), (4, 26), (5, 9), (6, 28), (9, 27), (10, 10)],
    },
    Announced {
        year: 2021,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2020-11/25/content_5564127.htm"],
        off: &[((1, 1), (1, 3)), ((2, 11), (2, 17)), ((4, 3), (4, 5)), ((5, 1), (5, 5)), ((6, 12), (6, 14)), ((9, 19), (9, 21)), ((10, 1), (10, 7))],
        work: &[(2, 7), (2, 20), (4, 25), (5, 8), (9, 18), (9, 26), (10, 9)],
    },
    Announced {
        year: 2022,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2021-10/25/content_5644835.htm", "https://www.gov.cn/zhengce/zhengceku/2022-12/08/content_5730844.htm"],
        off: &[((1, 1), (1, 3)), ((1, 31), (2, 6)), ((4, 3), (4, 5)), ((4, 30), (5, 4)), ((6, 3), (6, 5)), ((9, 10), (9, 12)), ((10, 1), (10, 7))],
        work: &[(1, 29), (1, 30), (4, 2), (4, 24), (5, 7), (10, 8), (10, 9)],
    },
    Announced {
        year: 2023,
        notices: &["https://www.gov.cn/zhengce/zhengceku/2022-12/08/content_5730844.htm"],
        off: &[((1, 1), (1, 2)), ((1, 21), (1, 27)), ((4, 5), (4, 5)), ((4, 29), (5, 3)), ((6, 22), (6, 24)), ((9, 29), (10, 6))],
        work: &[(1, 28), (1, 29), (4, 23), (5, 6), (6, 25), (10, 7), (10, 8)],
    },
    Announced {
        year: 2024,
        notices: &["https://www.gov.cn/zhengce/zhengceku/202310/content_6911528.htm"],
        off: &[((1, 1), (1, 1)), ((2, 10), (2, 17)), ((4, 4), (4, 6)), ((5, 1), (5, 5)), ((6, 10), (6, 10)), ((9, 15), (9, 17)), ((10, 1), (10, 7))],
        work: &[(2, 4), (2, 18), (4, 7), (4, 28), (5, 11), (9, 14), (9, 29), (10, 12)],
    },
    Announced {
        year: 2025,
        notices: &["https://www.gov.cn/zhengce/zhengceku/202411/content_6986383.htm"],
        off: &[((1, 1), (1, 1)), ((1, 28), (2, 4)), ((4, 4), (4, 6)), ((5, 1), (5, 5)), ((5, 31), (6, 2)), ((10, 1), (10, 8))],
        work: &[(1, 26), (2, 8), (4, 27), (9, 28), (10, 11)],
    },
    Announced {
        year: 2026,
        notices: &["https://www.gov.cn/zhengce/zhengceku/202511/content_7047091.htm"],
        off: &[((1, 1), (1, 3)), ((2, 15), (2, 23)), ((4, 4), (4, 6)), ((5, 1), (5, 5)), ((6, 19), (6, 21)), ((9, 25), (9, 27)), ((10, 1), (10, 7))],
        work: &[(1, 4), (2, 14), (2, 28), (5, 9), (9, 20), (10, 10)],
    },
];
