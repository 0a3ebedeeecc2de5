//! Goes through a bill from its header to the end of its trailer.

use std::io::BufRead;

use clearday_jobs::Currency;

use super::cells::{RowError, decimal_places};
use super::fund_flow::{self, FundFlowLayout, FundMovement};
use super::totals::{Totals, TrailerLayout, is_trailer_header};
use super::trade::{self, TradeLayout};
use super::{Format, Row, Statement, StatementError, Tolerance, lookalike};
use crate::domain::china::CHINA_STANDARD_TIME;
use crate::domain::reconciliation::{Coverage, DayRange};
use crate::formats::text::LineReader;

/// How much of a file is looked at to say what it is instead.
const HEAD_BYTES_MAX: usize = 4096;

/// The columns of the one or the other.
pub(super) enum BodyLayout {
    Trade(TradeLayout),
    Fund(FundFlowLayout),
}

impl BodyLayout {
    const fn format(&self) -> Format {
        match self {
            Self::Trade(layout) => Format::Trade {
                bill: layout.bill,
                is_legacy: layout.is_legacy,
            },
            Self::Fund(_) => Format::FundFlow,
        }
    }
}

/// Reads the first line, by which a bill is known.
pub(super) fn read_header(
    lines: &mut LineReader<impl BufRead>,
) -> Result<BodyLayout, StatementError> {
    let refused = |reason| StatementError::Header { line: 1, reason };
    if let Ok(Some(line)) = lines.next_line() {
        if trade::is_header(line.text) {
            return TradeLayout::of_header(line.text)
                .map(BodyLayout::Trade)
                .map_err(refused);
        }
        if fund_flow::is_header(line.text) {
            let yuan = Currency::parse("CNY")?;
            return FundFlowLayout::of_header(line.text, yuan)
                .map(BodyLayout::Fund)
                .map_err(refused);
        }
    }
    let head = read_head(lines);
    let looks_like = lookalike::looks_like(&head);
    Err(StatementError::NotAStatement { looks_like })
}

/// The line at hand and a few more, whatever they hold.
fn read_head(lines: &mut LineReader<impl BufRead>) -> Vec<u8> {
    let mut head = lines.last_bytes().to_vec();
    while head.len() < HEAD_BYTES_MAX {
        match lines.next_line() {
            Ok(None) => break,
            Err(error) if !error.is_one_line_only() => break,
            Ok(Some(_)) | Err(_) => head.extend_from_slice(lines.last_bytes()),
        }
    }
    head
}

pub(super) struct StatementReader {
    layout: BodyLayout,
    tolerance: Tolerance,
    lines: u64,
    currency: CurrencySeen,
    totals: Totals,
    trailer: Option<Totals>,
    balances: Balances,
    days: Option<DayRange>,
    damage: Option<StatementError>,
    /// The fewest decimal places in the column that the trailer sums up last.
    last_sum_places: Option<usize>,
}

impl StatementReader {
    pub(super) fn new(layout: BodyLayout, tolerance: Tolerance) -> Self {
        let totals = Totals::zero(layout.format().totals());
        Self {
            layout,
            tolerance,
            lines: 0,
            currency: CurrencySeen::None,
            totals,
            trailer: None,
            balances: Balances::default(),
            days: None,
            damage: None,
            last_sum_places: None,
        }
    }

    /// Reads everything behind the header.
    pub(super) fn read_body(
        &mut self,
        lines: &mut LineReader<impl BufRead>,
        take: &mut impl FnMut(Row<'_>),
    ) -> Result<(), StatementError> {
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    return Err(StatementError::NoTrailer {
                        line: lines.lines_read(),
                    });
                }
                Err(fault) if fault.is_one_line_only() => {
                    self.tolerate(fault.into())?;
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            if is_trailer_header(self.totals.names(), line.text) {
                let layout =
                    TrailerLayout::of_header(self.totals.names(), line.text).map_err(|reason| {
                        StatementError::Header {
                            line: line.number,
                            reason,
                        }
                    })?;
                return self.read_trailer(lines, &layout);
            }
            let number = line.number;
            if let Err(reason) = self.read_row(line.text, take) {
                self.tolerate(StatementError::Row {
                    line: number,
                    reason,
                })?;
            }
        }
    }

    fn read_row(&mut self, text: &str, take: &mut impl FnMut(Row<'_>)) -> Result<(), RowError> {
        match &mut self.layout {
            BodyLayout::Trade(layout) => {
                let row = layout.row(text)?;
                self.totals.add(&row.sums)?;
                self.currency.see(row.entry.facts.amount.currency());
                let day = row.entry.facts.occurred_at.date_naive();
                self.days = Some(
                    self.days
                        .map_or(DayRange::day(day), |days| days.including(day)),
                );
                see_places(&mut self.last_sum_places, row.last_sum_places);
                take(Row::Trade(row.entry));
            }
            BodyLayout::Fund(layout) => {
                let row = layout.row(text)?;
                self.totals.add(&row.sums)?;
                self.currency.see(row.movement.amount.currency());
                self.balances.see(&row.movement);
                see_places(&mut self.last_sum_places, row.last_sum_places);
                take(Row::Fund(row.movement));
            }
        }
        self.lines = self.lines.saturating_add(1);
        Ok(())
    }

    fn read_trailer(
        &mut self,
        lines: &mut LineReader<impl BufRead>,
        layout: &TrailerLayout,
    ) -> Result<(), StatementError> {
        let last_line = lines.lines_read();
        let Some(line) = lines.next_line()? else {
            return Err(StatementError::NoTrailer { line: last_line });
        };
        let number = line.number;
        let trailer = layout
            .values(line.text)
            .map_err(|reason| StatementError::Row {
                line: number,
                reason,
            })?;
        if !line.is_ended && self.is_cut_number(line.text) {
            return Err(StatementError::CutTrailer { line: number });
        }
        self.trailer = Some(trailer);
        while let Some(line) = lines.next_line()? {
            if !line.text.trim().is_empty() {
                return Err(StatementError::BehindTrailer { line: line.number });
            }
        }
        Ok(())
    }

    fn is_cut_number(&self, trailer: &str) -> bool {
        let last = trailer.rsplit(',').next().unwrap_or_default();
        let usual_places = 2;
        decimal_places(last) < self.last_sum_places.unwrap_or(usual_places)
    }

    /// Remembers the first fault, or refuses the file for it.
    pub(super) fn tolerate(&mut self, fault: StatementError) -> Result<(), StatementError> {
        match self.tolerance {
            Tolerance::Refuse => Err(fault),
            Tolerance::AcceptIncomplete => {
                self.damage.get_or_insert(fault);
                Ok(())
            }
        }
    }

    pub(super) fn finish(self, sha256: [u8; 32]) -> Statement {
        let format = self.layout.format();
        let mut coverage = Coverage::nothing(CHINA_STANDARD_TIME);
        if let Some(days) = self.days {
            for kind in format.covers() {
                coverage.add(*kind, days);
            }
        }
        Statement {
            format,
            lines: self.lines,
            currency: self.currency.only(),
            totals: self.totals,
            trailer: self.trailer,
            balances_follow: (format == Format::FundFlow).then(|| self.balances.follow()),
            coverage,
            sha256,
            damage: self.damage,
        }
    }
}

fn see_places(fewest: &mut Option<usize>, places: usize) {
    *fewest = Some(fewest.map_or(places, |fewest| fewest.min(places)));
}

/// Which currencies came by.
enum CurrencySeen {
    None,
    One(Currency),
    Several,
}

impl CurrencySeen {
    fn see(&mut self, currency: Currency) {
        match self {
            Self::None => *self = Self::One(currency),
            Self::One(known) if *known == currency => {}
            Self::One(_) | Self::Several => *self = Self::Several,
        }
    }

    const fn only(&self) -> Option<Currency> {
        match self {
            Self::One(currency) => Some(*currency),
            Self::None | Self::Several => None,
        }
    }
}

/// Whether each balance follows from the one before. Files run up or down in time; rows of one second stand anyhow,
/// so this is told and refuses nothing.
#[derive(Default)]
struct Balances {
    before: Option<(i64, i64)>,
    breaks_downwards: bool,
    breaks_upwards: bool,
}

impl Balances {
    fn see(&mut self, movement: &FundMovement<'_>) {
        let amount = movement.amount.minor_units();
        let balance = movement.balance.minor_units();
        if let Some((amount_before, balance_before)) = self.before {
            self.breaks_downwards |= balance_before.checked_add(amount) != Some(balance);
            self.breaks_upwards |= balance.checked_add(amount_before) != Some(balance_before);
        }
        self.before = Some((amount, balance));
    }

    const fn follow(&self) -> bool {
        !self.breaks_downwards || !self.breaks_upwards
    }
}
